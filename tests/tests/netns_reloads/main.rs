//! Policies that change under load: two that swap services, classes, limits and modes.
//!
//! | module | what it owns |
//! | --- | --- |
//! | `policies` | the two, and which verdicts either of them can give |
//! | `load` | connects and handshakes in flight, without a pause |
//! | `memory` | what the daemon and its maps take |
//!
//! - 1,000 reloads in a row: `a_thousand_*`
//! - 100,000 prefixes in less than two seconds: `a_hundred_thousand_*`
#![forbid(unsafe_code)]

mod load;
mod memory;
mod policies;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use limiter_tests::daemon::{DAEMON, Daemon};
use limiter_tests::frame::Flags;
use limiter_tests::raw::{Handshakes, Shape};
use limiter_tests::server::Server;
use limiter_tests::veth::Bed;
use limiter_tests::{host, require, wait};
use limiter_user::control::client::Client;
use limiter_user::control::protocol::{CHECK, Check, CheckQuery, PolicyChange, RELOAD};
use tokio::runtime::Runtime;

use crate::memory::Memory;
use crate::policies::{Policies, STEADY, STEADY_LIMIT, STEADY_PORT};

const PATIENCE: Duration = Duration::from_secs(20);
/// Reloads in a row.
const RELOADS: u32 = 1_000;
/// When memory is first looked at: by then every buffer has had its size.
const WARM: u32 = 100;
/// How often the steady source tries once more.
const TRY_EVERY: u32 = 25;
/// Prefixes of the large policies.
const PREFIXES: u32 = 100_000;
/// Reloads of the large policies.
const LARGE_RELOADS: u32 = 6;
/// What a switch to a large policy may take, reading and compiling included.
const SWITCH_MAX: Duration = Duration::from_secs(1);
/// What the daemon may have resident after such switches: with what it read and compiled for the last one it
/// would be twice as much.
const RESIDENT_MAX_KIB: u64 = 80 * 1_024;

/// A daemon under load, and the way to reload it.
struct Scene<'a> {
    bed: &'a Bed,
    daemon: Daemon<'a>,
    policies: Policies,
    server: Server,
    runtime: Runtime,
    client: Client,
}

impl<'a> Scene<'a> {
    fn new(bed: &'a Bed, policies: Policies) -> Self {
        // Ghosts do not answer: one whose reset got lost is given up in seconds.
        bed.server.sysctl("net.ipv4.tcp_orphan_retries", "1");
        let daemon = Daemon::start(&bed.server, &policies.text[0]);
        let anywhere: SocketAddr = ([0_u16; 8], STEADY_PORT).into();
        let server = Server::plan(anywhere).dual_stack().banner(b"220 steady\r\n").listen(&bed.server);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let client = Client::new(&daemon.socket());
        Self { bed, daemon, policies, server, runtime, client }
    }

    /// Puts one of the two in force and asks once from either family; returns how long the reload took.
    fn reload(&self, index: usize) -> Duration {
        self.daemon.configure(&self.policies.text[index]);
        let start = Instant::now();
        let change: PolicyChange =
            self.runtime.block_on(self.client.post(RELOAD, &())).expect("the policy comes into force");
        let took = start.elapsed();
        for address in self.policies.sources() {
            let query = CheckQuery { address, port: Some(policies::PORT) };
            let check: Check = self.runtime.block_on(self.client.get(CHECK, &query)).expect("an answer");
            let answer = &check.answers[0];
            assert_eq!(answer.revision, change.revision, "what was reloaded is in force");
            let service = answer.service.as_deref().unwrap_or("none");
            let said = (service, answer.class.as_str(), answer.verdict.as_str(), answer.reason.as_str());
            assert!(
                policies::agrees(index, address.is_ipv4(), said),
                "policy {index} for {address}: {said:?}"
            );
        }
        took
    }

    /// Fills the limit of a source that both policies treat alike.
    fn hold_steady(&self, source: IpAddr) -> Handshakes {
        let count = u16::try_from(STEADY_LIMIT).expect("small");
        let target = SocketAddr::new(self.bed.client().server_ipv4(), STEADY_PORT);
        let mut held = Handshakes::in_flight(self.bed.client(), target, &[source], count);
        held.complete(&Shape::Ack);
        self.server.wait_held(usize::from(count), PATIENCE);
        held
    }

