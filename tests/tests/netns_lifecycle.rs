//! Start, stop and die: what is open is found, stays, and is never disturbed.
//!
//! - connections from before: `a_start_*`
//! - open connections while their source is refused: `a_bulk_transfer_*`
//! - exempt sources: `an_exempt_source_*`
//! - programs of others: `a_foreign_*`

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use limiter_tests::client::{Burst, Target};
use limiter_tests::daemon::{DAEMON, Daemon, binary};
use limiter_tests::host::{Cgroup, Requirement};
use limiter_tests::process::Process;
use limiter_tests::server::{BANNER, Server};
use limiter_tests::sock_ops::Exclusive;
use limiter_tests::veth::Bed;
use limiter_tests::xdp::{Action, Attached, NAME, XdpMode};
use limiter_tests::{host, require, wait};

const PATIENCE: Duration = Duration::from_secs(10);
/// Where a server accepts, and where one leaves everything in its queue.
const PORTS: (u16, u16) = (25, 2525);
const CONFIG: &str = r#"
mode = "enforce"
interfaces = ["srv0"]
[[service]]
name = "smtp"
ports = [25, 2525]
connections_per_source = 12
"#;

fn connect(bed: &Bed, server: SocketAddr, count: usize) -> Burst {
    Burst::connect(&bed.client().namespace, &Target::silent(server), count)
}

/// How many connections there are by source, from a recount made for it.
fn by_source(daemon: &Daemon<'_>) -> Vec<u64> {
    let top = daemon.ctl_json(&["top"]);
    top["sources"].as_array().expect("sources").iter().filter_map(|s| s["open"].as_u64()).collect()
}

/// One source holds so many connections, and recounts have nothing to correct.
#[track_caller]
fn assert_one_source_holds(daemon: &Daemon<'_>, wanted: u64) {
    assert_eq!(daemon.open("smtp"), wanted);
    let sources = if wanted == 0 { vec![] } else { vec![wanted] };
    for _ in 0..3 {
        assert_eq!(by_source(daemon), sources, "one source holds all");
    }
    daemon.assert_sound();
}

/// Servers on both ports, and where the client reaches them.
fn servers(bed: &Bed, any: IpAddr, reached: IpAddr, is_dual_stack: bool) -> [(Server, SocketAddr); 2] {
    let plan = |port| {
        let plan = Server::plan(SocketAddr::new(any, port));
        if is_dual_stack { plan.dual_stack() } else { plan }
    };
    let (accepting, queueing) = (plan(PORTS.0).banner(BANNER), plan(PORTS.1).never_accepting());
    [(accepting, PORTS.0), (queueing, PORTS.1)]
        .map(|(plan, port)| (plan.listen(&bed.server), SocketAddr::new(reached, port)))
}

/// I11: a start adopts what is open, accepted or not, over every kind of
/// listener; a stop and a start change no count, and none goes below zero.
#[test]
fn a_start_adopts_what_is_open() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let (v4, v6) = (bed.client().server_ipv4(), bed.client().server_ipv6());
    let any_v6: IpAddr = Ipv6Addr::UNSPECIFIED.into();
    let kinds = [
        ("v4", Ipv4Addr::UNSPECIFIED.into(), v4, false),
        ("v6", any_v6, v6, false),
        ("v4 on a dual-stack listener", any_v6, v4, true),
    ];
    for (kind, any, reached, is_dual_stack) in kinds {
        let [(accepting, first), (mut queueing, second)] = servers(&bed, any, reached, is_dual_stack);
        let before = (connect(&bed, first, 7), connect(&bed, second, 3));
        assert_eq!((before.0.connected(), before.1.connected()), (7, 3));
        accepting.wait_held(7, PATIENCE);

        let mut daemon = Daemon::start(&bed.server, CONFIG);
        assert_one_source_holds(&daemon, 10);
        let more = Burst::connect(&bed.client().namespace, &Target::greeting(first), 5);
        assert_eq!((more.greeted(), more.refused()), (2, 3), "12 is the limit: {more:?}");
        accepting.wait_held(9, PATIENCE);
        assert_one_source_holds(&daemon, 12);

        daemon.stop();
        daemon.start_again();
        assert_one_source_holds(&daemon, 12);
        accepting.close(4);
        wait::until_eq("the count", &8, PATIENCE, || daemon.open("smtp"));
        assert_one_source_holds(&daemon, 8);

        daemon.stop();
        accepting.close(2);
        daemon.start_again();
        assert_one_source_holds(&daemon, 6);
        accepting.close(3);
        queueing.stop_listening();
        wait::until_eq("the count", &0, PATIENCE, || daemon.open("smtp"));
        assert_one_source_holds(&daemon, 0);
        eprintln!("{kind}: 10 adopted (3 of them queued), 12, again 12, 8, stopped, 6, 0");
        daemon.stop();
    }
}

