//! One guard under one load: set up, proved to do what it claims, and measured.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::time::ClockId;

use crate::client::{Burst, Target};
use crate::generator::Generator;
use crate::host;
use crate::netns::Namespace;
use crate::scene::{self, SMTP};
use crate::server::Server;
use crate::veth::{Bed, Client};
use crate::wait;
use crate::xdp::Attached;

use super::super::report::count;
use super::guard::{Guard, Protection};
use super::load::{INNOCENT, LIMIT, Load};

/// SYNs that are sent to see what becomes of them, and how fast.
const TRIAL: u32 = 50_000;
/// Connections that are opened at once: fewer than a veth's ring has room for, and a multiple of the flooding
/// sources.
const AT_ONCE: usize = 200;
/// SYNs of a run, at least.
const FRAMES_MIN: u32 = 1_000;
/// How long the last frames may take to arrive once all are sent.
const SETTLE_TIME: Duration = Duration::from_millis(50);
/// How long a connect, or an answer on a connection, may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The share of SYNs that may be lost before the guard, or be let in by one that refuses.
const SLACK: f64 = 0.03;
const SECOND: Duration = Duration::from_secs(1);
/// Longer than a tick of the coarse clock.
const TICK: Duration = Duration::from_millis(10);
/// The CPU of a conversation, beside that of the flood.
const OTHER_CPU: usize = 1;

/// One guard under one load, ready to be measured.
pub(super) struct Lane<'a> {
    pub(super) guard: Guard,
    pub(super) load: Load,
    generator: Generator,
    _held: Vec<Burst>,
    known: Option<Conversation>,
    pub(super) protection: Protection<'a>,
    _server: Server,
    _far_end: Attached,
    bed: &'a Bed,
    frames: u32,
}

/// Both ends of a connection from a source that floods nobody.
struct Conversation {
    client: TcpStream,
    server: TcpStream,
}

/// What became of a run. Shares are of the SYNs that arrived, or for lost ones of those that were sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) per_second: f64,
    took: Duration,
    pub(super) lost: f64,
    /// That reached TCP.
    pub(super) passed: f64,
    /// That were answered.
    pub(super) answered: f64,
    refused: Option<f64>,
}

/// How a conversation went.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trips {
    pub(super) count: usize,
    pub(super) slowest: Duration,
    /// That 99.9 % of them took no longer than.
    pub(super) most: Duration,
    pub(super) median: Duration,
    pub(super) retransmitted: u64,
}

/// Counts of the kernel at one time.
struct Counts {
    arrived: u64,
    passed: u64,
    answered: u64,
    refused: Option<u64>,
}

impl<'a> Lane<'a> {
    /// Puts `guard` before a server, opens the connections of the load, and lets it prove itself.
    pub(super) fn new(guard: Guard, load: Load, bed: &'a Bed, span: Duration) -> Self {
        let client = bed.client();
        // Who floods is another machine: what it does with a reset is no cost of this one.
        let far_end = Attached::without_resets(&client.namespace, &client.device());
        let holders = load.holders();
        client.add_addresses(&[holders.as_slice(), &[IpAddr::V4(INNOCENT)]].concat());
        // The way back to random sources, for who answers them.
        bed.server.ip(&format!("route add 10.0.0.0/8 via {}", client.ipv4()));
        let SocketAddr::V4(address) = scene::address(bed) else { unreachable!("the bed has IPv4") };
        // Connections that wait to be accepted are as open as others, and take no descriptor.
        let server = Server::plan(address.into()).never_accepting().listen(&bed.server);
        let protection = guard.start(&bed.server, load);
        let known = bed.clients.get(1).map(|client| Conversation::begin(&bed.server, client));
        let held = if guard.counts_connections() { hold(bed, address, load) } else { Vec::new() };
        let generator = Generator::new(client, load.sources(), address);
        let mut lane = Self {
            guard,
            load,
            generator,
            _held: held,
            known,
            protection,
            _server: server,
            _far_end: far_end,
            bed,
            frames: TRIAL,
        };
        // The first of a rate are let in.
        lane.run();
        // A machine that does something else for some milliseconds lets the ring of a veth run over.
        let arrives = || Some(lane.run()).filter(|trial| trial.lost < SLACK);
        let trial = wait::until_some(PATIENCE, arrives).unwrap_or_else(|| lane.run());
        lane.prove(trial, address);
        // So short a run is mostly its beginning, of limiter's the resets of a second: a longer one tells the pace.
        lane.frames = lane.frames_in(trial.took, span / 4);
        lane.frames = lane.frames_in(lane.run().took, span);
        lane
    }

