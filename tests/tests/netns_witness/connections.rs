//! - `an_upstream_that_does_not_answer_is_named`: SYNs sent again to a declared upstream, within 10 s
//! - `retransmissions_are_counted_by_service_and_direction`: and time-outs among them
//! - `a_server_that_keeps_silent_is_seen`: the gauge, `top`, `status`; back to zero once it speaks
//! - `first_bytes_are_timed`: a fast and a slow greeting, each once per connection
//! - `connections_from_before_are_known`: a daemon that starts later

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use limiter_tests::daemon::DAEMON;
use limiter_tests::server::Server;
use limiter_tests::veth::Bed;
use limiter_tests::{host, require, wait};

use crate::{PATIENCE, Pair, SMTP, client, daemon, drop_at, let_pass, server};

/// A black hole where authentication should be.
#[test]
fn an_upstream_that_does_not_answer_is_named() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let upstream = SocketAddr::new(client(&bed, false), 389);
    let daemon = daemon(&bed, &format!("[[upstream]]\nname = \"auth\"\naddresses = [\"{upstream}\"]\n"));
    let syns = || daemon.count("limiter_upstream_syn_retransmits_total", &[("upstream", "auth")]);
    assert_eq!(syns(), 0);
    drop_at(&bed.client().namespace, "input", "tcp dport 389 drop");
    thread::scope(|scope| {
        scope.spawn(|| bed.server.run(|| TcpStream::connect_timeout(&upstream, Duration::from_secs(4))));
        let took = wait::until("a SYN is sent again", Duration::from_secs(10), || syns() > 0);
        println!("shown {:.1} s after the first SYN", took.as_secs_f64());
    });
}

/// Packets lost on the way, in both roles.
#[test]
fn retransmissions_are_counted_by_service_and_direction() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let daemon = daemon(&bed, "");
    for (direction, service) in [("in", "smtp"), ("out", "outbound")] {
        let mut pair = if direction == "in" {
            Pair::connect(&bed.client().namespace, &bed.server, SocketAddr::new(server(&bed, false), SMTP))
        } else {
            Pair::connect(&bed.server, &bed.client().namespace, SocketAddr::new(client(&bed, false), SMTP))
        };
        pair.talk();
        let labels = [("service", service), ("direction", direction)];
        let count = |name: &str| daemon.count(name, &labels);
        assert_eq!(count("limiter_retransmits_total"), 0, "{service}");
        drop_at(&bed.client().namespace, "input", "tcp dport != 1 drop");
        let mut ours = if direction == "in" { &pair.server } else { &pair.client };
        ours.write_all(b"250 2.0.0 Ok\r\n").expect("it is sent, and lost");
        wait::until("it is sent again", PATIENCE, || {
            count("limiter_retransmits_total") > 0 && count("limiter_retransmit_timeouts_total") > 0
        });
        let_pass(&bed.client().namespace);
    }
}

/// Nobody accepts: the handshake is done, and no banner comes.
#[test]
fn a_server_that_keeps_silent_is_seen() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let daemon = daemon(&bed, "[witness]\nsilent_after = \"1s\"\n");
    let silent = || daemon.count("limiter_silent_connections", &[("service", "smtp")]);
    let address = SocketAddr::new(server(&bed, false), SMTP);
    let mut pairs: Vec<Pair> =
        (0..6).map(|_| Pair::connect(&bed.client().namespace, &bed.server, address)).collect();
    wait::until_eq("silent connections", &6, PATIENCE, silent);
    let top = daemon.ctl_json(&["top", "--by", "silent"]);
    assert_eq!(top["sources"][0]["silent"], 6, "{top}");
    let status = daemon.ctl_json(&["status"]);
    let reasons = status["services"][0]["reasons"].to_string();
    assert!(reasons.contains("on 6 of 6 connections the server has not spoken within 1 s"), "{reasons}");
    for pair in &mut pairs {
        pair.talk();
    }
    wait::until_eq("silent connections once it speaks", &0, PATIENCE, silent);
}

/// One greeting at once and one after half a second; what comes later on a connection is not timed.
#[test]
fn first_bytes_are_timed() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let daemon = daemon(&bed, "");
    let bucket = |bound: &str| {
        daemon.count("limiter_first_byte_seconds_bucket", &[("service", "smtp"), ("le", bound)])
    };
    for v6 in [false, true] {
        let address = SocketAddr::new(server(&bed, v6), SMTP);
        let mut quick = Pair::connect(&bed.client().namespace, &bed.server, address);
        quick.talk();
        quick.talk();
        quick.talk();
    }
    let address = SocketAddr::new(server(&bed, false), SMTP);
    let mut slow = Pair::connect(&bed.client().namespace, &bed.server, address);
    let greeting_time = Duration::from_millis(600);
    wait::holds_for("the server thinks", greeting_time, || true);
    slow.talk();
    wait::until_eq("connections timed", &3, PATIENCE, || bucket("+Inf"));
    assert_eq!(bucket("0.5"), 2, "the quick ones, whatever the machine does beside");
    let sum = daemon.metric("limiter_first_byte_seconds_sum", &[("service", "smtp")]);
    assert!((0.5..3.0).contains(&sum), "most of it is the slow one: {sum}");
}

/// Connections that are older than the daemon are live, and a policy that drops their packets is named.
#[test]
fn connections_from_before_are_known() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let address = SocketAddr::new(server(&bed, false), SMTP);
    let mut spoken = Pair::connect(&bed.client().namespace, &bed.server, address);
    spoken.talk();
    let hushed =
        Server::plan(SocketAddr::new(server(&bed, false), 587)).never_accepting().listen(&bed.server);
    let waiting = bed.client().namespace.run(|| TcpStream::connect((server(&bed, false), 587)));
    let daemon =
        daemon(&bed, "[[service]]\nname = \"submission\"\nports = [587]\n[witness]\nsilent_after = \"1s\"\n");
    let silent = |service| daemon.count("limiter_silent_connections", &[("service", service)]);
    wait::until_eq("silent connections", &1, PATIENCE, || silent("submission"));
    assert_eq!(silent("smtp"), 0, "that one had spoken");
    drop_at(&bed.server, "input", "tcp dport 25 drop");
    spoken.client.write_all(b"NOOP\r\n").expect("it is sent, and lost");
    wait::until("the drop is named", PATIENCE, || {
        daemon.count("limiter_established_drops_total", &[("service", "smtp"), ("direction", "in")]) > 0
    });
    drop((hushed, waiting));
}
