//! A stop that keeps everything attached, pins that do not fit, pins of others.

use std::fs;
use std::process::Command;

use limiter_tests::daemon::{DAEMON, Daemon};
use limiter_tests::host::Requirement;
use limiter_tests::scene::{connect, server};
use limiter_tests::veth::Bed;
use limiter_tests::{host, require};

use super::{LIMIT, assert_one_source_holds, config};

/// With `keep_on_exit` a stop leaves every limit in force, and the next daemon goes on with its
/// counts and its counters.
#[test]
fn a_stop_may_keep_everything() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let server = server(&bed);
    let mut daemon = Daemon::start_with(&bed.server, &config(), "keep_on_exit = true");
    let held = connect(&bed, LIMIT);
    assert_eq!((held.greeted(), connect(&bed, 1).refused()), (LIMIT, 1));
    let refused = daemon.refused("smtp", "connections_per_source");
    assert!(daemon.stop().success(), "a stop is no failure");

    assert_eq!(connect(&bed, 3).refused(), 3, "nobody is there, and the limit is");
    daemon.start_again();
    assert_eq!(connect(&bed, 2).refused(), 2, "the next daemon goes on");
    assert!(daemon.refused("smtp", "connections_per_source") >= refused + 5, "and so do its counters");
    assert_eq!(server.held(), LIMIT);
    assert_one_source_holds(&daemon, LIMIT as u64);
    assert!(daemon.process().log().contains("took over"), "it says so: {}", daemon.process().log());
}

/// Pins that do not fit are replaced while they limit: living sockets are adopted, the limit never
/// ends, what was there before is gone, and the daemon says so.
#[test]
fn pins_that_do_not_fit_are_replaced() {
    require!(host::BED, DAEMON, &[Requirement::Command("bpftool", "bpftool")]);
    let bed = Bed::new();
    let _server = server(&bed);
    let mut daemon = Daemon::start(&bed.server, &config());
    let held = connect(&bed, LIMIT);
    assert_eq!(held.greeted(), LIMIT);
    daemon.kill();
    // As another version would have it: a map whose values are of another size.
    let totals = daemon.layout().join("maps/TOTALS");
    fs::remove_file(&totals).expect("the pin is there");
    host::run(
        Command::new("bpftool")
            .args(["map", "create"])
            .arg(&totals)
            .args(["type", "array", "key", "4", "value", "16", "entries", "16", "name", "TOTALS"]),
    );
    // What an older layout leaves.
    fs::create_dir(daemon.pins().join("v1")).expect("bpffs takes directories");

    daemon.start_again();
    let log = daemon.process().log();
    assert!(log.contains("does not fit") && log.contains("TOTALS"), "it says what and why: {log}");
    assert_eq!(connect(&bed, 2).refused(), 2, "living sockets are adopted before anybody is let in");
    assert_one_source_holds(&daemon, LIMIT as u64);
    let left: Vec<_> = fs::read_dir(daemon.pins()).expect("pins").flatten().map(|e| e.file_name()).collect();
    let layout = daemon.layout();
    assert_eq!(left, [layout.file_name().expect("a directory")], "nothing of the others is left");
    drop(held);
}

/// Two daemons do not share pins, and pins of another network namespace are nobody's to take.
#[test]
fn pins_have_one_owner() {
    require!(host::BED, DAEMON);
    let (bed, elsewhere) = (Bed::new(), Bed::new());
    let mut daemon = Daemon::start(&bed.server, &config());
    let stranger = |text: &str| {
        let output = daemon.try_elsewhere(&elsewhere.server, &config());
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(text), "{said}");
    };
    stranger("another limiterd has [runtime] pin_dir");
    daemon.kill();
    let output = daemon.try_elsewhere(&elsewhere.server, &config());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("another network namespace"), "{said}");
    assert!(daemon.layout().join("links/gate").exists(), "they are left alone");
    daemon.start_again();
}