    /// How many SYNs go in `span` if one run took so long.
    fn frames_in(&self, took: Duration, span: Duration) -> u32 {
        let frames = u128::from(self.frames) * span.as_nanos() / took.as_nanos();
        u32::try_from(frames).expect("a run is short").max(FRAMES_MIN)
    }

    /// Sends one run within a second of the clock and tells what became of it: it meets the budget of
    /// resets of one second, as a flood that lasts does in each.
    pub(super) fn measure(&self, span: Duration) -> Sample {
        let now = ClockId::CLOCK_MONOTONIC_COARSE.now().expect("this clock is always there");
        let left = SECOND.saturating_sub(Duration::from_nanos(now.tv_nsec().unsigned_abs()));
        if left < span {
            thread::sleep(left + TICK); // bounded wait: for the clock itself, less than a second
        }
        self.run()
    }

    /// Sends one run and tells what became of it.
    fn run(&self) -> Sample {
        let frames = self.frames;
        let before = self.counts();
        let took = self.generator.send(self.bed.client(), frames);
        let all_arrived = || self.arrived() - before.arrived >= u64::from(frames);
        wait::until_some(SETTLE_TIME, || all_arrived().then_some(()));
        let after = self.counts();
        let arrived = count(after.arrived - before.arrived);
        let share = |after: u64, before: u64| count(after - before) / arrived.max(1.0);
        Sample {
            per_second: arrived / took.as_secs_f64(),
            took,
            lost: 1.0 - arrived / f64::from(frames),
            passed: share(after.passed, before.passed),
            answered: share(after.answered, before.answered),
            refused: after.refused.zip(before.refused).map(|(after, before)| share(after, before)),
        }
    }

    /// Panics unless the guard does what it claims: a figure would mean nothing.
    fn prove(&self, trial: Sample, server: SocketAddrV4) {
        let name = format!("{}, {}: {trial:?}", self.guard.label(), self.load.label());
        assert!(trial.lost < SLACK, "SYNs arrive: {name}");
        if self.guard.passes() {
            assert!(trial.passed > 1.0 - SLACK, "SYNs reach TCP: {name}");
        } else if self.guard.refuses_all(self.load) {
            assert!(trial.passed < SLACK, "no SYN reaches TCP: {name}");
            assert!(trial.refused.is_none_or(|share| share > 1.0 - SLACK), "its own count says so: {name}");
        }
        if self.load != Load::Random && self.guard.lets_others_in() {
            let target = Target::silent(server.into()).from(&[IpAddr::V4(INNOCENT)]).within(PATIENCE);
            let connected = Burst::connect(&self.bed.client().namespace, &target, 1).connected();
            assert_eq!(connected, 1, "another source is let in: {name}");
        }
    }

    /// Talks on the connection of a known source while a flood goes on.
    pub(super) fn talk(&mut self, span: Duration) -> Option<Trips> {
        let mut known = self.known.take()?;
        let (client, server) = (&self.bed.clients[1].namespace, &self.bed.server);
        let retransmitted =
            || [client, server].map(|side| tcp_count(side, "RetransSegs")).iter().sum::<u64>();
        let before = retransmitted();
        let (over, end) = (AtomicBool::new(false), Instant::now() + span);
        let mut times: Vec<Duration> = thread::scope(|scope| {
            let talking = scope.spawn(|| {
                host::stay_on(OTHER_CPU);
                let mut times = vec![known.trip()];
                while !over.load(Ordering::Relaxed) {
                    times.push(known.trip());
                }
                times
            });
            while Instant::now() < end {
                self.run();
            }
            over.store(true, Ordering::Relaxed);
            talking.join().expect("the connection is alive")
        });
        self.known = Some(known);
        times.sort_unstable();
        let at = |per_mille: usize| times[(times.len() - 1) * per_mille / 1_000];
        Some(Trips {
            count: times.len(),
            slowest: at(1_000),
            most: at(999),
            median: at(500),
            retransmitted: retransmitted() - before,
        })
    }

    fn arrived(&self) -> u64 {
        received(&self.bed.server, "srv0")
    }

