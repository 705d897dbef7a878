//! The conntrack watcher on the kernel's own connection tracking, in private namespaces.
//!
//! | module | what it shows |
//! | --- | --- |
//! | `entries` | entries and states through a connection's life, deletions, zones, outbound mail, a reload |
//! | `quiet` | without tracking in use nothing is claimed; statistics move |
//! | `cross` | entries and open sockets compared |
//! | `load` | overruns forced and mended, churn, and what 100,000 entries cost |
#![forbid(unsafe_code)]

mod cross;
mod entries;
mod load;
mod quiet;

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use limiter_tests::daemon::Daemon;
use limiter_tests::host::Requirement;
use limiter_tests::netns::Namespace;
use limiter_tests::server::{BANNER, Server};
use limiter_tests::veth::{Bed, Client};
use limiter_tests::wait;

/// What these suites need beyond a bed.
const CONNTRACK: &[Requirement] = &[
    Requirement::Command("nft", "nftables"),
    Requirement::Command("conntrack", "conntrack"),
    Requirement::Path("/proc/sys/net/netfilter/nf_conntrack_count"),
];
const SMTP: u16 = 25;
/// How long an event may take to show, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(10);
const CLIENT_TIME: Duration = Duration::from_secs(5);
/// Makes the kernel track what arrives and what leaves, and drops nothing.
const TRACKING: &str = "table inet bed {\n\
    chain in { type filter hook input priority 0; ct state established accept; }\n\
    chain out { type filter hook output priority 0; ct state established accept; }\n}\n";

/// A configuration that refuses nobody.
fn config(ports: &str) -> String {
    format!(
        "mode = \"observe\"\ninterfaces = [\"srv0\"]\n[breaker]\nenabled = false\n[[service]]\nname = \"smtp\"\n\
         ports = [{ports}]\nconnections_per_source = 1000000\n"
    )
}

/// A bed whose server tracks connections.
fn tracking() -> Bed {
    let bed = Bed::new();
    bed.server.nft(TRACKING);
    bed
}

/// A server that greets and holds, on both families.
fn greeter(namespace: &Namespace, port: u16) -> Server {
    let anywhere: SocketAddr = ([0_u16; 8], port).into();
    Server::plan(anywhere).dual_stack().banner(BANNER).listen(namespace)
}

/// Connects and waits for the greeting.
#[track_caller]
fn connect_from(namespace: &Namespace, server: SocketAddr) -> TcpStream {
    let connected = namespace.run(|| {
        let mut stream = TcpStream::connect_timeout(&server, CLIENT_TIME)?;
        stream.set_read_timeout(Some(CLIENT_TIME))?;
        // All of it: closing with something unread is a reset.
        stream.read_exact(&mut [0; BANNER.len()]).map(|()| stream)
    });
    connected.unwrap_or_else(|e: std::io::Error| panic!("connecting to {server}: {e}"))
}

#[track_caller]
fn connect(client: &Client, server: IpAddr) -> TcpStream {
    connect_from(&client.namespace, SocketAddr::new(server, SMTP))
}

/// How many entries a service has in a state.
fn entries(daemon: &Daemon<'_>, service: &str, state: &str) -> u64 {
    daemon.count("limiter_conntrack_entries", &[("service", service), ("state", state)])
}

/// How many entries a service has.
fn all_entries(daemon: &Daemon<'_>, service: &str) -> u64 {
    daemon.count("limiter_conntrack_entries", &[("service", service)])
}

fn events(daemon: &Daemon<'_>, kind: &str) -> u64 {
    daemon.count("limiter_conntrack_events_total", &[("type", kind)])
}

/// Waits until a service has so many entries in a state.
#[track_caller]
fn wait_entries(daemon: &Daemon<'_>, service: &str, state: &str, wanted: u64) -> Duration {
    let what = format!("the {state} entries of {service}");
    wait::until_eq(&what, &wanted, PATIENCE, || entries(daemon, service, state))
}

/// Waits until a service has so many entries.
#[track_caller]
fn wait_all(daemon: &Daemon<'_>, service: &str, wanted: u64) -> Duration {
    let what = format!("the entries of {service}");
    wait::until_eq(&what, &wanted, PATIENCE, || all_entries(daemon, service))
}

/// Runs `conntrack`; deleting nothing is an error of it.
fn conntrack(namespace: &Namespace, arguments: &[&str]) -> String {
    namespace.output("conntrack", arguments)
}

/// Waits until the watcher has looked at the table for the first time.
#[track_caller]
fn wait_watching(daemon: &Daemon<'_>) {
    wait::until("conntrack is watched", PATIENCE, || {
        daemon.metrics().iter().any(|sample| sample.name == "limiter_conntrack_entries")
    });
}

/// What `limiterctl status` says about conntrack.
fn fact(daemon: &Daemon<'_>) -> String {
    daemon.ctl_json(&["status"])["daemon"]["conntrack"].as_str().unwrap_or_default().to_owned()
}

/// What `limiterctl status` finds.
fn findings(daemon: &Daemon<'_>) -> String {
    let status = daemon.ctl_json(&["status"]);
    format!("{} {}", status["findings"], status["services"])
}