    /// One more SYN of the source at its limit, which must be refused.
    fn try_steady(&self, source: IpAddr) {
        let target = SocketAddr::new(self.bed.client().server_ipv4(), STEADY_PORT);
        let mut next = Handshakes::prepare(self.bed.client(), target, &[source], 1);
        next.send_syns();
        assert_eq!(next.wait_for(PATIENCE, |h| h.reset.is_some()), 1, "a source at its limit is refused");
    }

    /// Every verdict that was counted is one that either policy can give as a whole, and both gave some.
    fn check_verdicts(&self) {
        let samples = self.daemon.metrics();
        let mixtures = policies::mixtures(&samples);
        assert!(mixtures.is_empty(), "verdicts that neither policy gives:\n{}", mixtures.join("\n"));
        let missing = policies::missing(&samples);
        assert!(missing.is_empty(), "verdicts that were never met: {missing:?}");
    }

    /// With everything closed nothing stays charged, and nothing has drifted.
    fn check_charges(self, mut held: Handshakes) {
        assert_eq!(self.daemon.open(STEADY), u64::from(STEADY_LIMIT), "open connections keep their charge");
        held.send_each(|handshake| Some(handshake.segment(Flags::RST | Flags::ACK)));
        drop(self.server);
        for service in policies::SERVICES {
            let closed = wait::until_some(PATIENCE, || (self.daemon.open(service) == 0).then_some(()));
            assert!(
                closed.is_some(),
                "{} connections of {service} stay open; the server has\n{}",
                self.daemon.open(service),
                self.bed.server.output("ss", &["-taonie"])
            );
        }
        self.daemon.recount(3);
        self.daemon.assert_sound();
    }
}

/// 1,000 reloads under load: every verdict is one policy's own, a source at its limit is refused
/// throughout, open connections keep their charge, and neither daemon nor maps grow.
#[test]
fn a_thousand_reloads_under_load() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let scene = Scene::new(&bed, Policies::small(bed.client()));
    let steady: IpAddr = "198.51.100.7".parse().expect("an address");
    let held = scene.hold_steady(steady);
    let start = Instant::now();
    let ((warm, end), tally) = load::during(&bed, &scene.policies, || {
        let mut warm = None;
        for n in 1..=RELOADS {
            scene.reload(n as usize % 2);
            if n % TRY_EVERY == 0 {
                scene.try_steady(steady);
            }
            if n == WARM {
                warm = Some(Memory::of(&scene.daemon));
            }
        }
        (warm.expect("there are more reloads than that"), Memory::of(&scene.daemon))
    });
    println!("{RELOADS} reloads in {:?}; {tally}", start.elapsed());
    println!("after {WARM}: {warm:?}\nafter {RELOADS}: {end:?}");
    end.assert_flat_since(&warm);
    scene.check_verdicts();
    scene.check_charges(held);
}

/// 100,000 prefixes are read, compiled and switched to in less than a second, no packet is
/// judged by a mixture of the old ones and the new, and what that took for a moment is given back.
#[test]
fn a_hundred_thousand_prefixes_switch_at_once() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let scene = Scene::new(&bed, Policies::large(bed.client(), PREFIXES));
    let held = scene.hold_steady("198.51.100.7".parse().expect("an address"));
    let reloads = || (1..=LARGE_RELOADS).map(|n| scene.reload(n as usize % 2)).collect();
    let (times, tally): (Vec<Duration>, _) = load::during(&bed, &scene.policies, reloads);
    println!("{tally}");
    let prefixes = scene.daemon.ctl_json(&["status"])["policy"]["prefixes"].clone();
    let memory = Memory::of(&scene.daemon);
    println!("{prefixes} prefixes switched in {times:?}; {memory:?}");
    memory.assert_resident_below(RESIDENT_MAX_KIB);
    assert!(prefixes.as_u64().is_some_and(|count| count >= u64::from(PREFIXES)), "{prefixes}");
    let slowest = times.iter().max().expect("there was a reload");
    assert!(*slowest < SWITCH_MAX, "a switch took {slowest:?}");
    scene.check_verdicts();
    scene.check_charges(held);
}
