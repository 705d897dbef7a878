//! `limiterctl selftest` on a host of its own, with the real daemon and a real mail server.
//!
//! | case | law |
//! | --- | --- |
//! | `a_sane_ruleset_passes_in_both_families` | policy drop with `ct state established` lets whole dialogues through |
//! | `a_missing_established_rule_is_named` | the outage of wikimedia is told by what to look at |
//! | `output_that_is_dropped_is_named` | so is a host that lets no mail out |
//! | `an_interrupted_selftest_leaves_nothing` | SIGINT and SIGTERM half way take the link away too |
//! | `a_taken_address_is_refused` | a host's own routes are not touched |
//!
//! Each leaves neither device nor address behind.
//!
//! Runs in parallel.
#![forbid(unsafe_code)]

use std::process::{Command, Output};
use std::time::Duration;

use limiter_tests::daemon::{DAEMON, Daemon, binary};
use limiter_tests::mail::{POSTFIX, Postfix};
use limiter_tests::netns::Namespace;
use limiter_tests::process::Process;
use limiter_tests::veth::Bed;
use limiter_tests::{host, require, scene, wait};
use nix::sys::signal::Signal;
use serde_json::Value;

/// How long a selftest may take to begin, and to end at a signal.
const TIME: Duration = Duration::from_secs(10);

/// A ruleset that lets in mail and what belongs to connections, with `established` in its place.
fn ruleset(established: &str, output: &str) -> String {
    format!(
        "table inet host {{\n\
         chain input {{ type filter hook input priority 0; policy drop;\n\
         {established}\niif lo accept\nmeta l4proto ipv6-icmp accept\ntcp dport 25 accept\n}}\n\
         chain output {{ type filter hook output priority 0; policy accept;\n{output}\n}}\n}}\n"
    )
}

/// What every sane ruleset has.
const ESTABLISHED: &str = "ct state established,related accept";

/// Runs a selftest inside the daemon's namespace.
fn selftest(daemon: &Daemon<'_>) -> (Output, Value) {
    let mut command = ctl(daemon);
    let output = command.args(["--json", "selftest"]).output().expect("starting limiterctl");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let report = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    println!("{text}");
    (output, report)
}

fn ctl(daemon: &Daemon<'_>) -> Command {
    let mut command = daemon.namespace().command(&binary("limiterctl").to_string_lossy());
    command.arg("--socket").arg(daemon.socket());
    command
}

/// Panics if anything of a selftest is still on the host.
#[track_caller]
fn assert_nothing_left(namespace: &Namespace) {
    wait::until("nothing of the selftest is left", TIME, || {
        let devices = namespace.output("ip", &["-o", "address"]) + &namespace.output("ip", &["-o", "link"]);
        let routes = namespace.output("ip", &["route", "show", "table", "all"]);
        !devices.contains("limtest") && !routes.contains("198.18.213")
    });
}

/// Runs it against a ruleset, and returns whether it was well and what the failed steps said.
fn against(rules: &str) -> (bool, String, Value) {
    let bed = Bed::new();
    bed.server.nft(rules);
    let _postfix = Postfix::start(&bed.server, &[]);
    let daemon = Daemon::start(&bed.server, &scene::config(50));
    let (output, report) = selftest(&daemon);
    assert_nothing_left(&bed.server);
    let steps = report["steps"].as_array().expect("there are steps");
    let failed = steps.iter().filter(|step| step["outcome"] == "failed");
    let said: Vec<String> = failed.map(|step| format!("{}: {}", step["name"], step["detail"])).collect();
    assert_eq!(output.status.code(), Some(i32::from(!said.is_empty())), "{said:?}");
    (output.status.success(), said.join("\n"), report)
}

/// A mail out and a dialogue in pass, in both families, and nothing is dropped.
#[test]
fn a_sane_ruleset_passes_in_both_families() {
    require!(host::BED, DAEMON, POSTFIX);
    let (well, said, report) = against(&ruleset(ESTABLISHED, ""));
    assert!(well, "{said}");
    let outcome = |name: &str| {
        let steps = report["steps"].as_array().expect("there are steps");
        let step = steps.iter().find(|step| step["name"] == name);
        step.unwrap_or_else(|| panic!("no step {name}: {report}"))["outcome"].clone()
    };
    for name in ["mail from here, IPv4", "mail from here, IPv6", "smtp (25) from outside, IPv4"] {
        assert_eq!(outcome(name), "ok", "{name}: {report}");
    }
    assert_eq!(report["established_drops"], serde_json::json!([]), "no live connection lost a packet");
    assert_eq!(report["conntrack_invalid"], 0);
}

/// Without the rule for connections that exist, answers to the host's own are dropped.
#[test]
fn a_missing_established_rule_is_named() {
    require!(host::BED, DAEMON, POSTFIX);
    let (well, said, _) = against(&ruleset("", ""));
    assert!(!well);
    assert!(said.contains("netfilter dropped"), "{said}");
    assert!(said.contains("the host's `ct state established` rule does not match it"), "{said}");
}

/// A host that drops what it sends to port 25 is told so.
#[test]
fn output_that_is_dropped_is_named() {
    require!(host::BED, DAEMON, POSTFIX);
    let (well, said, _) = against(&ruleset(ESTABLISHED, "tcp dport 25 drop"));
    assert!(!well);
    assert!(said.contains("chains of the hook output"), "{said}");
}

/// A signal in the middle of a dialogue takes the link away before the command ends.
#[test]
fn an_interrupted_selftest_leaves_nothing() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    // Without an answer it waits for one, and is there to be interrupted.
    bed.server.nft(&ruleset("", "tcp dport 25 drop"));
    let daemon = Daemon::start(&bed.server, &scene::config(50));
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let process = Process::start("limiterctl", ctl(&daemon).arg("selftest"));
        wait::until("the link is there", TIME, || {
            bed.server.output("ip", &["-o", "address"]).contains("198.18.213.1")
        });
        process.signal(signal);
        let status = process.wait_exit(TIME);
        let (log, is_told) = (process.log(), signal != Signal::SIGKILL);
        assert_eq!(status.code(), is_told.then_some(1), "{signal}: {log}");
        assert_eq!(log.contains("interrupted"), is_told, "{signal}: {log}");
        assert_eq!(log.contains("run `limiterctl selftest` again"), is_told, "a remedy that fits: {log}");
        assert_nothing_left(&bed.server);
    }
}

/// A host that has a route into the addresses of the test keeps it, and hears of it.
#[test]
fn a_taken_address_is_refused() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    bed.server.ip("route add 198.18.0.0/15 dev srv0");
    let daemon = Daemon::start(&bed.server, &scene::config(50));
    let output = ctl(&daemon).arg("selftest").output().expect("starting limiterctl");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the host has a route to 198.18.0.0/15"), "{said}");
    let routes = bed.server.output("ip", &["route"]);
    assert!(routes.contains("198.18.0.0/15 dev srv0"), "{routes}");
}
