//! The limit of open connections, with 200 handshakes in flight.
//!
//! Every SYN is answered before the first handshake is completed, so all 200
//! pass the look at the SYN: whether 20 get in, and no more, is decided where
//! handshakes are completed. In every shape that completes one:
//!
//! - `*_over_ipv4`, `*_over_ipv6`: bare, with data, with FIN, in fragments, behind option headers
//! - `cookies_*`, `deferred_*`, `queued_*`, `late_*`: other ways through the kernel
//! - `*_two_cpus*`: completed on both CPUs at the same moment
//! - `the_gate_*`: without XDP
//! - `tc_*`: with tc in the place of XDP
//!
//! One after the other, for the CPUs' sake, but the one that is late: it waits for nearly a minute.
//!
//! Runs in parallel.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use limiter_tests::daemon::{DAEMON, Daemon, enforcing};
use limiter_tests::frame::Flags;
use limiter_tests::raw::{Handshakes, Shape};
use limiter_tests::server::{BANNER, Server};
use limiter_tests::veth::Bed;
use limiter_tests::{host, require, wait};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

const PATIENCE: Duration = Duration::from_secs(10);
const SMTP: u16 = 25;
/// Handshakes in flight.
const IN_FLIGHT: u16 = 200;
/// Connections that one source may have open.
const LIMIT: u32 = 20;
/// Nearly as long as the kernel answers a SYN: it retransmits five times, and
/// gives up after 63 s (`net.ipv4.tcp_synack_retries`).
const LATE: Duration = Duration::from_secs(58);
/// Rounds on two CPUs: each is another chance for both to take the last place.
const ROUNDS: usize = 8;

/// Waits until no other test is under way, but the late one.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A bed with a daemon, and what was seen of it.
struct Scene<'a> {
    bed: &'a Bed,
    daemon: Daemon<'a>,
    sources: Vec<IpAddr>,
}

fn data() -> Vec<u8> {
    b"EHLO test\r\n".to_vec()
}

fn any(address: &str) -> SocketAddr {
    SocketAddr::new(address.parse().expect("an address"), SMTP)
}

impl<'a> Scene<'a> {
    fn new(bed: &'a Bed, attach: &str, sources: &[&str]) -> Self {
        let daemon = Daemon::start(&bed.server, &enforcing(attach, LIMIT));
        let sources = sources.iter().map(|text| text.parse().expect("an address")).collect();
        Self { bed, daemon, sources }
    }

    fn over_ipv4(bed: &'a Bed, attach: &str) -> Self {
        Self::new(bed, attach, &["192.0.2.7"])
    }

    /// From two addresses of one /64.
    fn over_ipv6(bed: &'a Bed, attach: &str) -> Self {
        Self::new(bed, attach, &["2001:db8::1", "2001:db8::2"])
    }

    /// Where the sources of this scene connect to.
    fn target(&self) -> SocketAddr {
        let client = self.bed.client();
        let v4 = self.sources[0].is_ipv4();
        SocketAddr::new(if v4 { client.server_ipv4() } else { client.server_ipv6() }, SMTP)
    }

    fn in_flight(&self, count: u16) -> Handshakes {
        Handshakes::in_flight(self.bed.client(), self.target(), &self.sources, count)
    }

    /// Completing segments that were refused so far, by XDP and by the gate.
    fn refused(&self) -> (u64, u64) {
        let at = |point| {
            let labels = [("service", "smtp"), ("verdict", "refuse"), ("point", point)];
            self.daemon.count("limiter_packets_total", &labels)
        };
        (at("ack"), at("gate"))
    }

    /// Completes 200 handshakes by these shapes in turn; 20 get in.
    fn twenty_of_200(&self, name: &str, listener: &Server, shapes: &[Shape]) {
        let mut raw = self.in_flight(IN_FLIGHT);
        let before = self.refused();
        for shape in shapes {
            raw.complete(shape);
        }
        self.assert_twenty(name, listener, before);
        self.close(listener, &mut [raw]);
    }

