//! What of the host changed since somebody acknowledged it, on the real kernel.
//!
//! - `changes_are_shown_until_acknowledged`
//! - `changes_are_recorded`
//! - `counters_and_elements_that_move_are_no_change`
#![forbid(unsafe_code)]

use std::time::Duration;

use limiter_tests::daemon::{DAEMON, Daemon};
use limiter_tests::veth::Bed;
use limiter_tests::{host, require, scene, wait};
use serde_json::Value;

/// How long the recorder may take on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(30);

/// A firewall that counts, with a set whose elements a rule adds.
const FIREWALL: &str = "table inet filter {
  set talkers {
    type ipv4_addr
    flags dynamic,timeout
    timeout 1m
  }
  chain input {
    type filter hook input priority 0; policy accept
    add @talkers { ip saddr }
    tcp dport 25 counter accept
  }
}
";

/// What is different, by kind and name, with both values; `limiterctl host` looks anew.
#[track_caller]
fn changes(daemon: &Daemon<'_>) -> Vec<(String, String, String, String)> {
    let view = daemon.ctl_json(&["host"]);
    let text = |change: &Value, key: &str| change[key].as_str().expect("a text").to_owned();
    let list = view["changes"].as_array().expect("a list").iter();
    let changes = list.map(|c| (text(c, "what"), text(c, "name"), text(c, "was"), text(c, "is"))).collect();
    assert_eq!(view["blind"], serde_json::json!([]), "everything can be read");
    changes
}

/// The kinds that the metric shows.
fn in_metric(daemon: &Daemon<'_>) -> Vec<String> {
    let samples = daemon.metrics();
    let changes = samples.iter().filter(|sample| sample.name == "limiter_host_change_info");
    changes.filter_map(|sample| sample.label("what").map(str::to_owned)).collect()
}

#[track_caller]
fn findings(daemon: &Daemon<'_>) -> String {
    daemon.ctl_json(&["status"])["findings"].to_string()
}

/// A sysctl and a rule are changed: metric, status and `host` say so, also after a kill, until `host ack`.
#[test]
fn changes_are_shown_until_acknowledged() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    bed.server.nft(FIREWALL);
    let mut daemon = Daemon::start(&bed.server, &scene::config(10));
    assert_eq!(changes(&daemon), [], "the first look is the acknowledged state");
    assert_eq!(in_metric(&daemon), [""; 0]);

    let before = bed.server.read_sysctl("net.ipv4.conf.srv0.rp_filter");
    let after = if before == "1" { "2" } else { "1" };
    bed.server.sysctl("net.ipv4.conf.srv0.rp_filter", after);
    bed.server.nft("add rule inet filter input tcp dport 26 drop\n");
    let seen = changes(&daemon);
    let sysctl = ("sysctl".to_owned(), "net.ipv4.conf.srv0.rp_filter".to_owned(), before, after.to_owned());
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_eq!(seen[0], sysctl);
    assert_eq!((seen[1].0.as_str(), seen[1].1.as_str()), ("ruleset", "nftables"));
    assert!(seen[1].2.contains("2 rules") && seen[1].3.contains("3 rules"), "{:?}", seen[1]);
    assert_eq!(in_metric(&daemon), ["sysctl", "ruleset"]);
    let said = findings(&daemon);
    assert!(said.contains("net.ipv4.conf.srv0.rp_filter") && said.contains("limiterctl host ack"), "{said}");

    let first_seen = daemon.ctl_json(&["host"])["changes"].clone();
    daemon.kill();
    daemon.start_again();
    assert_eq!(daemon.ctl_json(&["host"])["changes"], first_seen, "a restart is no acknowledgement");
    let text = daemon.ctl(&["host"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("2 changes") && text.contains("limiterctl host ack"), "{text}");

    let acknowledged = daemon.ctl_json(&["host", "ack", "--note", "ticket 4711"]);
    assert_eq!(acknowledged["acknowledged"].as_array().map(Vec::len), Some(2));
    assert_eq!(changes(&daemon), []);
    assert_eq!(in_metric(&daemon), [""; 0]);
    assert!(!findings(&daemon).contains("acknowledged"));
    let log = std::fs::read_to_string(daemon.config().with_file_name("state").join("audit.log"));
    let log = log.expect("an audit log");
    let line = log.lines().find(|line| line.contains("host ack")).expect("a line of it");
    assert!(line.contains("ticket 4711") && line.contains("\"uid\":0"), "{line}");
    daemon.kill();
    daemon.start_again();
    assert_eq!(changes(&daemon), [], "what was acknowledged stays so");
}

