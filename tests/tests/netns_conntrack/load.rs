//! More events than there is room for, connections as fast as they come, and what 100,000 entries cost.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use limiter_tests::client::{read_next, reset_on_close};
use limiter_tests::daemon::{DAEMON, Daemon};
use limiter_tests::frame::{Frame, Tcp};
use limiter_tests::netns::Namespace;
use limiter_tests::usage::{cpu_time, resident_kib};
use limiter_tests::veth::Bed;
use limiter_tests::wire::Wire;
use limiter_tests::{host, require, wait};
use nix::sys::signal::Signal;

use super::{
    CONNTRACK, PATIENCE, SMTP, all_entries, config, connect, conntrack, entries, events, findings, greeter,
    tracking, wait_entries, wait_watching,
};

/// Threads that connect.
const THREADS: u8 = 4;
/// Where connections go that nobody guards.
const OTHER: u16 = 8080;
/// How long a table may take to be right after an overrun.
const RESYNC_TIME: Duration = Duration::from_secs(30);
/// What 100,000 entries may add to the memory of the daemon: 200 bytes each.
const GROWTH_MAX_KIB: u64 = 20 * 1_024;
/// What the daemon may take with them.
const RESIDENT_MAX_KIB: u64 = 50 * 1_024;

/// Ends an acceptor when it goes, in a failed test too.
struct Accepting<'a> {
    bed: &'a Bed,
    address: SocketAddr,
    done: &'a AtomicBool,
}

impl Drop for Accepting<'_> {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        drop(self.bed.server.run(|| TcpStream::connect(self.address)));
    }
}

/// Accepts and closes what comes to `port` while `work` runs.
fn accepting<T: Send>(bed: &Bed, port: u16, work: impl FnOnce() -> T + Send) -> T {
    let address = SocketAddr::new(bed.client().server_ipv4(), port);
    let listener = bed.server.run(|| TcpListener::bind(address)).expect("the port is free");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let _accepting = Accepting { bed, address, done: &done };
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // An error is a client that has reset its connection already.
                drop(listener.accept());
            }
        });
        work()
    })
}

/// Connects and resets, as fast as the machine does, for a while; returns how many connections that were.
///
/// Each waits to be closed by the server before it resets: clients that do not can fill the queue of connections to
/// accept, and a SYN that finds it full is sent again after a second.
fn churn(bed: &Bed, port: u16, span: Duration) -> u64 {
    let address = SocketAddr::new(bed.client().server_ipv4(), port);
    let (count, end) = (AtomicU64::new(0), Instant::now() + span);
    let client = || {
        while Instant::now() < end {
            // A port that is still taken is one connection less.
            if let Ok(stream) = TcpStream::connect(address) {
                let at_end = read_next(&stream, PATIENCE);
                assert!(matches!(at_end, Ok(0)), "the server closes without a word: {at_end:?}");
                reset_on_close(&stream);
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| bed.client().namespace.run(client));
        }
    });
    count.into_inner()
}

/// Sends SYNs from addresses that no host owns: each is an entry that stays for a minute.
fn half_open(bed: &Bed, count: u32) {
    let client = bed.client();
    let sources: Vec<IpAddr> = (0..count.div_ceil(PER_SOURCE))
        .map(|n| IpAddr::from([10, 91, 0, u8::try_from(n).unwrap()]))
        .collect();
    client.add_ghosts(&sources);
    let wire = Wire::send_only(&client.namespace, &client.device());
    for n in 0..count {
        let source = sources[(n / PER_SOURCE) as usize];
        let from = SocketAddr::new(source, u16::try_from(1_024 + n % PER_SOURCE).unwrap());
        let to = SocketAddr::new(client.server_ipv4(), SMTP);
        wire.send(
            &Frame::tcp(from, to, Tcp::syn()).between(client.ghost_mac(), client.server_mac()).to_bytes(),
        );
    }
}

/// Half-open connections of one source.
const PER_SOURCE: u32 = 20_000;

/// How many entries for a port the kernel has, by its own account.
fn in_kernel(namespace: &Namespace, port: u16, state: Option<&str>) -> u64 {
    let port = port.to_string();
    let mut arguments = vec!["-L", "-p", "tcp", "--orig-port-dst", &port];
    arguments.extend(state.iter().flat_map(|state| ["--state", state]));
    conntrack(namespace, &arguments).lines().filter(|line| line.starts_with("tcp")).count() as u64
}

/// Waits until the daemon's figures are the kernel's, by state too.
#[track_caller]
fn wait_agreement(daemon: &Daemon<'_>, bed: &Bed) -> Duration {
    wait::until("the daemon has the kernel's figures", RESYNC_TIME, || {
        let before = in_kernel(&bed.server, SMTP, None);
        let ours = (all_entries(daemon, "smtp"), entries(daemon, "smtp", "established"));
        let kernels = (before, in_kernel(&bed.server, SMTP, Some("ESTABLISHED")));
        // While entries expire the two are read at different times.
        ours == kernels && in_kernel(&bed.server, SMTP, None) == before
    })
}