    /// Waits until all handshakes are decided, and checks that the limit was kept, exactly.
    fn assert_twenty(&self, name: &str, listener: &Server, before: (u64, u64)) {
        let took = listener.wait_held(LIMIT as usize, PATIENCE);
        let others = u64::from(IN_FLIGHT) - u64::from(LIMIT);
        wait::until("every other handshake is refused", PATIENCE, || {
            let (ack, gate) = self.refused();
            ack + gate >= before.0 + before.1 + others
        });
        let after = self.refused();
        println!(
            "{name}: {} of {IN_FLIGHT} accepted after {took:?}, refused {} by XDP and {} by the gate",
            listener.accepted(),
            after.0 - before.0,
            after.1 - before.1,
        );
        assert_eq!(listener.most(), LIMIT as usize, "{name}: never more than the limit");
        assert_eq!(self.daemon.open("smtp"), u64::from(LIMIT), "{name}: what is open is counted");
        self.daemon.assert_sound();
    }

    /// Closes everything; nothing stays counted, and the server never held more than the limit.
    fn close(&self, listener: &Server, raws: &mut [Handshakes]) {
        for raw in raws {
            raw.send_each(|handshake| Some(handshake.segment(Flags::RST | Flags::ACK)));
        }
        assert_eq!(listener.accepted(), LIMIT as usize, "nobody gets in later");
        listener.close(LIMIT as usize);
        wait::until_eq("the number of connections counted", &0, PATIENCE, || self.daemon.open("smtp"));
        self.daemon.assert_sound();
    }

    /// One round of each shape, each against a server of its own, and a recount over the last.
    fn each(&self, shapes: &[Shape]) {
        for shape in shapes {
            let listener = Server::greeting(&self.bed.server, self.target());
            self.twenty_of_200(
                &format!("{} {shape:?}", self.sources[0]),
                &listener,
                std::slice::from_ref(shape),
            );
        }
        self.daemon.recount(3);
        self.daemon.assert_sound();
    }
}

/// 20 of 200 get in, however a handshake is completed over IPv4.
#[test]
fn twenty_of_200_in_every_shape_over_ipv4() {
    require!(host::BED, DAEMON);
    let _alone = alone();
    let bed = Bed::new();
    let shapes = [
        Shape::Ack,
        Shape::AckWithData(data()),
        Shape::FinAck,
        Shape::Fragments(8, Vec::new()),
        Shape::Fragments(8, data()),
    ];
    Scene::over_ipv4(&bed, "auto").each(&shapes);
}

/// 20 of 200 get in, however a handshake is completed over IPv6, from two addresses of one /64.
#[test]
fn twenty_of_200_in_every_shape_over_ipv6() {
    require!(host::BED, DAEMON);
    let _alone = alone();
    let bed = Bed::new();
    let shapes = [
        Shape::Ack,
        Shape::AckWithData(data()),
        Shape::FinAck,
        Shape::Fragments(24, data()),
        Shape::OptionHeaders(30),
    ];
    Scene::over_ipv6(&bed, "auto").each(&shapes);
}

/// 20 of 200 get in where ACK and data arrive in one batch.
///
/// With threaded NAPI frames that are sent in a row meet the server together.
#[test]
fn twenty_of_200_with_data_in_the_same_batch() {
    require!(host::BED, DAEMON);
    let _alone = alone();
    let bed = Bed::plan().queues(2).build();
    let scene = Scene::over_ipv4(&bed, "auto");
    bed.server.threaded_napi("srv0", true);
    scene.each(&[Shape::AckThenData(data()), Shape::AckWithData(data())]);
}

/// 20 of 200 get in with a SYN cookie for every SYN: IPv4, IPv6 and IPv4 to a dual-stack listener.
#[test]
fn cookies_do_not_lift_the_limit() {
    require!(host::BED, DAEMON);
    let _alone = alone();
    let bed = Bed::new();
    bed.server.sysctl("net.ipv4.tcp_syncookies", "2");
    for (name, scene, dual) in [
        ("cookies over IPv4", Scene::over_ipv4 as fn(_, _) -> _, false),
        ("cookies over IPv6", Scene::over_ipv6, false),
        ("cookies over IPv4 to a dual-stack listener", Scene::over_ipv4, true),
    ] {
        let scene: Scene<'_> = scene(&bed, "auto");
        let listener = if dual {
            Server::plan(any("::")).dual_stack().banner(BANNER).listen(&bed.server)
        } else {
            Server::greeting(&bed.server, scene.target())
        };
        scene.twenty_of_200(name, &listener, &[Shape::Ack]);
    }
}