    fn counts(&self) -> Counts {
        let Bed { server, .. } = self.bed;
        let refused = match self.guard {
            Guard::Limiter => self.protection.daemon().map(|daemon| {
                daemon.count("limiter_packets_total", &[("verdict", "refuse"), ("point", "syn")])
            }),
            Guard::Meter => packets(&server.output("nft", &["list", "chain", "netdev", "flood", "refuse"])),
            Guard::Count => packets(&server.output("nft", &["list", "chain", "inet", "flood", "refuse"])),
            Guard::Connlimit | Guard::Hashlimit => {
                rule_packets(&server.output("iptables", &["-L", "INPUT", "-v", "-n", "-x"]))
            }
            _ => None,
        };
        Counts {
            arrived: self.arrived(),
            passed: tcp_count(server, "InSegs"),
            answered: received(&self.bed.client().namespace, "cli0"),
            refused,
        }
    }
}

impl Conversation {
    /// Begins one over a link of its own: a flood fills the ring of its link, whoever guards the other end.
    fn begin(namespace: &Namespace, client: &Client) -> Self {
        let address = SocketAddr::new(client.server_ipv4(), SMTP);
        let server = Server::plan(address).listen(namespace);
        let burst = Burst::connect(&client.namespace, &Target::silent(address).within(PATIENCE), 1);
        let client = burst.attempts.into_iter().find_map(|attempt| attempt.stream);
        let client = client.expect("a source without connections is let in");
        server.wait_held(1, PATIENCE);
        let server = server.take(1).pop().expect("the server holds one connection");
        for stream in [&client, &server] {
            stream.set_nonblocking(false).expect("a socket can wait");
            stream.set_read_timeout(Some(PATIENCE)).expect("a socket can wait for a time");
            stream.set_nodelay(true).expect("a socket can send at once");
        }
        Self { client, server }
    }

    /// Sends a byte there and back.
    fn trip(&mut self) -> Duration {
        let start = Instant::now();
        let mut byte = [0];
        self.client.write_all(b"?").expect("the connection is open");
        self.server.read_exact(&mut byte).expect("what was sent arrives");
        self.server.write_all(b"!").expect("the connection is open");
        self.client.read_exact(&mut byte).expect("the answer arrives");
        start.elapsed()
    }
}

/// Opens the connections of a load: every holder gets to its limit, or all together to the ceiling.
fn hold(bed: &Bed, server: SocketAddrV4, load: Load) -> Vec<Burst> {
    let holders = load.holders();
    // A known source has one already.
    let count = holders.len() * LIMIT as usize - usize::from(load == Load::Random);
    let target = Target::silent(server.into()).from(&holders).within(PATIENCE);
    let mut bursts = Vec::new();
    for first in (0..count).step_by(AT_ONCE) {
        let some = AT_ONCE.min(count - first);
        let burst = Burst::connect(&bed.client().namespace, &target, some);
        assert_eq!(burst.connected(), some, "all up to the limit are let in");
        let reached = || tcp_count(&bed.server, "CurrEstab") >= (first + some) as u64;
        wait::until("the server knows of all connections", PATIENCE, reached);
        bursts.push(burst);
    }
    bursts
}

/// Frames that a device has received, by any program's leave or none.
fn received(namespace: &Namespace, device: &str) -> u64 {
    let table = namespace.run(|| fs::read_to_string("/proc/thread-self/net/dev")).expect("a list of devices");
    let line = table.lines().find_map(|line| line.trim_start().strip_prefix(device)?.strip_prefix(':'));
    let packets = line.and_then(|counts| counts.split_whitespace().nth(1)?.parse().ok());
    packets.unwrap_or_else(|| panic!("{device} is in {table}"))
}

/// A count of TCP (`/proc/net/snmp`).
fn tcp_count(namespace: &Namespace, name: &str) -> u64 {
    let table = namespace.run(|| fs::read_to_string("/proc/thread-self/net/snmp")).expect("counts of TCP");
    let mut lines = table.lines().filter_map(|line| line.strip_prefix("Tcp: ")).map(str::split_whitespace);
    let (names, values) = (lines.next(), lines.next());
    let count = names
        .zip(values)
        .and_then(|(names, values)| names.zip(values).find(|(this, _)| *this == name)?.1.parse().ok());
    count.unwrap_or_else(|| panic!("{name} is in {table}"))
}

/// What the only counter of a chain says.
fn packets(chain: &str) -> Option<u64> {
    chain.split_once("counter packets ")?.1.split(' ').next()?.parse().ok()
}

/// What the only rule of a chain has counted.
fn rule_packets(chain: &str) -> Option<u64> {
    chain.lines().nth(2)?.split_whitespace().next()?.parse().ok()
}
