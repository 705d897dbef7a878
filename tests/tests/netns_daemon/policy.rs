//! Modes and reloads.

use std::time::Duration;

use limiter_tests::daemon::{DAEMON, Daemon};
use limiter_tests::veth::Bed;
use limiter_tests::{host, require, wait};
use nix::sys::signal::Signal;

use super::{SMTP, accepted, config, connect_to, fails, fill, greeter, refused};

/// How soon a signal has to have its effect.
const SIGNAL_TIME: Duration = Duration::from_secs(5);

fn would_refuse(daemon: &Daemon<'_>, service: &str) -> u64 {
    daemon.count("limiter_packets_total", &[("service", service), ("verdict", "would_refuse")])
}

/// In `observe` what is over a limit passes and is counted; the other service goes on refusing.
#[test]
fn observe_passes_and_counts() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let client = bed.client();
    let (_smtp, _submission) = (greeter(&bed, SMTP), greeter(&bed, 587));
    let other = "[[service]]\nname = \"submission\"\nports = [587]\nconnections_per_source = 1\n";
    let daemon = Daemon::start(&bed.server, &(config() + other));
    let held = fill(client);
    let submission = || connect_to(client, client.server_ipv4(), 587);
    let first = submission().expect("the first is within the limit");

    let change = daemon.ctl_json(&["mode", "observe", "--service", "smtp"]);
    assert_eq!(change["changes"][0], "service `smtp`: enforce -> observe");
    let over = accepted(client);
    assert!(would_refuse(&daemon, "smtp") > 0, "what would be refused is counted");
    assert_eq!(daemon.refused("smtp", "connections_per_source"), 0);
    assert!(submission().is_err(), "the other service enforces");
    assert_eq!(daemon.metric("limiter_mode", &[("service", "smtp"), ("mode", "observe")]).to_string(), "1");
    assert_eq!(daemon.ctl_json(&["status"])["services"][0]["mode_switched"], true);

    daemon.ctl_json(&["mode", "enforce"]);
    refused(client);
    assert_eq!(daemon.refused("smtp", "connections_per_source"), 1);
    drop((held, over, first));
    daemon.assert_sound();
}

/// A good file comes into force at once, whether by command or by signal; what is open stays open.
#[test]
fn a_reload_brings_the_new_limits() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let client = bed.client();
    let server = greeter(&bed, SMTP);
    let daemon = Daemon::start(&bed.server, &config());
    let revision = || daemon.ctl_json(&["status"])["policy"]["revision"].as_u64().expect("a number");
    let held = fill(client);
    refused(client);

    daemon.configure(&config().replace("per_source = 2", "per_source = 3"));
    let change = daemon.ctl_json(&["reload"]);
    assert_eq!(change["changes"][0], "service smtp: connections_per_source 2 -> 3");
    let third = accepted(client);

    let before = revision();
    daemon.configure(&config().replace("per_source = 2", "per_source = 1"));
    daemon.process().signal(Signal::SIGHUP);
    wait::until("the signal has reloaded", SIGNAL_TIME, || revision() > before);
    refused(client);
    assert_eq!(server.held(), 3, "no open connection is closed");
    drop((held, third));
}

/// A broken file changes nothing, and is named with line and column, by the command and in the status.
#[test]
fn a_broken_file_leaves_the_policy_in_force() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let client = bed.client();
    let _server = greeter(&bed, SMTP);
    let daemon = Daemon::start(&bed.server, &config());
    let before = daemon.ctl_json(&["status"]);
    let held = fill(client);
    daemon.configure(&config().replace("connections_per_source", "conections_per_source"));
    let place = format!("{}:6:1: error: unknown key `conections_per_source`", daemon.config().display());
    let said = fails(&daemon, &["reload"], 1);
    assert!(said.contains(&place) && said.contains("the policy in force is unchanged"), "{said}");
    refused(client);

    daemon.process().signal(Signal::SIGHUP);
    let failures = || daemon.count("limiter_reloads_total", &[("outcome", "failed")]);
    wait::until_eq("failed reloads", &2, SIGNAL_TIME, failures);
    let status = daemon.ctl_json(&["status"]);
    assert_eq!(status["policy"]["revision"], before["policy"]["revision"]);
    assert_eq!(status["health"], "degraded");
    assert!(
        status["policy"]["reload_error"].as_str().is_some_and(|error| error.contains(&place)),
        "{status}"
    );

    daemon.configure(&config());
    daemon.ctl_json(&["reload"]);
    assert!(daemon.ctl_json(&["status"])["policy"]["reload_error"].is_null(), "a good one ends that");
    drop(held);
}
