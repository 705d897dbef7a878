//! How a socket dies: its slot is free when the kernel destroys it, and not before.
//!
//! | module | deaths |
//! | --- | --- |
//! | [`closes`] | the peers close, in every order; nobody accepted it |
//! | [`resets`] | RST in each state, and clients that hope to make room by it |
//! | [`endings`] | SIGKILL, `ss -K`, time-outs, deleted namespaces |
//! | [`untold`] | what the tracepoint does not tell of |
//!
//! Each test ends with recounts that find nothing to correct, or that correct what they should.

mod closes;
mod endings;
mod resets;
mod untold;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use limiter_tests::client::{Burst, Target, reset_on_close};
use limiter_tests::daemon::Daemon;
use limiter_tests::raw::{Handshakes, Shape};
use limiter_tests::server::Server;
use limiter_tests::veth::{Bed, Client};
use limiter_tests::wait;

const PATIENCE: Duration = Duration::from_secs(10);
const LIMIT: usize = 60;
const CONFIG: &str = r#"
mode = "enforce"
interfaces = ["srv0"]
[[service]]
name = "smtp"
ports = [25]
connections_per_source = 60
"#;
/// Connections of most tests.
const SOME: usize = 5;

fn v4(client: &Client) -> SocketAddr {
    SocketAddr::new(client.server_ipv4(), 25)
}

fn v6(client: &Client) -> SocketAddr {
    SocketAddr::new(client.server_ipv6(), 25)
}

fn ghost() -> IpAddr {
    "192.0.2.7".parse().expect("an address")
}

/// How many sockets of the server's are in a state, by the name that `ss` filters by.
fn in_state(bed: &Bed, state: &str) -> usize {
    bed.server.output("ss", &["-Htan", "state", state, "sport = :25"]).lines().count()
}

/// Waits until the server has so many sockets in a state.
#[track_caller]
fn wait_state(bed: &Bed, state: &str, wanted: usize) {
    wait::until_eq(&format!("the number of sockets in {state}"), &wanted, PATIENCE, || in_state(bed, state));
}

/// The count says so, and no look at the charges of sockets says otherwise.
#[track_caller]
fn assert_open(daemon: &Daemon<'_>, wanted: usize, why: &str) {
    assert_eq!(daemon.open("smtp"), wanted as u64, "{why}");
    let top = daemon.ctl_json(&["top"]);
    let by_source: u64 =
        top["sources"].as_array().expect("sources").iter().filter_map(|s| s["open"].as_u64()).sum();
    assert_eq!(by_source, wanted as u64, "by source: {why}");
}

#[track_caller]
fn wait_open(daemon: &Daemon<'_>, wanted: usize, why: &str) -> Duration {
    wait::until_eq(why, &(wanted as u64), PATIENCE, || daemon.open("smtp"))
}

/// Three recounts that find nothing to correct: two that agree would.
#[track_caller]
fn assert_recounts_agree(daemon: &Daemon<'_>) {
    for _ in 0..3 {
        daemon.ctl_json(&["top"]);
    }
    daemon.assert_sound();
}

fn connect(bed: &Bed, server: SocketAddr, count: usize) -> Burst {
    let burst = Burst::connect(&bed.client().namespace, &Target::silent(server), count);
    assert_eq!(burst.connected(), count, "{burst:?}");
    burst
}

/// Opens connections whose client is the test itself: it acknowledges what it chooses to.
fn open_raw(bed: &Bed, server: &Server) -> Handshakes {
    let count = u16::try_from(SOME).expect("a few");
    let mut raw = Handshakes::in_flight(bed.client(), server.address, &[ghost()], count);
    raw.complete(&Shape::Ack);
    server.wait_held(SOME, PATIENCE);
    raw
}

/// Closes connections by a reset in place of a FIN.
fn reset_some(burst: &mut Burst, count: usize) {
    for attempt in burst.attempts.iter_mut().filter(|a| a.stream.is_some()).take(count) {
        let stream = attempt.stream.take().expect("looked at just now");
        reset_on_close(&stream);
    }
}
