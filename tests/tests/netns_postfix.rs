//! A real Postfix behind the real daemon.
//!
//! | case | law |
//! | --- | --- |
//! | `mail_goes_through` | within the limits nothing is different, on both families |
//! | `over_the_limit_is_a_reset` | one too many is an error at once, and the others go on |
#![forbid(unsafe_code)]

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use limiter_tests::daemon::{DAEMON, Daemon};
use limiter_tests::mail::{self, Mail, POSTFIX, Postfix, Smtp};
use limiter_tests::veth::Bed;
use limiter_tests::{host, require, scene, wait};

/// The limit in force.
const LIMIT: usize = 20;
/// How long Postfix may take to deliver, and to notice that a client has gone.
const POSTFIX_TIME: Duration = Duration::from_secs(10);
/// How soon a refused client has to know.
const REFUSAL_TIME: Duration = Duration::from_secs(2);

/// Connects and reads the greeting.
fn greeted(client: &limiter_tests::veth::Client, server: IpAddr) -> io::Result<Smtp> {
    let mut smtp = Smtp::connect(&client.namespace, (server, 25).into())?;
    smtp.reply().map(|_| smtp)
}

/// Mails go through over both families, each connection is counted, and afterwards none is.
#[test]
fn mail_goes_through() {
    require!(host::BED, DAEMON, POSTFIX);
    let bed = Bed::plan().clients(2).build();
    let postfix = Postfix::start(&bed.server, &[]);
    let daemon = Daemon::start(&bed.server, &scene::policy(2, LIMIT));
    for (n, client) in bed.clients.iter().enumerate() {
        for server in [client.server_ipv4(), client.server_ipv6()] {
            let dialogue = mail::send(&client.namespace, server, &Mail::new(&format!("mail {n}")));
            assert!(dialogue.accepted(), "to {server}: {dialogue:?}\n{}", postfix.log());
        }
    }
    postfix.wait_delivered(4, POSTFIX_TIME);
    let passed = [("verdict", "pass"), ("reason", "within_limits"), ("point", "gate")];
    assert_eq!(daemon.count("limiter_packets_total", &passed), 4);
    wait::until_eq("open connections", &0, POSTFIX_TIME, || daemon.open("smtp"));
    daemon.assert_sound();
}

/// The 21st connection sees a reset within two seconds, not a time-out; its reason is in the metrics,
/// another source sends its mail meanwhile, and a connection that is closed makes room.
#[test]
fn over_the_limit_is_a_reset() {
    require!(host::BED, DAEMON, POSTFIX);
    let bed = Bed::plan().clients(2).build();
    let (greedy, good) = (&bed.clients[0], &bed.clients[1]);
    let postfix = Postfix::start(&bed.server, &[]);
    let daemon = Daemon::start(&bed.server, &scene::policy(2, LIMIT));
    for server in [greedy.server_ipv4(), greedy.server_ipv6()] {
        let connect = || greeted(greedy, server);
        let mut held: Vec<Smtp> =
            (0..LIMIT).map(|n| connect().unwrap_or_else(|e| panic!("number {n}: {e}"))).collect();
        let refused = daemon.refused("smtp", "connections_per_source");
        for n in 1..=3 {
            let began = Instant::now();
            let kind = connect().map(|_| ()).map_err(|e| e.kind());
            let reset =
                matches!(kind, Err(io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset));
            assert!(reset, "one too many is reset: {kind:?}");
            assert!(began.elapsed() < REFUSAL_TIME, "at once: {:?}", began.elapsed());
            assert_eq!(daemon.refused("smtp", "connections_per_source"), refused + n);
        }
        let dialogue = mail::send(&good.namespace, good.server_ipv4(), &Mail::new("meanwhile"));
        assert!(dialogue.accepted(), "{dialogue:?}");
        for smtp in &mut held {
            assert_eq!(smtp.command("NOOP").expect("an open connection answers").code, 250);
        }
        held.pop();
        wait::until("there is room for one", POSTFIX_TIME, || connect().map(|smtp| held.push(smtp)).is_ok());
        assert!(connect().is_err(), "and for no more");
        drop(held);
        wait::until_eq("open connections", &0, POSTFIX_TIME, || daemon.open("smtp"));
    }
    postfix.wait_delivered(2, POSTFIX_TIME);
    daemon.assert_sound();
}
