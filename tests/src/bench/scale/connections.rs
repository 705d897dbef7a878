//! What open connections cost: memory of the kernel and of the daemon, its CPU, recounts, scrapes.

use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::socket::sockopt::SndBufForce;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, setsockopt, socketpair,
};

use super::{Effort, milliseconds};
use crate::bench::report::{Bound, Figure, Report, Table, count, median};
use crate::daemon::{DAEMON_RECOUNT_S, Daemon, enforcing};
use crate::map_memory;
use crate::raw::{Handshakes, Shape};
use crate::scene;
use crate::server::{BANNER, Server};
use crate::veth::Bed;
use crate::{usage, wait};

/// The first source.
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 128, 0, 0);
/// Handshakes that are in flight at once.
const AT_ONCE: u32 = 10_000;
/// As many connections may wait to be accepted as there are.
const QUEUE: i32 = -1;
const QUEUE_MAX: &str = "1000000";
/// Descriptors that one message can carry (`SCM_MAX_FD`, `include/net/scm.h`).
const FDS_PER_MESSAGE: usize = 253;
/// Room for a thousand such messages.
const SHELF_BYTES: usize = 8 << 20;
/// How long it may take until all are counted.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the daemon recounts by default, in seconds.
const DEFAULT_RECOUNT_S: f64 = 10.0;

/// What is wanted with the most connections.
const RECOUNT_MAX_MS: f64 = 300.0;
const SCRAPE_MAX_MS: f64 = 20.0;
const SOURCE_MAX_BYTES: f64 = 200.0;
const RESIDENT_MAX_MB: f64 = 50.0;

/// What was found with so many connections.
struct Step {
    connections: u32,
    per_source: u32,
    recount_ms: f64,
    scrape_ms: f64,
    resident_mb: f64,
    /// Kernel memory of the map of sources, for each source.
    source_bytes: f64,
    /// Of all other maps, for each connection.
    other_bytes: f64,
    /// Of one CPU, by recounts as often as by default.
    cpu_percent: f64,
}

/// Bytes of kernel memory in maps.
struct Taken {
    sources: u64,
    others: u64,
}

impl Taken {
    fn by(daemon: &Daemon<'_>) -> Self {
        let sources = map_memory::source_bytes(daemon);
        Self { sources, others: map_memory::map_bytes(daemon) - sources }
    }
}

/// Opens connections, `per_source` of each, and measures at each number of them.
pub(super) fn measure(
    effort: Effort,
    per_source: u32,
    numbers: &[u32],
    progress: &mut impl FnMut(&str),
    report: &mut Report,
) {
    let bed = Bed::new();
    bed.server.sysctl("net.core.somaxconn", QUEUE_MAX);
    let address = scene::address(&bed);
    let server = Server::plan(address).backlog(QUEUE).banner(BANNER).listen(&bed.server);
    let shelf = Shelf::new();
    let daemon = Daemon::start(&bed.server, &enforcing("native", 20));
    let empty = Taken::by(&daemon);
    let mut open = 0;
    let mut steps = Vec::new();
    for &connections in numbers {
        progress(&format!("opens {connections} connections"));
        while open < connections {
            let some = AT_ONCE.min(connections - open);
            connect(&bed, open, some, per_source);
            server.wait_held(some as usize, PATIENCE);
            shelf.keep(&server.take(some as usize));
            open += some;
        }
        let counted = || daemon.open("smtp") == u64::from(connections);
        wait::until("all connections are counted", PATIENCE, counted);
        progress(&format!("measures {connections} connections"));
        steps.push(step(effort, &daemon, connections, per_source, &empty));
    }
    let rows = steps.iter().map(Step::row).collect();
    let columns = vec![
        "connections",
        "recount ms",
        "scrape ms",
        "daemon MB",
        "CPU %",
        "map bytes/source",
        "other map bytes/connection",
    ];
    report.tables.push(Table {
        title: format!("Open connections, {per_source} of each source"),
        columns,
        rows,
    });
    if let Some(last) = steps.last() {
        last.tell(report);
    }
    let name = format!("kernel memory of one connection, in its socket, {per_source} of each source");
    report.figures.push(Figure::told(name, storage_bytes(&bed), "bytes"));
}

/// Opens connections of sources that follow one another.
fn connect(bed: &Bed, first: u32, count: u32, per_source: u32) {
    let sources = first / per_source..(first + count).div_ceil(per_source);
    let sources: Vec<_> = sources.map(|n| IpAddr::V4(Ipv4Addr::from_bits(FIRST.to_bits() + n))).collect();
    let count = u16::try_from(count).expect("a set has as many handshakes as there are ports, at most");
    let mut handshakes = Handshakes::in_flight(bed.client(), scene::address(bed), &sources, count);
    handshakes.complete(&Shape::Ack);
    // What is not acknowledged is sent again and again.
    let greeted = handshakes.wait_for(PATIENCE, |handshake| handshake.data == BANNER);
    assert_eq!(greeted, usize::from(count), "every client is greeted");
}

