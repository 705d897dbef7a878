//! The limit of open connections, with 2,000 connects at once from one source.
//!
//! In every way of attaching: native XDP, generic XDP, and the gate alone,
//! which has only silence to refuse with.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use limiter_tests::client::{Burst, Outcome, Target, reset_on_close};
use limiter_tests::daemon::{DAEMON, Daemon, enforcing};
use limiter_tests::server::Server;
use limiter_tests::veth::Bed;
use limiter_tests::{host, require, wait};

const PATIENCE: Duration = Duration::from_secs(10);
const SMTP: u16 = 25;
/// Connects at once.
const CONNECTS: usize = 2000;
/// Connections that one source may have open.
const LIMIT: u32 = 20;
/// Connections that are closed, so that as many can follow.
const CLOSED: usize = 7;
/// How long a refusal may take to reach its client.
const REFUSED_WITHIN: Duration = Duration::from_secs(2);
/// How soon the room of closed connections must be free.
const FREE_WITHIN: Duration = Duration::from_millis(100);
/// How often that may take longer, since a thread of this test waited for a CPU: room that is freed late is
/// late each time.
const ROUNDS: usize = 5;

/// A server behind a daemon, and what it is connected to from.
struct Scene<'a> {
    name: &'a str,
    bed: &'a Bed,
    daemon: Daemon<'a>,
    server: Server,
    sources: Vec<IpAddr>,
}

impl<'a> Scene<'a> {
    fn new(name: &'a str, bed: &'a Bed, attach: &str, address: IpAddr) -> Self {
        let daemon = Daemon::start(&bed.server, &enforcing(attach, LIMIT));
        let server = Server::greeting(&bed.server, SocketAddr::new(address, SMTP));
        Self { name, bed, daemon, server, sources: Vec::new() }
    }

    fn connect(&self, count: usize, within: Duration) -> Burst {
        let target = Target::greeting(self.server.address).from(&self.sources).within(within);
        Burst::connect(&self.bed.client().namespace, &target, count)
    }

    fn assert_full(&self) {
        let limit = LIMIT as usize;
        assert_eq!((self.server.held(), self.server.most()), (limit, limit), "never more than the limit");
        assert_eq!(self.daemon.open("smtp"), u64::from(LIMIT), "what is open is what is counted");
        self.daemon.assert_sound();
    }

    /// Closes some connections on both sides; as many get in at once, and not one more.
    fn close_and_refill(&self, burst: &mut Burst) {
        let in_time = (0..ROUNDS).any(|_| {
            let took = self.replace_some(burst);
            self.assert_full();
            // Those who wait would be among the next to get in.
            abort_waiting(self.bed, burst);
            took <= FREE_WITHIN
        });
        assert!(in_time, "room is free within {FREE_WITHIN:?}");
    }

    fn replace_some(&self, burst: &mut Burst) -> Duration {
        let closed = self.server.take(CLOSED);
        let peers: Vec<_> = closed.iter().map(|stream| stream.peer_addr().expect("connected")).collect();
        let start = Instant::now();
        drop(closed);
        for attempt in &mut burst.attempts {
            let address = attempt.stream.as_ref().and_then(|stream| stream.local_addr().ok());
            if address.is_some_and(|address| peers.contains(&address)) {
                attempt.stream = None;
            }
        }
        let mut refill = Burst { attempts: Vec::new() };
        wait::until("the closed connections are replaced", PATIENCE, || {
            let missing = CLOSED - refill.greeted();
            refill.attempts.extend(self.connect(missing, FREE_WITHIN).attempts);
            refill.greeted() == CLOSED
        });
        let took = start.elapsed();
        println!("{}: {CLOSED} closed, {CLOSED} more in after {took:?}", self.name);
        burst.attempts.extend(refill.attempts);
        took
    }

    /// Closes everything, on the client's side and on the server's; nothing stays counted.
    fn close_all(&self, burst: Burst) {
        drop(burst);
        self.server.close(self.server.held());
        let what = "the number of connections counted";
        let took = wait::until_eq(what, &0, PATIENCE, || self.daemon.open("smtp"));
        println!("{}: nothing is counted {took:?} after the last close", self.name);
        self.daemon.assert_sound();
    }
}

