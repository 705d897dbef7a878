//! A healthy hour in short form.

use std::net::IpAddr;
use std::time::Duration;

use limiter_tests::daemon::{DAEMON, Daemon};
use limiter_tests::host::{self, Requirement};
use limiter_tests::mail::{DOMAIN, POSTFIX, Postfix};
use limiter_tests::process::Process;
use limiter_tests::record::{PROMTOOL, Recorder, Recording};
use limiter_tests::veth::{Bed, Client};
use limiter_tests::{require, scene, wait};

/// Sessions of each of the two clients.
const SESSIONS: u64 = 5_000;
/// Sessions that a client has at once.
const PARALLEL: usize = 10;
/// How long all sessions may take, on a machine that is busy with other tests.
const SESSIONS_TIME: Duration = Duration::from_mins(8);
/// How long Postfix may take to notice that clients have gone.
const CLOSE_TIME: Duration = Duration::from_secs(20);
/// Limits with room for good clients: what each may have open, and what the service may.
const LIMIT: usize = 50;
const CEILING: &str = "connections_total = 500\n";

/// What a healthy run counts none of, at any time.
const NEVER: [&str; 8] = [
    "limiter_established_drops_total",
    "limiter_recount_drift_total",
    "limiter_fail_open_total",
    "limiter_accept_queue_overflows_total",
    "limiter_breaker_open",
    "limiter_canary_failures",
    "limiter_faults",
    "limiter_panic",
];

/// Starts Postfix' own generator of sessions, one mail each.
fn sessions(client: &Client, server: IpAddr) -> Process {
    let program = host::find_command("smtp-source").expect("it comes with postfix");
    let target = match server {
        IpAddr::V4(address) => format!("{address}:25"),
        IpAddr::V6(address) => format!("[{address}]:25"),
    };
    let (parallel, count) = (PARALLEL.to_string(), SESSIONS.to_string());
    let to = format!("inbox@{DOMAIN}");
    let mut command = client.namespace.command(&program.to_string_lossy());
    command.args([
        "-s",
        &parallel,
        "-m",
        &count,
        "-l",
        "1000",
        "-f",
        "sender@example.org",
        "-t",
        &to,
        &target,
    ]);
    Process::start("smtp-source", &mut command)
}

/// 10,000 sessions over both families: each is let in, nobody is refused, no page fires at any time,
/// and what is counted of drops, drift, doubts and overflows is zero.
#[test]
fn a_healthy_run_pages_nobody() {
    require!(host::BED, DAEMON, POSTFIX, PROMTOOL, &[Requirement::Command("smtp-source", "postfix")]);
    let bed = Bed::plan().clients(2).build();
    let postfix = Postfix::start(&bed.server, &[("virtual_transport", "discard:")]);
    let daemon = Daemon::start(&bed.server, &(scene::policy(2, LIMIT) + CEILING));
    let recorder = Recorder::start(&daemon);
    let (first, second) = (&bed.clients[0], &bed.clients[1]);
    let sources = [sessions(first, first.server_ipv4()), sessions(second, second.server_ipv6())];
    for source in sources {
        let status = source.wait_exit(SESSIONS_TIME);
        assert!(status.success(), "{status}: {}\n{}", source.log(), postfix.log());
    }
    wait::until_eq("open connections", &0, CLOSE_TIME, || daemon.open("smtp"));
    wait::until("no connection is silent", CLOSE_TIME, || {
        daemon.count("limiter_silent_connections", &[]) == 0
    });
    // Drift shows when two recounts agree on it.
    daemon.wait_recounts(3);
    let recording = recorder.stop();
    println!("{} sessions in {:?}", 2 * SESSIONS, recording.length());

    let passed = [("verdict", "pass"), ("reason", "within_limits"), ("point", "gate")];
    assert_eq!(daemon.count("limiter_packets_total", &passed), 2 * SESSIONS);
    assert_eq!(daemon.count("limiter_packets_total", &[("verdict", "refuse")]), 0);
    recording.silent("page", &[]);
    for name in NEVER {
        assert!(recording.has(name), "{name} is shown");
        assert!(recording.highest(name, &[]) == 0.0, "{name} is {}", recording.highest(name, &[]));
    }
    // Only there where this kernel tracks connections.
    assert!(recording.highest("limiter_conntrack_findings", &[]) == 0.0, "sockets and entries agree");
    assert!(recording.last("limiter_silent_connections", &[]) == 0.0, "nobody waits for a greeting");
    show(&recording);
}

/// Prints what was counted that may be counted.
fn show(recording: &Recording) {
    for name in [
        "limiter_connections",
        "limiter_silent_connections",
        "limiter_kernel_drops_total",
        "limiter_retransmits_total",
        "limiter_listen_queue_ratio_max",
        "limiter_first_byte_seconds_count",
        "limiter_conntrack_fill_ratio",
    ] {
        println!("{name}: highest {}, last {}", recording.highest(name, &[]), recording.last(name, &[]));
    }
}