/// Events for which there was no room are counted and noted; a look at the table makes the figures right.
#[test]
fn an_overrun_is_mended() {
    /// More than there is room for: three events each.
    const CONNECTIONS: u32 = 30_000;
    require!(host::BED, DAEMON, CONNTRACK);
    let bed = tracking();
    let _server = greeter(&bed.server, SMTP);
    let daemon = Daemon::start(&bed.server, &config("25"));
    wait_watching(&daemon);
    let gone = connect(bed.client(), bed.client().server_ipv4());
    wait_entries(&daemon, "smtp", "established", 1);
    daemon.process().signal(Signal::SIGSTOP);
    half_open(&bed, CONNECTIONS);
    // Told by events that there is no room for.
    let port = gone.local_addr().unwrap().port().to_string();
    conntrack(&bed.server, &["-D", "-p", "tcp", "--sport", &port]);
    let _stays = connect(bed.client(), bed.client().server_ipv4());
    daemon.process().signal(Signal::SIGCONT);
    let took = wait_agreement(&daemon, &bed);
    let counts = ["overrun", "lost", "resync"].map(|kind| events(&daemon, kind));
    println!(
        "{CONNECTIONS} connections while stopped: {} overruns, {} events lost, {} looks at the table; right within {took:?}",
        counts[0], counts[1], counts[2]
    );
    assert!(counts.iter().all(|count| *count > 0), "overrun, lost and resync are counted: {counts:?}");
    assert_eq!(entries(&daemon, "smtp", "established"), 1, "the one gone is forgotten, the other one found");
    assert!(findings(&daemon).contains("conntrack had more events than there was room for"));
    daemon.process().wait_for_log("conntrack is in step again", PATIENCE);
}

/// Connections as fast as they come are kept up with, or the loss is counted and mended; those that nobody guards cost
/// next to nothing.
#[test]
fn churn_is_kept_up_with() {
    const SPAN: Duration = Duration::from_secs(5);
    require!(host::BED, DAEMON, CONNTRACK);
    let bed = tracking();
    let daemon = Daemon::start(&bed.server, &config("25"));
    wait_watching(&daemon);
    let mut costs = Vec::new();
    for port in [OTHER, SMTP] {
        let (before, told_before) = (cpu_time(daemon.process(), Some("conntrack")), told(&daemon));
        let connections = accepting(&bed, port, || churn(&bed, port, SPAN));
        let agreed = wait_agreement(&daemon, &bed);
        let (cost, told) = (
            cpu_time(daemon.process(), Some("conntrack")).saturating_sub(before),
            told(&daemon) - told_before,
        );
        println!(
            "port {port}: {connections} connections in {SPAN:?}, {} a second; {told} events taken in, {} lost; \
             {cost:?} of a CPU; right within {agreed:?}",
            connections / SPAN.as_secs(),
            events(&daemon, "lost")
        );
        costs.push((connections, cost, told));
    }
    let [(others, other_cost, other_events), (guarded, cost, told)] = costs[..] else { panic!("two runs") };
    assert!(others > 1_000 && guarded > 1_000, "the machine does connect");
    assert_eq!(other_events, 0, "what nobody guards is not even told");
    assert!(told >= guarded || events(&daemon, "lost") > 0, "each connection is told of, or said to be lost");
    assert_eq!(events(&daemon, "lost") > 0, events(&daemon, "overrun") > 0);
    assert!(other_cost <= cost.max(Duration::from_millis(200)), "{other_cost:?} beside {cost:?}");
}

fn told(daemon: &Daemon<'_>) -> u64 {
    ["new", "update", "destroy"].map(|kind| events(daemon, kind)).iter().sum()
}

/// 100,000 entries take little memory.
#[test]
fn entries_are_lean() {
    const ENTRIES: u32 = 100_000;
    require!(host::BED, DAEMON, CONNTRACK);
    let bed = tracking();
    let _server = greeter(&bed.server, SMTP);
    let daemon = Daemon::start(&bed.server, &config("25"));
    wait_watching(&daemon);
    let before = resident_kib(daemon.process());
    let cpu_before = cpu_time(daemon.process(), Some("conntrack"));
    let start = Instant::now();
    half_open(&bed, ENTRIES);
    let sent = start.elapsed();
    wait::until("all entries are known", RESYNC_TIME, || all_entries(&daemon, "smtp") >= u64::from(ENTRIES));
    let (after, cost) = (
        resident_kib(daemon.process()),
        cpu_time(daemon.process(), Some("conntrack")).saturating_sub(cpu_before),
    );
    let per_second = f64::from(ENTRIES) / sent.as_secs_f64();
    println!(
        "{ENTRIES} connections at {per_second:.0} a second: {before} KiB before, {after} KiB after; {} events, {} lost; \
         {cost:?} of a CPU",
        told(&daemon),
        events(&daemon, "lost")
    );
    assert!(after < RESIDENT_MAX_KIB, "{after} KiB");
    assert!(after - before < GROWTH_MAX_KIB, "{before} KiB before, {after} KiB after");
}