/// Reads what [`send_pattern`] sends, to its end; returns how many bytes came, and panics at a wrong one.
fn read_pattern(mut stream: &TcpStream, bytes: usize) -> usize {
    let mut chunk = vec![0; PATTERN_BYTES];
    let mut read = 0;
    while read < bytes {
        stream.read_exact(&mut chunk).expect("the transfer goes on");
        assert_eq!(chunk, pattern(read), "the bytes are those that were sent");
        read += chunk.len();
    }
    read
}

fn send_pattern(mut stream: &TcpStream, bytes: usize) {
    for at in (0..bytes).step_by(PATTERN_BYTES) {
        stream.write_all(&pattern(at)).expect("the transfer goes on");
    }
}

/// Length of a block of the pattern.
const PATTERN_BYTES: usize = 1 << 16;

/// A block that differs from every other one.
fn pattern(at: usize) -> Vec<u8> {
    (at as u64).to_be_bytes().repeat(PATTERN_BYTES / 8)
}

/// Moves `bytes` over a connection and returns how long that took.
fn transfer(from: &TcpStream, to: &TcpStream, bytes: usize) -> Duration {
    let start = Instant::now();
    let read = thread::scope(|scope| {
        scope.spawn(|| send_pattern(from, bytes));
        scope.spawn(|| read_pattern(to, bytes)).join().expect("the reader does not panic")
    });
    assert_eq!(read, bytes, "every byte arrives");
    start.elapsed()
}

