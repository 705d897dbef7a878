//! What `check` says.

use super::{LIMIT, NOW, SMTP, WITHIN, ip, rule, started};
use crate::{
    control::protocol::{CheckQuery, RuleRequest, Verb},
    daemon::Daemon,
};

/// Asks about an address and returns verdict, explanation and remedies as text.
fn explained(daemon: &Daemon, address: &str, port: u16) -> (String, String, String) {
    let check = daemon.check(&CheckQuery { address: ip(address), port: Some(port) }, NOW).unwrap();
    let answer = &check.answers[0];
    let verdict = format!("{} {}", answer.verdict, answer.reason);
    (verdict, answer.explanation.join("\n"), answer.remedies.join("\n"))
}

/// `check` names class, counts, limits, and from which connection on a source is refused.
#[test]
fn check_counts() {
    let (daemon, memory) = started();
    assert_eq!(memory.connect(ip("192.0.2.7"), 465), WITHIN);
    let (verdict, text, remedies) = explained(&daemon, "192.0.2.7", 587);
    assert_eq!((verdict.as_str(), remedies.as_str()), ("pass within_limits", ""));
    assert!(text.contains("No rule matches 192.0.2.7: it is of class `default`."), "{text}");
    assert!(text.contains("1 of 2 connections open; it is refused from the 3rd on"), "{text}");
    assert!(text.contains("The service has 1 of 3 connections open."), "{text}");
    assert_eq!(memory.connect(ip("192.0.2.7"), 465), WITHIN);
    let (verdict, _, remedies) = explained(&daemon, "192.0.2.7", 587);
    assert_eq!(verdict, "refuse connections_per_source");
    assert!(remedies.contains("wait until 1 of its 2 connections are closed"), "{remedies}");
    assert!(
        remedies.contains("raise connections_per_source of service `submission` in limiter.toml"),
        "{remedies}"
    );
}

/// `check` names the rule that decides, and the command that undoes it.
#[test]
fn check_names_the_rule() {
    let (mut daemon, _memory) = started();
    let request = RuleRequest { note: Some("ticket 7".into()), ..rule(Verb::Deny, "192.0.2.0/24") };
    daemon.add_rule(request, "uid 0 pid 1".into(), NOW).unwrap();
    let (verdict, text, remedies) = explained(&daemon, "192.0.2.7", SMTP);
    assert_eq!(verdict, "refuse deny");
    assert!(text.contains("which uid 0 pid 1 added at run time (\"ticket 7\")"), "{text}");
    assert_eq!(remedies, "remove the deny rule: limiterctl remove 192.0.2.0/24");
    let (verdict, text, _) = explained(&daemon, "198.51.100.9", SMTP);
    assert_eq!(verdict, "pass exempt");
    assert!(text.contains("class `probe` by the prefix 198.51.100.0/24, which limiter.toml has"), "{text}");
}

/// `check` says how long the quota makes a source wait.
#[test]
fn check_says_how_long_to_wait() {
    let (daemon, memory) = started();
    for _ in 0..101 {
        let verdict = memory.connect(ip("192.0.2.7"), SMTP);
        assert!(verdict == LIMIT || memory.close(ip("192.0.2.7"), SMTP) || verdict.is_refusal());
    }
    let (verdict, text, remedies) = explained(&daemon, "192.0.2.7", SMTP);
    assert_eq!(verdict, "refuse new_connection_quota");
    assert!(text.contains("lets the next one in after 0.1 s"), "{text}");
    assert!(remedies.contains("wait: the quota lets the next one in after 0.1 s"), "{remedies}");
}

/// A port of no service is not looked at, and without a port every service answers.
#[test]
fn check_knows_ports() {
    let (daemon, _memory) = started();
    assert_eq!(explained(&daemon, "192.0.2.7", 80).0, "pass unguarded");
    let all = daemon.check(&CheckQuery { address: ip("192.0.2.7"), port: None }, NOW).unwrap();
    assert_eq!(all.answers.iter().map(|answer| answer.port).collect::<Vec<_>>(), [25, 465]);
}
