//! What the daemon shows: status, top, drops and check, compared with what is so.

use std::process::Command;
use std::time::Duration;

use limiter_tests::daemon::{DAEMON, Daemon, binary};
use limiter_tests::metrics::Sample;
use limiter_tests::process::Process;
use limiter_tests::veth::Bed;
use limiter_tests::{host, require, wait};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{LIMIT, RELEASE_TIME, SMTP, address, config, connect_to, fill, greeter, refused};

/// How soon a refusal is shown to who follows.
const FOLLOW_TIME: Duration = Duration::from_secs(2);
/// How long `limiterctl` may take to start.
const START_TIME: Duration = Duration::from_secs(5);

/// Status names services, interfaces, policy and kernel, for people as for scripts.
#[test]
fn status_shows_what_is_guarded() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let _server = greeter(&bed, SMTP);
    let daemon = Daemon::start(&bed.server, &config());
    let held = fill(bed.client());
    refused(bed.client());
    let status = daemon.ctl_json(&["status"]);
    let service = &status["services"][0];
    let seen = ["name", "mode", "open", "refused", "connections_per_source"].map(|key| service[key].clone());
    assert_eq!(json!(seen), json!(["smtp", "enforce", 2, 1, 2]), "{status}");
    assert_eq!(status["attachments"][0]["interface"], "srv0");
    assert_eq!(status["attachments"][0]["mode"], "native");
    assert_eq!(status["daemon"]["pid"], daemon.process().pid());
    let text = String::from_utf8(daemon.ctl(&["status"]).stdout).expect("status is text");
    for word in ["smtp", "enforce", "srv0", "native", "revision"] {
        assert!(text.contains(word), "status says {word}:\n{text}");
    }
    assert!(!text.contains('\x1b'), "no colours in a pipe:\n{text}");
    let common = status["findings"].as_array().expect("findings");
    let mut reasons = service["reasons"].as_array().expect("reasons").iter();
    let own = reasons.find(|reason| !common.contains(reason)).and_then(Value::as_str);
    let reason = own.expect("a limit without an exempt class is a risk");
    let line = text.lines().find(|line| line.starts_with("smtp is ")).expect("a line of the service");
    assert!(line.starts_with(&format!("smtp is degraded: {reason}")), "it says why:\n{text}");
    drop(held);
}

/// Top shows a source with what it holds and what it was refused.
#[test]
fn top_shows_who_holds_what() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let _server = greeter(&bed, SMTP);
    let daemon = Daemon::start(&bed.server, &config());
    let held = fill(bed.client());
    refused(bed.client());
    let top = daemon.ctl_json(&["top", "--service", "smtp"]);
    let source = &top["sources"][0];
    let seen = ["source", "open", "limit", "accepted_total", "refused_total"].map(|key| source[key].clone());
    assert_eq!(json!(seen), json!([address(bed.client()), 2, 2, 2, 1]), "{top}");
    let refusals = daemon.ctl_json(&["top", "--by", "refused"]);
    assert_eq!(refusals["sources"][0]["refused"], 1, "{refusals}");
    drop(held);
}

/// Connections from before the daemon are open and not new.
#[test]
fn what_was_adopted_is_not_new() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let _server = greeter(&bed, SMTP);
    let before = fill(bed.client());
    let daemon = Daemon::start(&bed.server, &config());
    let top = |by: &str| daemon.ctl_json(&["top", "--by", by])["sources"].clone();
    assert_eq!(top("open")[0]["open"], LIMIT, "they are counted");
    assert_eq!(top("new"), json!([]), "nobody has come since");
    drop(before);
}

