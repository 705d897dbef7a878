//! `limiterctl suggest` from real traffic: a probe and mail clients at a real
//! Postfix, watched by the real daemon.
#![forbid(unsafe_code)]

use std::fs;
use std::net::{IpAddr, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use limiter_tests::daemon::{DAEMON, Daemon, binary};
use limiter_tests::mail::{self, Mail, POSTFIX, Postfix, Smtp};
use limiter_tests::veth::{Bed, Client};
use limiter_tests::{host, require, wait};
use serde_json::Value;

/// The pace of a load balancer's probe, and of the client that is as regular and speaks.
const PACE: Duration = Duration::from_secs(1);
/// How long a mail client that comes as it pleases stays away, in milliseconds, in turn.
const PAUSES_MS: [u64; 7] = [50, 2_300, 40, 700, 3_100, 10, 1_200];
/// Ten windows of two seconds, one more that began before, and time for a busy machine.
const EVIDENCE_TIME: Duration = Duration::from_secs(90);
/// How long a connect may take.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// The policy: all of it in observation, as one would before asking for limits.
const CONFIG: &str = "\
interfaces = [\"srv0\", \"srv1\", \"srv2\"]
attach = \"generic\"
[[service]]
name = \"smtp\"
ports = [25]
";

/// What a client does at a server until it is told to stop.
type Load = fn(&Client, IpAddr, &Receiver<()>);

/// Waits for a time or the end; returns whether to go on.
fn pause(stop: &Receiver<()>, time: Duration) -> bool {
    stop.recv_timeout(time) == Err(RecvTimeoutError::Timeout)
}

/// Connects and goes, by the clock, as a balancer does.
fn probe(client: &Client, server: IpAddr, stop: &Receiver<()>) {
    while pause(stop, PACE) {
        let connected =
            client.namespace.run(|| TcpStream::connect_timeout(&(server, 25).into(), CONNECT_TIME));
        drop(connected.unwrap_or_else(|e| panic!("the probe is let in: {e}")));
    }
}

/// Says hello and goodbye, by the clock.
fn greet(client: &Client, server: IpAddr, stop: &Receiver<()>) {
    while pause(stop, PACE) {
        let mut smtp = Smtp::connect(&client.namespace, (server, 25).into()).expect("the client is let in");
        smtp.reply().expect("a greeting");
        assert_eq!(smtp.command("EHLO client.example.org").expect("an answer").code, 250);
        assert_eq!(smtp.command("QUIT").expect("a goodbye").code, 221);
    }
}

/// Sends mail as it pleases.
fn send(client: &Client, server: IpAddr, stop: &Receiver<()>) {
    let mut pauses = PAUSES_MS.iter().cycle();
    while pause(stop, Duration::from_millis(*pauses.next().expect("a cycle has no end"))) {
        let dialogue = mail::send(&client.namespace, server, &Mail::new("suggest"));
        assert!(dialogue.accepted(), "{dialogue:?}");
    }
}

/// The prefixes that are suggested to be exempt.
fn suggested(daemon: &Daemon) -> Vec<String> {
    let answer = daemon.ctl_json(&["suggest"]);
    let probes = answer["probes"].as_array().expect("a list of probes");
    probes.iter().filter_map(|probe| probe["prefix"].as_str().map(ToOwned::to_owned)).collect()
}

/// The one service's suggestion.
fn service(answer: &Value) -> &Value {
    &answer["services"][0]
}

/// A probe every second that sends nothing is found and proposed; a client that is as regular and one that comes as it
/// pleases are not, and once the probe is exempt nothing is proposed.
#[test]
fn a_probe_is_found_and_clients_are_not() {
    require!(host::BED, DAEMON, POSTFIX);
    let bed = Bed::plan().clients(3).build();
    let postfix = Postfix::start(&bed.server, &[]);
    let daemon = Daemon::start(&bed.server, CONFIG);
    let [prober, regular, mailer] = &bed.clients[..] else { panic!("three clients") };
    let address = prober.ipv4().to_string();
    let (stops, ends): (Vec<Sender<()>>, Vec<Receiver<()>>) = (0..3).map(|_| channel()).unzip();
    thread::scope(|scope| {
        let load: [(&Client, Load); 3] = [(prober, probe), (regular, greet), (mailer, send)];
        for ((client, does), stop) in load.into_iter().zip(ends) {
            scope.spawn(move || does(client, client.server_ipv4(), &stop));
        }
        wait::until("the probe is found", EVIDENCE_TIME, || suggested(&daemon).contains(&address));
        assert_eq!(suggested(&daemon), [address.as_str()], "and nobody else\n{}", postfix.log());

        let answer = daemon.ctl_json(&["suggest"]);
        let found = &answer["probes"][0];
        let interval_s = found["interval_s"].as_f64().expect("an interval");
        assert!((0.7..1.5).contains(&interval_s), "about a second: {found}");
        let seen = service(&answer);
        assert_eq!((&seen["sources"], &seen["connections_per_source"]), (&2.into(), &50.into()), "{answer}");

        let text = daemon.ctl(&["suggest", "--service", "smtp", "--quantile", "1", "--headroom", "2"]);
        let file = daemon.config().with_file_name("suggested.toml");
        fs::write(&file, &text.stdout).expect("writing what was suggested");
        let check = Command::new(binary("limiterd")).arg("--config").arg(&file).arg("--check").output();
        let check = check.expect("starting limiterd");
        assert!(
            check.status.success(),
            "it can be pasted: {check:?}\n{}",
            String::from_utf8_lossy(&text.stdout)
        );

        daemon.ctl_json(&["allow", &address]);
        assert_eq!(suggested(&daemon), Vec::<String>::new(), "whoever is exempt need not be proposed");
        drop(stops);
    });
    daemon.assert_sound();
}