/// A handshake that the server defers takes no slot; with data, 20 of 200 get in.
#[test]
fn deferred_handshakes_are_counted_once_they_are_accepted() {
    require!(host::BED, DAEMON);
    let _alone = alone();
    let bed = Bed::new();
    let scene = Scene::over_ipv4(&bed, "auto");
    let listener = Server::plan(scene.target()).defer_accept(30).listen(&bed.server);
    let mut raw = scene.in_flight(IN_FLIGHT);
    raw.complete(&Shape::Ack);
    assert_eq!((listener.accepted(), scene.daemon.open("smtp")), (0, 0), "a bare ACK is deferred");
    let before = scene.refused();
    raw.complete(&Shape::AckWithData(data()));
    scene.assert_twenty("deferred, then data", &listener, before);
    scene.close(&listener, &mut [raw]);
}

/// 20 of 200 get in where completing ACKs wait in an ingress queue, behind XDP and before the gate.
#[test]
fn queued_handshakes_meet_the_gate() {
    require!(host::BED, DAEMON);
    let _alone = alone();
    let bed = Bed::new();
    let scene = Scene::over_ipv4(&bed, "auto");
    bed.server.ip("link add shape0 type ifb\nlink set shape0 up");
    let tc = |line: &str| bed.server.output("tc", &line.split(' ').collect::<Vec<_>>());
    // 200 ACKs take a tenth of a second.
    tc("qdisc add dev shape0 root tbf rate 1mbit burst 2kb latency 5s");
    tc("qdisc add dev srv0 ingress");
    tc(
        "filter add dev srv0 parent ffff: protocol all u32 match u32 0 0 action mirred egress redirect dev shape0",
    );
    let listener = Server::greeting(&bed.server, scene.target());
    let mut raw = scene.in_flight(IN_FLIGHT);
    let before = scene.refused();
    raw.complete(&Shape::Ack);
    scene.assert_twenty("queued by an ingress shaper", &listener, before);
    let shaped = tc("-s qdisc show dev shape0");
    assert!(!shaped.contains("overlimits 0 "), "the queue held them up: {shaped}");
    scene.close(&listener, &mut [raw]);
}

/// 20 of 200 get in where all are completed 58 s after the SYN; that is how long this test takes.
#[test]
fn late_handshakes_meet_the_limit() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let scene = Scene::over_ipv4(&bed, "auto");
    let listener = Server::greeting(&bed.server, scene.target());
    let mut raw = scene.in_flight(IN_FLIGHT);
    raw.hold(LATE);
    assert_eq!((listener.accepted(), scene.daemon.open("smtp")), (0, 0), "half-open connections are free");
    let before = scene.refused();
    raw.complete(&Shape::Ack);
    scene.assert_twenty("completed 58 s later", &listener, before);
    scene.close(&listener, &mut [raw]);
}

/// Completes two halves of 200 handshakes on two CPUs at once, many times.
fn on_two_cpus(scene: &Scene<'_>, name: &str) {
    for round in 1..=ROUNDS {
        let listener = Server::greeting(&scene.bed.server, scene.target());
        let mut halves = [0, 1].map(|_| scene.in_flight(IN_FLIGHT / 2));
        let before = scene.refused();
        let together = std::sync::Barrier::new(2);
        thread::scope(|scope| {
            for (cpu, half) in halves.iter_mut().enumerate() {
                let together = &together;
                scope.spawn(move || {
                    let mut cpus = CpuSet::new();
                    cpus.set(cpu).expect("a CPU set holds the first CPUs");
                    sched_setaffinity(Pid::from_raw(0), &cpus).expect("the test requires two CPUs");
                    together.wait();
                    half.complete(&Shape::Ack);
                });
            }
        });
        scene.assert_twenty(&format!("{name}, round {round}"), &listener, before);
        scene.close(&listener, &mut halves);
    }
    scene.daemon.recount(3);
    scene.daemon.assert_sound();
}

/// 20 of 200 get in, whichever CPU takes the last place.
#[test]
fn twenty_of_200_on_two_cpus() {
    require!(host::BED, DAEMON);
    let _alone = alone();
    let bed = Bed::plan().queues(2).build();
    on_two_cpus(&Scene::over_ipv4(&bed, "auto"), "two CPUs");
}