/// I4: a bulk transfer on an open connection goes on undisturbed while its
/// source is refused new ones.
///
/// The refused connects share two CPUs with the transfer, so its time may grow
/// by what they cost; it may not stall.
#[test]
fn a_bulk_transfer_goes_on_while_its_source_is_refused() {
    const BYTES: usize = 512 << 20;
    const LIMIT: usize = 12;
    /// Refusals that transfers must see, and how long they are repeated until then: a SYN that a transfer crowds
    /// out is sent again a second later.
    const REFUSALS: usize = 100;
    const TRANSFERS_TIME: Duration = Duration::from_mins(1);
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let address = SocketAddr::new(bed.client().server_ipv4(), PORTS.0);
    let server = Server::plan(address).listen(&bed.server);
    let daemon = Daemon::start(&bed.server, CONFIG);
    let bulk = connect(&bed, address, 1);
    server.wait_held(1, PATIENCE);
    let (client, accepted) = (bulk.attempts[0].stream.as_ref().expect("connected"), server.take(1));
    for stream in [client, &accepted[0]] {
        stream.set_nonblocking(false).expect("a live socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a live socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("a live socket");
    }
    let filling = connect(&bed, address, LIMIT - 1);
    assert_eq!(filling.connected(), LIMIT - 1, "{filling:?}");
    let alone = transfer(client, &accepted[0], BYTES);

    let (done, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (beside, tried) = thread::scope(|scope| {
        let refusals = scope.spawn(|| {
            let mut tried = 0;
            while !done.load(Ordering::Relaxed) {
                let burst = connect(&bed, address, 20);
                assert_eq!(burst.connected(), 0, "{burst:?}");
                tried += burst.attempts.len();
                refused.fetch_add(burst.refused(), Ordering::Relaxed);
            }
            tried
        });
        let (began, mut fastest) = (Instant::now(), Duration::MAX);
        while fastest == Duration::MAX
            || refused.load(Ordering::Relaxed) <= REFUSALS && began.elapsed() < TRANSFERS_TIME
        {
            fastest = fastest.min(transfer(client, &accepted[0], BYTES));
        }
        done.store(true, Ordering::Relaxed);
        (fastest, refusals.join().expect("no connect gets in"))
    });
    // The fastest of each: what else the machine does hits some, and what stalls a transfer all that are beside it.
    let alone = alone.min(transfer(client, &accepted[0], BYTES));
    let refused = refused.into_inner();
    let ratio = alone.as_secs_f64() / beside.as_secs_f64();
    eprintln!(
        "{} MiB in {alone:?} alone and in {beside:?} beside {refused} refused connects: throughput x{ratio:.2}",
        BYTES >> 20
    );
    assert_eq!(tried, refused, "every connect is refused by a reset");
    assert!(refused > REFUSALS, "the source was refused all the while: {refused}");
    assert!(ratio > 0.4, "the transfer does not stall: x{ratio:.2}");
    assert!(client.take_error().expect("a live socket").is_none(), "nothing was reset");
    assert_eq!(daemon.open("smtp"), LIMIT as u64);
    daemon.assert_sound();
}

/// I3: an exempt source opens ten times the limit: all are accepted, all are
/// counted under its class, and others keep their limit.
#[test]
fn an_exempt_source_opens_ten_times_the_limit() {
    const LIMIT: usize = 12;
    require!(host::BED, DAEMON);
    let bed = Bed::plan().clients(2).build();
    let class = "[[class]]\nname = \"probe\"\nprefixes = [\"10.90.0.0/24\", \"fd90::/64\"]\nexempt = true\n";
    let config = CONFIG.replace("[\"srv0\"]", "[\"srv0\", \"srv1\"]") + class;
    let daemon = Daemon::start(&bed.server, &config);
    let open = |class| daemon.count("limiter_connections", &[("service", "smtp"), ("class", class)]);
    let [(exempt, other), (exempt_v6, other_v6)] = [false, true].map(|v6| {
        let address = |n: usize| {
            let client = &bed.clients[n];
            SocketAddr::new(if v6 { client.server_ipv6() } else { client.server_ipv4() }, PORTS.0)
        };
        (address(0), address(1))
    });
    let any = [Ipv4Addr::UNSPECIFIED.into(), IpAddr::from(Ipv6Addr::UNSPECIFIED)];
    let servers = any.map(|any| Server::greeting(&bed.server, SocketAddr::new(any, PORTS.0)));
    let bursts = [exempt, exempt_v6].map(|address| connect(&bed, address, 10 * LIMIT));
    for (burst, server) in bursts.iter().zip(&servers) {
        assert_eq!(burst.connected(), 10 * LIMIT, "{burst:?}");
        server.wait_held(10 * LIMIT, PATIENCE);
    }
    assert_eq!((open("probe"), open("default")), (20 * LIMIT as u64, 0));
    for address in [other, other_v6] {
        let burst = Burst::connect(&bed.clients[1].namespace, &Target::greeting(address), LIMIT + 5);
        assert_eq!((burst.greeted(), burst.refused()), (LIMIT, 5), "{burst:?}");
    }
    let passed = |reason| daemon.count("limiter_packets_total", &[("point", "gate"), ("reason", reason)]);
    eprintln!(
        "{} connections of an exempt source, {} passed the gate as exempt",
        open("probe"),
        passed("exempt")
    );
    assert_eq!(passed("exempt"), 20 * LIMIT as u64);
    drop(bursts);
    for server in &servers {
        server.close(server.held());
    }
    wait::until_eq("the exempt count", &0, PATIENCE, || open("probe"));
    daemon.assert_sound();
}

/// Starts the daemon's program over its configuration, which has to fail; returns what it said.
#[track_caller]
fn fails_to_start(bed: &Bed, daemon: &Daemon<'_>) -> String {
    let mut command = bed.server.command(&binary("limiterd").to_string_lossy());
    let process = Process::start("limiterd", command.arg("--config").arg(daemon.config()));
    let status = process.wait_exit(PATIENCE);
    assert_eq!(status.code(), Some(1), "it does not start:\n{}", process.log());
    process.log()
}

/// Who insists on XDP is told the name and id of a foreign program, and neither it nor a control group is touched.
#[test]
fn a_foreign_xdp_program_is_named() {
    require!(host::BED, DAEMON, &[Requirement::Command("bpftool", "bpftool")]);
    let bed = Bed::new();
    let cgroup = Cgroup::create("foreign");
    let config = format!("attach = \"native\"\n{CONFIG}");
    let mut daemon = Daemon::start_with(&bed.server, &config, &in_cgroup(&cgroup));
    daemon.stop();
    let foreign = Attached::new(&bed.server, "srv0", Action::Pass, XdpMode::Driver);
    let id = || {
        let shown = bed.server.output("ip", &["link", "show", "dev", "srv0"]);
        let mut words = shown.split_whitespace().skip_while(|word| *word != "prog/xdp").skip(2);
        words.next().expect("an XDP program is on the device").to_owned()
    };
    let before = id();
    let said = fails_to_start(&bed, &daemon);
    assert!(said.contains(&format!("{NAME} (id {before})")), "the program is named:\n{said}");
    assert_eq!(id(), before, "it is left alone");
    assert_eq!(attached_to(&cgroup), 0, "nothing of ours is left attached");
    drop(foreign);
    daemon.start_again();
    assert!(has_xdp(&bed), "with the way free it attaches");
}

/// A foreign `sock_ops` program without MULTI is named and left alone, nothing of ours
/// stays attached, and the remedy in the message is one that works.
#[test]
fn a_foreign_sock_ops_is_named() {
    require!(host::BED, DAEMON, &[Requirement::Command("bpftool", "bpftool")]);
    let bed = Bed::new();
    let cgroup = Cgroup::create("foreign");
    let runtime = in_cgroup(&cgroup);
    let mut daemon = Daemon::start_with(&bed.server, CONFIG, &runtime);
    daemon.stop();
    let foreign = Exclusive::attach(cgroup.path());
    let said = fails_to_start(&bed, &daemon);
    assert!(said.contains(&format!("{NAME} (id {})", foreign.id)), "the program is named:\n{said}");
    assert!(said.contains("without MULTI"), "{said}");
    assert!(foreign.is_attached(), "it is left alone");
    assert_eq!(attached_to(&cgroup), 1, "nothing of ours is attached");
    assert!(!has_xdp(&bed), "nothing of ours is attached");

    let remedy = said.split('`').find(|part| part.starts_with("bpftool ")).expect("a command in the message");
    eprintln!("remedy: {remedy}");
    let mut words = remedy.split(' ');
    host::run(Command::new(words.next().expect("a program")).args(words));
    daemon.start_again();
    assert_eq!(attached_to(&cgroup), 3, "the gate, the charge and the witness");
    daemon.stop();
}

/// What makes a daemon attach to a control group of the test's own, where no other daemon is.
fn in_cgroup(cgroup: &Cgroup) -> String {
    format!("cgroup = \"{}\"", cgroup.path().display())
}

/// How many programs are attached to a control group itself.
fn attached_to(cgroup: &Cgroup) -> usize {
    let listed = host::run(Command::new("bpftool").args(["cgroup", "show"]).arg(cgroup.path()));
    listed.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).count()
}

/// Whether an XDP program is on the server's device.
fn has_xdp(bed: &Bed) -> bool {
    bed.server.output("ip", &["link", "show", "dev", "srv0"]).contains("xdp")
}