/// Sockets that stay open without a descriptor: on their way to a process that never takes them.
///
/// Both ends of 100,000 connections are more descriptors than most machines allow one process.
struct Shelf {
    /// Where they are put.
    front: OwnedFd,
    _back: OwnedFd,
}

impl Shelf {
    fn new() -> Self {
        let kind = SockType::SeqPacket;
        let (front, back) =
            socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC).expect("a pair of sockets");
        setsockopt(&front, SndBufForce, &SHELF_BYTES).expect("a large buffer needs CAP_NET_ADMIN");
        Self { front, _back: back }
    }

    fn keep(&self, streams: &[TcpStream]) {
        for some in streams.chunks(FDS_PER_MESSAGE) {
            let fds: Vec<_> = some.iter().map(AsRawFd::as_raw_fd).collect();
            let rights = [ControlMessage::ScmRights(&fds)];
            let flags = MsgFlags::MSG_DONTWAIT;
            sendmsg::<()>(self.front.as_raw_fd(), &[IoSlice::new(b"!")], &rights, flags, None)
                .expect("there is room for all, and CAP_SYS_ADMIN may exceed the limit on descriptors");
        }
    }
}

fn step(effort: Effort, daemon: &Daemon<'_>, connections: u32, per_source: u32, empty: &Taken) -> Step {
    let timed = |work: &dyn Fn()| {
        let times = (0..effort.rounds).map(|_| {
            let start = Instant::now();
            work();
            milliseconds(start.elapsed())
        });
        median(times.collect())
    };
    // What happens once after a change is over by then.
    daemon.wait_recounts(1);
    let taken = Taken::by(daemon);
    let (cpu_before, start) = (usage::cpu_time(daemon.process(), None), Instant::now());
    daemon.wait_recounts(effort.rounds);
    let cpu = usage::cpu_time(daemon.process(), None).saturating_sub(cpu_before);
    let of_one_cpu = cpu.as_secs_f64() / start.elapsed().as_secs_f64();
    let resident = usage::resident_kib(daemon.process()) * 1_024;
    Step {
        connections,
        per_source,
        recount_ms: timed(&|| daemon.recount(1)),
        scrape_ms: timed(&|| assert_eq!(daemon.get("/metrics").0, 200, "metrics are served")),
        resident_mb: count(resident) / 1e6,
        source_bytes: count(taken.sources - empty.sources) / f64::from(connections / per_source),
        other_bytes: count(taken.others - empty.others) / f64::from(connections),
        cpu_percent: 100.0 * of_one_cpu * f64::from(DAEMON_RECOUNT_S) / DEFAULT_RECOUNT_S,
    }
}

/// What storage of BPF takes in the socket of a connection, on average over some.
fn storage_bytes(bed: &Bed) -> f64 {
    let sockets = bed.server.output("ss", &["--memory", "--no-header", "-tn", "state", "established"]);
    let options = |line: &str| line.split_once(",o")?.1.split(',').next()?.parse::<f64>().ok();
    let all: Vec<f64> = sockets.lines().filter_map(options).collect();
    assert!(!all.is_empty(), "`ss --memory` says what a socket has in options:\n{sockets:.400}");
    all.iter().sum::<f64>() / count(all.len())
}

impl Step {
    fn row(&self) -> Vec<String> {
        vec![
            self.connections.to_string(),
            format!("{:.1}", self.recount_ms),
            format!("{:.1}", self.scrape_ms),
            format!("{:.1}", self.resident_mb),
            format!("{:.2}", self.cpu_percent),
            format!("{:.0}", self.source_bytes),
            format!("{:.0}", self.other_bytes),
        ]
    }

    /// Compares with what is wanted.
    fn tell(&self, report: &mut Report) {
        let named = |what: &str| {
            format!("{what}, {} connections, {} of each source", self.connections, self.per_source)
        };
        for (what, value, unit, most) in [
            ("recount", self.recount_ms, "ms", RECOUNT_MAX_MS),
            ("scrape", self.scrape_ms, "ms", SCRAPE_MAX_MS),
            ("kernel memory of one open source, in its map", self.source_bytes, "bytes", SOURCE_MAX_BYTES),
            ("resident memory of the daemon", self.resident_mb, "MB", RESIDENT_MAX_MB),
        ] {
            report.figures.push(Figure::wanted(named(what), value, unit, Bound::Most(most)));
        }
        let name = named("CPU of the daemon, recounts every ten seconds");
        report.figures.push(Figure::told(name, self.cpu_percent, "% of one"));
    }
}