/// The events of the host that were recorded, oldest first.
#[track_caller]
fn recorded(daemon: &Daemon<'_>) -> Vec<String> {
    let told = daemon.ctl_json(&["history", "--since", "10m"]);
    let events = told["events"].as_array().into_iter().flatten();
    let of_host = events.filter(|event| event["kind"] == "host");
    of_host.map(|event| event["text"].as_str().expect("a text").to_owned()).collect()
}

/// History has each change once, with both values, over a restart too; and that it is back, and who acknowledged what.
#[test]
fn changes_are_recorded() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let mut daemon = Daemon::start(&bed.server, &scene::config(10));
    assert_eq!(changes(&daemon), [], "the first look is the acknowledged state");
    wait::until("something is recorded", PATIENCE, || daemon.ctl(&["history"]).status.success());
    assert_eq!(recorded(&daemon), [""; 0]);
    let name = "net.ipv4.conf.srv0.rp_filter";
    let before = bed.server.read_sysctl(name);
    let after = if before == "1" { "2" } else { "1" };

    bed.server.sysctl(name, after);
    assert_eq!(changes(&daemon).len(), 1);
    assert_eq!(changes(&daemon).len(), 1);
    let mut wanted = vec![format!("sysctl {name} was {before}, is {after}")];
    wait::until_eq("what is recorded", &wanted, PATIENCE, || recorded(&daemon));
    assert!(daemon.stop().success());
    daemon.start_again();
    assert_eq!(changes(&daemon).len(), 1);

    bed.server.sysctl(name, &before);
    assert_eq!(changes(&daemon), []);
    wanted.push(format!("sysctl {name} is {before} again"));
    bed.server.sysctl(name, after);
    assert_eq!(changes(&daemon).len(), 1);
    wanted.push(wanted[0].clone());
    daemon.ctl_json(&["host", "ack", "--note", "ticket 4711"]);
    wait::until_eq("the number of events", &(wanted.len() + 1), PATIENCE, || recorded(&daemon).len());
    let last = recorded(&daemon).pop().expect("events");
    assert!(last.starts_with("1 change acknowledged by uid 0") && last.ends_with(": ticket 4711"), "{last}");
    assert_eq!(recorded(&daemon)[..wanted.len()], wanted);
    let page = daemon.ctl(&["report", "--at", "1s", "--window", "20m"]);
    let page = String::from_utf8_lossy(&page.stdout);
    assert!(page.contains(&wanted[0]), "{page}");
}

/// Packets that are counted and elements that a rule adds change nothing, nor do the same rules loaded anew; a change
/// that is taken back is none.
#[test]
fn counters_and_elements_that_move_are_no_change() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let _server = scene::server(&bed);
    bed.server.nft(FIREWALL);
    let daemon = Daemon::start(&bed.server, &scene::config(10));
    assert_eq!(changes(&daemon), []);
    assert_eq!(scene::connect(&bed, 3).greeted(), 3);
    let counted = bed.server.output("nft", &["list", "ruleset"]);
    assert!(!counted.contains("packets 0 ") && counted.contains("elements"), "{counted}");
    assert_eq!(changes(&daemon), []);
    bed.server.nft(&format!("flush ruleset\n{FIREWALL}"));
    assert_eq!(changes(&daemon), [], "handles do not count");
    bed.server.nft("add element inet filter talkers { 192.0.2.1 }\n");
    assert_eq!(changes(&daemon), [], "nor do elements that come and go");
    bed.server.nft("add rule inet filter input tcp dport 26 drop\n");
    assert_eq!(changes(&daemon).len(), 1);
    bed.server.nft(&format!("flush ruleset\n{FIREWALL}"));
    assert_eq!(changes(&daemon), [], "as it was");
}
