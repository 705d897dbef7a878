//! Rules made at run time: allow, deny, remove, expiry, and what is refused.

use limiter_common::verdict::{RefuseReason, Verdict};

use super::{EXEMPT, LIMIT, NOW, SMTP, WITHIN, ip, kind, rule, started};
use crate::control::{
    error::Kind,
    protocol::{RuleQuery, RuleRequest, Verb},
};

/// An allowed source is refused nothing from the very next connection on.
#[test]
fn allow_is_in_force_at_once() {
    let (mut daemon, memory) = started();
    let greedy = ip("192.0.2.7");
    assert_eq!([memory.connect(greedy, SMTP), memory.connect(greedy, SMTP)], [WITHIN; 2]);
    assert_eq!(memory.connect(greedy, SMTP), LIMIT);
    let change = daemon.add_rule(rule(Verb::Allow, "192.0.2.0/24"), "uid 0 pid 1".into(), NOW).unwrap();
    assert_eq!((change.replaced, change.revision), (false, 2));
    assert_eq!(memory.connect(greedy, SMTP), EXEMPT);
}

/// The last word on a prefix replaces the one before; removing it brings the limits back.
#[test]
fn rules_are_replaced_and_removed() {
    let (mut daemon, memory) = started();
    let source = ip("192.0.2.7");
    daemon.add_rule(rule(Verb::Allow, "192.0.2.7"), "uid 0".into(), NOW).unwrap();
    let denied = daemon.add_rule(rule(Verb::Deny, "192.0.2.7"), "uid 0".into(), NOW).unwrap();
    assert!(denied.replaced);
    assert_eq!(memory.connect(source, SMTP), Verdict::Refuse(RefuseReason::Deny));
    let query = RuleQuery { prefix: "192.0.2.7/32".into(), service: None };
    assert_eq!(daemon.remove_rules(&query, "uid 0", NOW).unwrap().removed.len(), 1);
    assert_eq!(memory.connect(source, SMTP), WITHIN);
    assert_eq!(kind(daemon.remove_rules(&query, "uid 0", NOW)), Kind::NotFound);
}

/// A rule with a time to live ends by itself.
#[test]
fn rules_end_by_themselves() {
    let (mut daemon, memory) = started();
    let request = RuleRequest { ttl: Some("2h".into()), ..rule(Verb::Deny, "192.0.2.0/24") };
    let change = daemon.add_rule(request, "uid 0".into(), NOW).unwrap();
    assert_eq!(change.rule.expires_in_s, Some(7_200));
    daemon.second(NOW.plus_s(7_199));
    assert_eq!(memory.connect(ip("192.0.2.7"), SMTP), Verdict::Refuse(RefuseReason::Deny));
    daemon.second(NOW.plus_s(7_200));
    assert_eq!(memory.connect(ip("192.0.2.7"), SMTP), WITHIN);
}

/// A rule for one service leaves the others alone.
#[test]
fn rules_hold_for_their_service() {
    let (mut daemon, memory) = started();
    let request = RuleRequest { service: Some("smtp".into()), ..rule(Verb::Deny, "192.0.2.0/24") };
    let change = daemon.add_rule(request, "uid 0".into(), NOW).unwrap();
    assert_eq!(change.rule.services, ["smtp"]);
    assert_eq!(memory.connect(ip("192.0.2.7"), 465), WITHIN);
    let listed = daemon.list_rules(NOW).rules.into_iter().find(|rule| rule.prefix == "192.0.2.0/24").unwrap();
    assert_eq!((listed.services, listed.who.as_str()), (vec!["smtp".to_owned()], "uid 0"));
}

/// What makes no sense is refused with a remedy, and changes nothing.
#[test]
fn senseless_rules_are_refused() {
    let (mut daemon, memory) = started();
    let base = || rule(Verb::Allow, "192.0.2.0/24");
    let cases = [
        (rule(Verb::Allow, "192.0.2.7/24"), Kind::Invalid),
        (rule(Verb::Allow, "mail.example.org"), Kind::Invalid),
        (RuleRequest { ttl: Some("soon".into()), ..base() }, Kind::Invalid),
        (RuleRequest { ttl: Some("0s".into()), ..base() }, Kind::Invalid),
        (RuleRequest { note: Some("x".repeat(201)), ..base() }, Kind::Invalid),
        (RuleRequest { service: Some("imap".into()), ..base() }, Kind::NotFound),
    ];
    for (request, expected) in cases {
        let error = daemon.add_rule(request.clone(), "uid 0".into(), NOW).unwrap_err();
        assert_eq!(error.kind, expected, "{request:?}");
        assert!(!error.body.remedy.is_empty(), "{request:?}");
    }
    assert_eq!(memory.world().applied.len(), 1);
}

/// When the packet path does not take a rule, there is no such rule.
#[test]
fn a_rule_that_is_not_in_force_is_not_listed() {
    let (mut daemon, memory) = started();
    memory.world().broken = Some("apply");
    assert_eq!(kind(daemon.add_rule(rule(Verb::Deny, "192.0.2.0/24"), "uid 0".into(), NOW)), Kind::Rejected);
    assert!(daemon.list_rules(NOW).rules.iter().all(|rule| rule.prefix != "192.0.2.0/24"));
    assert_eq!(daemon.revision(), 1);
}

/// A rule of the configuration is not removed by command, and the answer says where it is.
#[test]
fn configured_rules_stay() {
    let (mut daemon, _memory) = started();
    let query = RuleQuery { prefix: "198.51.100.0/24".into(), service: None };
    let error = daemon.remove_rules(&query, "uid 0", NOW).unwrap_err();
    assert!(error.body.remedy.contains("class `probe` of limiter.toml"), "{error}");
}