/// 2,000 connects against a limit of 20, where refused clients are told.
fn twenty_of_2000(scene: &Scene<'_>) {
    let mut burst = scene.connect(CONNECTS, PATIENCE);
    let refused = burst.attempts.iter().filter(|a| matches!(a.outcome, Outcome::Refused | Outcome::Reset));
    let slowest = refused.map(|a| a.took).max().unwrap_or_default();
    let syn = burst.count(|o| *o == Outcome::Refused);
    println!(
        "{}: {} greeted, {syn} ECONNREFUSED, {} ECONNRESET, slowest refusal {slowest:?}",
        scene.name,
        burst.greeted(),
        burst.refused() - syn
    );
    assert_eq!(burst.greeted(), LIMIT as usize, "as many as the limit says are served");
    assert_eq!(burst.refused(), CONNECTS - LIMIT as usize, "all others are told");
    assert!(slowest <= REFUSED_WITHIN, "a refusal arrives within {REFUSED_WITHIN:?}, not {slowest:?}");
    scene.assert_full();
    scene.close_and_refill(&mut burst);
    scene.daemon.recount(3);
    scene.assert_full();
    scene.close_all(burst);
}

/// Of 2,000 connects at once over IPv4, 20 are served, and never more at any moment.
#[test]
fn twenty_of_2000_over_ipv4() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    twenty_of_2000(&Scene::new("IPv4, native", &bed, "native", bed.client().server_ipv4()));
}

/// Of 2,000 connects at once over IPv6, 20 are served, and never more at any moment.
#[test]
fn twenty_of_2000_over_ipv6() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    twenty_of_2000(&Scene::new("IPv6, native", &bed, "native", bed.client().server_ipv6()));
}

/// Two addresses of one /64 are one source and share its limit.
#[test]
fn two_addresses_of_one_prefix_share_a_limit() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let neighbour: IpAddr = "fd90::abcd:ef".parse().expect("an address");
    bed.client().add_addresses(&[neighbour]);
    let sources = vec![bed.client().ipv6(), neighbour];
    let scene = Scene::new("two of one /64, native", &bed, "native", bed.client().server_ipv6());
    twenty_of_2000(&Scene { sources, ..scene });
}

/// XDP in the network stack keeps the limit, and tells refused clients, as the driver's does.
#[test]
fn twenty_of_2000_by_generic_xdp() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    twenty_of_2000(&Scene::new("IPv4, generic", &bed, "generic", bed.client().server_ipv4()));
}

/// The gate alone keeps the limit; refused clients hear nothing, so they count as silent.
fn twenty_of_2000_by_the_gate(name: &str, address: impl Fn(&Bed) -> IpAddr) {
    let bed = Bed::new();
    let scene = Scene::new(name, &bed, "none", address(&bed));
    let mut burst = scene.connect(CONNECTS, REFUSED_WITHIN);
    println!("{name}: {} greeted, {} in silence", burst.greeted(), burst.connected() - burst.greeted());
    assert_eq!(burst.greeted(), LIMIT as usize, "as many as the limit says are served");
    assert_eq!(burst.refused(), 0, "the gate refuses in silence");
    scene.assert_full();
    // Those who wait would be among the next to get in.
    abort_waiting(&bed, &mut burst);
    scene.close_and_refill(&mut burst);
    scene.daemon.recount(3);
    scene.assert_full();
    scene.close_all(burst);
}

/// Resets every connection that the server has not greeted, and waits until it knows none of them.
fn abort_waiting(bed: &Bed, burst: &mut Burst) {
    let waiting = burst.attempts.iter_mut().filter(|a| !matches!(a.outcome, Outcome::Greeted(_)));
    for attempt in waiting {
        if let Some(stream) = attempt.stream.take() {
            reset_on_close(&stream);
        }
    }
    let half_open = || bed.server.output("ss", &["-Htn", "state", "syn-recv"]).lines().count();
    wait::until_eq("the number of half-open connections", &0, PATIENCE, half_open);
}

/// The gate alone is exact over IPv4.
#[test]
fn twenty_of_2000_by_the_gate_over_ipv4() {
    require!(host::BED, DAEMON);
    twenty_of_2000_by_the_gate("IPv4, gate alone", |bed| bed.client().server_ipv4());
}

/// The gate alone is exact over IPv6.
#[test]
fn twenty_of_2000_by_the_gate_over_ipv6() {
    require!(host::BED, DAEMON);
    twenty_of_2000_by_the_gate("IPv6, gate alone", |bed| bed.client().server_ipv6());
}