/// A refusal is kept, with its reason, and shown within two seconds to who follows.
#[test]
fn drops_show_refusals_as_they_happen() {
    require!(host::BED, DAEMON);
    let bed = Bed::plan().clients(2).build();
    let _server = greeter(&bed, SMTP);
    let daemon = Daemon::start(&bed.server, &config().replace("[\"srv0\"]", "[\"srv0\", \"srv1\"]"));
    let held: Vec<_> = bed.clients.iter().flat_map(fill).collect();
    refused(bed.client());
    let mut command = Command::new(binary("limiterctl"));
    command.arg("--json").arg("--socket").arg(daemon.socket()).args(["drops", "--follow"]);
    let following = Process::start("limiterctl drops", &mut command);
    following.wait_for_log("10.90.0.2", START_TIME);
    refused(&bed.clients[1]);
    following.wait_for_log("10.90.1.2", FOLLOW_TIME);
    let log = following.log();
    let line: Value = serde_json::from_str(log.lines().last().expect("a line")).expect("a line is JSON");
    let seen = ["address", "port", "service", "verdict", "reason"].map(|key| line[key].clone());
    let wanted = json!(["10.90.1.2", 25, "smtp", "refuse", "connections_per_source"]);
    assert_eq!(json!(seen), wanted, "{line}");
    let kept = daemon.ctl_json(&["drops"]);
    assert_eq!(kept["drops"].as_array().map(Vec::len), Some(2), "one sample for each source: {kept}");
    following.signal(Signal::SIGINT);
    assert!(following.wait_exit(FOLLOW_TIME).success(), "Ctrl-C is how it ends: {}", following.log());
    drop(held);
}

/// What `check` says is what the next real SYN gets, in every state; asking changes no counter.
#[test]
fn check_agrees_with_the_next_syn() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let client = bed.client();
    let (server, _other) = (greeter(&bed, SMTP), greeter(&bed, 8025));
    let daemon = Daemon::start(&bed.server, &config());
    let agree = |port: u16, verdict: &str, reason: &str| {
        // Known sources are counted at a recount.
        daemon.recount(1);
        let before = daemon.metrics();
        let from = [client.ipv4().to_string(), client.ipv6().to_string()];
        for address in &from {
            let check = daemon.ctl_json(&["check", address, "--port", &port.to_string()]);
            let answer = &check["answers"][0];
            let seen = (answer["verdict"].as_str(), answer["reason"].as_str());
            assert_eq!(seen, (Some(verdict), Some(reason)), "{check}");
            let remedies = answer["remedies"].as_array().map(Vec::len);
            assert_eq!(
                remedies > Some(0),
                verdict == "refuse",
                "a refusal says what would change it: {check}"
            );
        }
        let packets = |samples: &[Sample]| {
            let counted = samples.iter().filter(|sample| {
                ["limiter_packets_total", "limiter_connections", "limiter_sources"]
                    .contains(&sample.name.as_str())
            });
            counted.cloned().collect::<Vec<_>>()
        };
        assert_eq!(packets(&before), packets(&daemon.metrics()), "asking counts nothing");
        for server in [client.server_ipv4(), client.server_ipv6()] {
            let real = connect_to(client, server, port);
            assert_eq!(real.is_ok(), verdict == "pass", "to {server}, {reason}: {real:?}");
        }
    };
    agree(SMTP, "pass", "within_limits");
    server.close(2);
    wait::until_eq("open connections", &0, RELEASE_TIME, || daemon.open("smtp"));
    agree(8025, "pass", "unguarded");
    let fill_both = || {
        let servers = [client.server_ipv4(), client.server_ipv6()];
        let all = servers.into_iter().flat_map(|server| (0..LIMIT).map(move |_| server));
        all.map(|server| connect_to(client, server, SMTP).expect("within the limit")).collect::<Vec<_>>()
    };
    let held = fill_both();
    agree(SMTP, "refuse", "connections_per_source");
    for rule in ["10.90.0.0/24", "fd90::/64"] {
        daemon.ctl_json(&["allow", rule]);
    }
    agree(SMTP, "pass", "exempt");
    for rule in ["10.90.0.2", "fd90::2"] {
        daemon.ctl_json(&["deny", rule]);
    }
    agree(SMTP, "refuse", "deny");
    drop(held);
}