/// 20 of 200 get in where the kernel spreads packets over both CPUs behind XDP.
#[test]
fn twenty_of_200_on_two_cpus_with_packet_steering() {
    require!(host::BED, DAEMON);
    let _alone = alone();
    let bed = Bed::plan().queues(2).build();
    bed.server.receive_packet_steering("srv0", "3");
    on_two_cpus(&Scene::over_ipv6(&bed, "auto"), "two CPUs, packet steering");
}

/// The gate alone is exact: each shape over IPv4.
#[test]
fn the_gate_alone_admits_twenty_of_200_over_ipv4() {
    require!(host::BED, DAEMON);
    let _alone = alone();
    let bed = Bed::new();
    let shapes = [Shape::Ack, Shape::AckWithData(data()), Shape::FinAck, Shape::Fragments(8, data())];
    Scene::over_ipv4(&bed, "none").each(&shapes);
}

/// The gate alone is exact: each shape over IPv6.
#[test]
fn the_gate_alone_admits_twenty_of_200_over_ipv6() {
    require!(host::BED, DAEMON);
    let _alone = alone();
    let bed = Bed::new();
    Scene::over_ipv6(&bed, "none").each(&[
        Shape::Ack,
        Shape::Fragments(24, data()),
        Shape::OptionHeaders(30),
    ]);
}

/// The gate alone is exact on two CPUs.
#[test]
fn the_gate_alone_admits_twenty_of_200_on_two_cpus() {
    require!(host::BED, DAEMON);
    let _alone = alone();
    let bed = Bed::plan().queues(2).build();
    bed.server.receive_packet_steering("srv0", "3");
    on_two_cpus(&Scene::over_ipv4(&bed, "none"), "two CPUs, packet steering, gate alone");
}

/// 20 of 200 get in where tc judges in the place of XDP: each shape, both families, with and without cookies.
#[test]
fn tc_admits_twenty_of_200() {
    require!(host::BED, DAEMON);
    let _alone = alone();
    let bed = Bed::new();
    let shapes = [Shape::Ack, Shape::AckWithData(data()), Shape::FinAck];
    Scene::over_ipv4(&bed, "tcx").each(&[&shapes[..], &[Shape::Fragments(8, data())]].concat());
    Scene::over_ipv6(&bed, "tcx").each(&[&shapes[..], &[Shape::OptionHeaders(3)]].concat());
    bed.server.sysctl("net.ipv4.tcp_syncookies", "2");
    for (name, scene) in [
        ("cookies over IPv4, in tc", Scene::over_ipv4 as fn(_, _) -> _),
        ("cookies over IPv6, in tc", Scene::over_ipv6),
    ] {
        let scene: Scene<'_> = scene(&bed, "tcx");
        let listener = Server::greeting(&bed.server, scene.target());
        scene.twenty_of_200(name, &listener, &[Shape::Ack]);
        assert!(scene.refused().0 > 0, "a source at its limit is refused in tc, by its cookie");
    }
}

/// The kernel resets what tc spoils: nobody beyond the limit is left waiting.
#[test]
fn tc_makes_the_kernel_reset() {
    require!(host::BED, DAEMON);
    let _alone = alone();
    let bed = Bed::new();
    for scene in [Scene::over_ipv4 as fn(_, _) -> _, Scene::over_ipv6 as fn(_, _) -> _] {
        let scene: Scene<'_> = scene(&bed, "tcx");
        let listener = Server::greeting(&bed.server, scene.target());
        let mut raw = scene.in_flight(IN_FLIGHT);
        let before = scene.refused();
        raw.complete(&Shape::Ack);
        let others = usize::from(IN_FLIGHT) - LIMIT as usize;
        raw.wait_until(PATIENCE, |all| all.iter().filter(|h| h.reset.is_some()).count() == others);
        assert_eq!(raw.count(|h| h.reset.is_some()), others, "each is told");
        assert_eq!(raw.count(|h| h.bad_checksums > 0), 0);
        scene.assert_twenty("reset", &listener, before);
        scene.close(&listener, &mut [raw]);
    }
}
