//! Pages about limiter itself, brought about on a real daemon.

use std::time::{Duration, Instant};

use limiter_tests::daemon::{DAEMON, Daemon};
use limiter_tests::record::{PROMTOOL, Recorder};
use limiter_tests::veth::Bed;
use limiter_tests::{host, require, scene, wait};

/// How soon a page fires that is about a refusal.
const ALERT_TIME: Duration = Duration::from_secs(15);
/// How soon a page fires that waits for canaries, or whether a restart is all there is to it.
const PATIENT_TIME: Duration = Duration::from_secs(30);
/// The policy: one class that must never be refused and has a limit, another that is exempt.
const CONFIG: &str = "\
mode = \"enforce\"
interfaces = [\"srv0\"]
[breaker]
enabled = false
[[service]]
name = \"smtp\"
ports = [25]
connections_per_source = 50
[[class]]
name = \"webmail\"
prefixes = [\"10.90.0.0/24\"]
connections_per_source = 2
critical = true
[[class]]
name = \"balancer\"
prefixes = [\"192.0.2.0/24\"]
exempt = true
";

/// Waits until the daemon's metrics have shown something for as long as an alert may take.
fn shown(daemon: &Daemon<'_>, name: &str, labels: &[(&str, &str)], time: Duration) {
    wait::until(name, PATIENT_TIME, || daemon.metric(name, labels) > 0.0);
    wait::holds_for(name, time, || daemon.process().exit_status().is_none());
}

/// The first refusal of a class that must never be refused, out of nothing, pages within 15 s, with
/// the class; what is refused of others does not.
#[test]
fn a_refused_class_that_must_not_be_pages() {
    require!(host::BED, DAEMON, PROMTOOL);
    let bed = Bed::new();
    let _server = scene::server(&bed);
    let daemon = Daemon::start(&bed.server, CONFIG);
    let recorder = Recorder::start(&daemon);
    // Prometheus knows the host before anything happens.
    wait::holds_for("calm", ALERT_TIME, || daemon.process().exit_status().is_none());
    let since = Instant::now();
    let burst = scene::connect(&bed, 3);
    assert_eq!(burst.greeted(), 2);
    shown(&daemon, "limiter_packets_total", &[("verdict", "refuse")], ALERT_TIME);
    let recording = recorder.stop();
    let labels = [("service", "smtp"), ("class", "webmail"), ("reason", "connections_per_source")];
    let took = recording.fires("LimiterExemptRefused", &labels, since, ALERT_TIME);
    println!("LimiterExemptRefused: {took:?}");
    recording.silent("page", &["LimiterExemptRefused"]);
}

/// A denial inside an exempt class pages before anybody is refused by it, and taking it back ends that.
#[test]
fn a_canary_that_fails_pages() {
    require!(host::BED, DAEMON, PROMTOOL);
    let bed = Bed::new();
    let daemon = Daemon::start(&bed.server, CONFIG);
    let recorder = Recorder::start(&daemon);
    let since = Instant::now();
    daemon.ctl_json(&["deny", "192.0.2.0/28"]);
    shown(&daemon, "limiter_canary_failures", &[("service", "smtp")], ALERT_TIME);
    let recording = recorder.stop();
    let took = recording.fires("LimiterCanaryFailing", &[("service", "smtp")], since, PATIENT_TIME);
    println!("LimiterCanaryFailing: {took:?}");
    // Status calls it failing, which is a page of its own.
    recording.silent("page", &["LimiterCanaryFailing", "LimiterServiceFailing"]);
}

/// A panic pages within 15 s.
#[test]
fn a_panic_pages() {
    require!(host::BED, DAEMON, PROMTOOL);
    let bed = Bed::new();
    let daemon = Daemon::start(&bed.server, CONFIG);
    let recorder = Recorder::start(&daemon);
    let since = Instant::now();
    daemon.ctl_json(&["panic"]);
    shown(&daemon, "limiter_panic", &[], ALERT_TIME);
    let recording = recorder.stop();
    let took = recording.fires("LimiterPanic", &[], since, ALERT_TIME);
    println!("LimiterPanic: {took:?}");
    recording.silent("page", &["LimiterPanic", "LimiterServiceFailing"]);
}

/// A daemon that is killed pages within 30 s; one that is restarted at once does not.
#[test]
fn a_daemon_that_is_gone_pages() {
    require!(host::BED, DAEMON, PROMTOOL);
    let bed = Bed::new();
    let mut daemon = Daemon::start_with(&bed.server, CONFIG, "keep_on_exit = true");
    let recorder = Recorder::start(&daemon);
    wait::holds_for("calm", ALERT_TIME, || daemon.process().exit_status().is_none());
    daemon.stop();
    daemon.start_again();
    wait::holds_for("calm", ALERT_TIME, || daemon.process().exit_status().is_none());
    let recording = recorder.stop();
    recording.silent("page", &[]);

    let recorder = Recorder::start(&daemon);
    let since = Instant::now();
    daemon.kill();
    wait::holds_for("the daemon is gone", PATIENT_TIME, || !bed.server.listens(9590));
    let recording = recorder.stop();
    let took = recording.fires("LimiterDown", &[], since, PATIENT_TIME);
    println!("LimiterDown: {took:?}");
    recording.silent("page", &["LimiterDown"]);
}
