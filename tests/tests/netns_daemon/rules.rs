//! The verbs of the rule table, each in effect when its command has returned.

use std::time::Duration;

use limiter_tests::daemon::{DAEMON, Daemon};
use limiter_tests::veth::Bed;
use limiter_tests::{host, require, wait};
use serde_json::Value;

use super::{
    SMTP, accepted, address, config, connect, connect_to, fails, fill, greeter, refused, wait_empty,
};

/// How long a rule of one second may last: a tick of the daemon more.
const EXPIRY_TIME: Duration = Duration::from_secs(8);

fn rule_of<'a>(list: &'a Value, prefix: &str) -> Option<&'a Value> {
    list["rules"].as_array().expect("a list of rules").iter().find(|rule| rule["prefix"] == prefix)
}

/// A refused source gets in at once when it is allowed, is listed, and is refused again when that is taken back.
#[test]
fn allow_and_remove_act_at_once() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let client = bed.client();
    let server = greeter(&bed, SMTP);
    let daemon = Daemon::start(&bed.server, &config());
    let held = fill(client);
    refused(client);

    let change = daemon.ctl_json(&["allow", &address(client), "--note", "a test"]);
    assert_eq!((&change["rule"]["treatment"], &change["replaced"]), (&"exempt".into(), &false.into()));
    let more: Vec<_> = (0..3).map(|_| accepted(client)).collect();
    let list = daemon.ctl_json(&["list"]);
    let rule = rule_of(&list, "10.90.0.2/32").unwrap_or_else(|| panic!("the rule is listed: {list}"));
    assert_eq!((&rule["origin"], &rule["note"]), (&"runtime".into(), &"a test".into()));
    assert_eq!(
        daemon.count("limiter_connections", &[("class", "allow")]),
        3,
        "they are counted under a class"
    );

    let removal = daemon.ctl_json(&["remove", &address(client)]);
    assert_eq!(removal["removed"].as_array().map(Vec::len), Some(1));
    refused(client);
    let said = fails(&daemon, &["remove", &address(client)], 1);
    assert!(said.contains("10.90.0.2"), "{said}");
    drop((held, more));
    server.close(5);
    wait_empty(&daemon);
    daemon.assert_sound();
}

/// A denied source is refused at its SYN, with that reason, and gets in when the rule is gone.
#[test]
fn deny_refuses_at_the_syn() {
    require!(host::BED, DAEMON);
    let bed = Bed::plan().clients(2).build();
    let client = bed.client();
    let _server = greeter(&bed, SMTP);
    let daemon = Daemon::start(&bed.server, &config());
    daemon.ctl_json(&["deny", "10.90.0.0/24"]);
    refused(client);
    let labels = [("verdict", "refuse"), ("reason", "deny"), ("point", "syn"), ("class", "deny")];
    assert_eq!(daemon.count("limiter_packets_total", &labels), 1, "counted once, at the SYN");
    accepted(&bed.clients[1]);
    daemon.ctl_json(&["remove", "10.90.0.0/24"]);
    accepted(client);
}

/// A rule for one service leaves the others alone; the more specific prefix wins over the wider one.
#[test]
fn rules_keep_to_their_service_and_prefix() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let client = bed.client();
    let (_smtp, _submission) = (greeter(&bed, SMTP), greeter(&bed, 587));
    let daemon = Daemon::start(
        &bed.server,
        &format!("{}[[service]]\nname = \"submission\"\nports = [587]\n", config()),
    );
    daemon.ctl_json(&["deny", "10.90.0.0/16", "--service", "smtp"]);
    refused(client);
    let other = connect_to(client, client.server_ipv4(), 587);
    assert!(other.is_ok(), "the other service lets it in: {other:?}");
    daemon.ctl_json(&["allow", &address(client), "--service", "smtp"]);
    accepted(client);
}

/// A rule with a time to live ends by itself.
#[test]
fn a_rule_ends_with_its_time() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let client = bed.client();
    let _server = greeter(&bed, SMTP);
    let daemon = Daemon::start(&bed.server, &config());
    let change = daemon.ctl_json(&["deny", &address(client), "--ttl", "3s"]);
    assert!(change["rule"]["expires_in_s"].as_u64().is_some_and(|left| left <= 3), "{change}");
    refused(client);
    wait::until("the denial has ended", EXPIRY_TIME, || connect(client).is_ok());
    assert_eq!(daemon.ctl_json(&["status"])["policy"]["runtime_rules"], 0);
}

/// What makes no sense exits with 2, what does not exist with 1, and both say what helps.
#[test]
fn wrong_requests_are_told_apart() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let daemon = Daemon::start(&bed.server, &config());
    let cases: [(&[&str], i32, &str); 6] = [
        (&["allow", "10.90.0.2/24"], 2, "10.90.0.0/24"),
        (&["allow", "example.org"], 2, "example.org"),
        (&["deny", "192.0.2.1", "--ttl", "soon"], 2, "soon"),
        (&["deny", "192.0.2.1", "--service", "http"], 1, "smtp"),
        (&["mode", "enforce", "--service", "http"], 1, "smtp"),
        (&["remove", "127.0.0.0/8"], 1, "always exempt"),
    ];
    for (arguments, code, named) in cases {
        let said = fails(&daemon, arguments, code);
        assert!(said.contains(named), "limiterctl {arguments:?} names {named}: {said}");
    }
    let list = daemon.ctl_json(&["list"]);
    let runtime = list["rules"].as_array().expect("a list").iter().filter(|rule| rule["origin"] == "runtime");
    assert_eq!(runtime.count(), 0, "nothing came of it");
}
