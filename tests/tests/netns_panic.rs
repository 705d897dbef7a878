//! Panic on the real packet path: detached at once and until `resume`, with the daemon and without it.
//!
//! - with a daemon, over a stop and a kill: `a_panic_lasts`
//! - without one, and past one that hangs: `a_panic_needs_no_daemon`
//! - and its end too, past one that hangs: `a_daemon_that_was_passed_by_limits_again`

use std::process::Output;
use std::time::{Duration, Instant};

use limiter_tests::daemon::{DAEMON, Daemon};
use limiter_tests::scene::{self, connect, has_xdp};
use limiter_tests::veth::Bed;
use limiter_tests::{host, require, wait};
use nix::sys::signal::Signal;

/// How long a condition may take on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(10);
const LIMIT: usize = 3;
/// Runs a command that works without the daemon.
fn directly(daemon: &Daemon<'_>, command: &str) -> Output {
    let config = daemon.config().display().to_string();
    daemon.ctl(&[command, "--config", &config])
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Nobody is limited from the panic on, through a stop, a start, a kill, a start and a reload; then
/// everybody is, and what is open counts.
#[test]
fn a_panic_lasts() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let server = scene::server(&bed);
    let mut daemon = Daemon::start(&bed.server, &scene::config(LIMIT));
    let held = connect(&bed, LIMIT + 2);
    assert_eq!(held.greeted(), LIMIT, "it limits");

    let state = daemon.ctl_json(&["panic", "--note", "ticket 7"]);
    assert_eq!(state["is_panic"], true);
    assert!(!has_xdp(&bed) && !daemon.layout().exists(), "nothing is attached, nothing pinned");
    let free = connect(&bed, 5);
    assert_eq!(free.greeted(), 5, "nobody is limited");
    assert_eq!((daemon.get("/healthz").0, daemon.count("limiter_panic", &[])), (503, 1));
    let findings = daemon.ctl_json(&["status"])["findings"][0].to_string();
    assert!(findings.contains("panic since") && findings.contains("ticket 7"), "{findings}");

    assert!(daemon.stop().success());
    daemon.start_again();
    assert!(!has_xdp(&bed), "a start changes nothing");
    daemon.kill();
    daemon.start_again();
    daemon.ctl_json(&["reload"]);
    daemon.ctl_json(&["allow", "198.51.100.1"]);
    wait::holds_for("it stays detached", Duration::from_secs(6), || !has_xdp(&bed));
    assert_eq!(connect(&bed, 1).greeted(), 1);

    assert_eq!(daemon.ctl_json(&["resume"])["is_panic"], false);
    assert!(has_xdp(&bed));
    let over = connect(&bed, 2);
    assert_eq!((over.greeted(), over.refused()), (0, 2), "what is open counts");
    assert!(server.held() >= LIMIT + 5, "and was left alone");
    assert_eq!(daemon.ctl(&["resume"]).status.code(), Some(1), "there is nothing to resume");
    assert!(!daemon.ctl_json(&["status"])["findings"].to_string().contains("panic"));
    daemon.assert_sound();
}

/// A dead daemon's limits end by a panic, and the next one knows of it; a daemon that hangs is passed
/// by within seconds and finds out when it wakes.
#[test]
fn a_panic_needs_no_daemon() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let _server = scene::server(&bed);
    let mut daemon = Daemon::start(&bed.server, &scene::config(LIMIT));
    let held = connect(&bed, LIMIT);
    daemon.kill();
    assert_eq!((held.greeted(), connect(&bed, 1).greeted()), (LIMIT, 0), "a dead daemon's limits hold");
    let output = directly(&daemon, "panic");
    assert!(output.status.success() && said(&output).contains("no daemon answers"), "{}", said(&output));
    let free = connect(&bed, 5);
    assert_eq!((free.greeted(), has_xdp(&bed)), (5, false));
    daemon.start_again();
    assert!(!has_xdp(&bed), "the next daemon knows");
    daemon.kill();
    assert!(directly(&daemon, "resume").status.success());
    daemon.start_again();
    assert_eq!((connect(&bed, 1).greeted(), has_xdp(&bed)), (0, true));

    daemon.process().signal(Signal::SIGSTOP);
    let began = Instant::now();
    let output = directly(&daemon, "panic");
    assert!(output.status.success() && began.elapsed() < PATIENCE, "{}", said(&output));
    let more = connect(&bed, 2);
    assert_eq!((more.greeted(), has_xdp(&bed)), (2, false), "past a daemon that hangs");
    daemon.process().signal(Signal::SIGCONT);
    wait::until("it finds out", PATIENCE, || {
        // From the mark, or from the request that waited for it.
        daemon.ctl_json(&["status"])["findings"].to_string().contains("panic since")
    });
    wait::holds_for("it attaches nothing", Duration::from_secs(6), || !has_xdp(&bed));
    daemon.ctl_json(&["resume"]);
    assert_eq!((connect(&bed, 1).greeted(), has_xdp(&bed)), (0, true));
}

/// A panic and its end that pass a daemon by while it hangs: it finds that nothing is attached any more, does not
/// take the requests that waited for it for new ones, and limits again.
#[test]
fn a_daemon_that_was_passed_by_limits_again() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let _server = scene::server(&bed);
    let daemon = Daemon::start(&bed.server, &scene::config(LIMIT));
    let held = connect(&bed, LIMIT);
    assert_eq!(held.greeted(), LIMIT);
    daemon.process().signal(Signal::SIGSTOP);
    assert!(directly(&daemon, "panic").status.success());
    assert!(directly(&daemon, "resume").status.success());
    assert!(!has_xdp(&bed), "nobody is there to attach it");
    daemon.process().signal(Signal::SIGCONT);
    wait::until("it attaches again", PATIENCE * 2, || has_xdp(&bed));
    wait::holds_for("it stays so", Duration::from_secs(6), || has_xdp(&bed));
    assert_eq!(connect(&bed, 1).greeted(), 0, "what is open counts");
    assert_eq!(daemon.count("limiter_panic", &[]), 0);
    daemon.assert_sound();
}
