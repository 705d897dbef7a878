//! The fixture of the real daemon: it starts, answers, and leaves nothing behind.

use limiter_tests::daemon::{DAEMON, Daemon};
use limiter_tests::veth::Bed;
use limiter_tests::{host, require};

/// A daemon guards the bed's link, answers on its socket and over HTTP, and takes its pins with it.
#[test]
fn a_daemon_answers_and_goes() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let config = "interfaces = [\"srv0\"]\n[[service]]\nname = \"smtp\"\nports = [25]\n";
    let mut daemon = Daemon::start(&bed.server, config);
    assert_eq!(daemon.ctl_json(&["status"])["services"][0]["name"], "smtp");
    assert_eq!(daemon.count("limiter_attach_info", &[("interface", "srv0"), ("mode", "native")]), 1);
    assert_eq!(daemon.open("smtp"), 0);
    daemon.kill();
    daemon.start_again();
    assert!(daemon.stop().success(), "a stop is not a failure");
    let pins = daemon.pins().to_owned();
    drop(daemon);
    assert!(!pins.exists(), "the pins are gone");
}
