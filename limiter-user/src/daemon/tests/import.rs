//! Lists: all of a file or nothing, replaced by name, and what used their rules.

use std::fmt::Write as _;

use limiter_common::verdict::{RefuseReason, Verdict};

use super::{EXEMPT, LIMIT, NOW, SMTP, WITHIN, ip, kind, rule, started};
use crate::{
    control::{
        error::Kind,
        protocol::{ImportRequest, RuleUse, Verb},
    },
    daemon::Daemon,
};

fn list(verb: Verb, text: &str, note: Option<&str>, replace: bool) -> ImportRequest {
    let note = note.map(str::to_owned);
    ImportRequest {
        verb,
        name: "feed.txt".into(),
        text: text.into(),
        service: None,
        ttl: None,
        note,
        replace,
    }
}

fn used(daemon: &Daemon, prefix: &str) -> RuleUse {
    let rules = daemon.list_rules(NOW).rules;
    rules.into_iter().find(|rule| rule.prefix == prefix).and_then(|rule| rule.used).unwrap()
}

/// Comments, blank lines, single addresses and both families; what is there already is replaced.
#[test]
fn a_list_is_in_force_at_once() {
    let (mut daemon, memory) = started();
    daemon.add_rule(rule(Verb::Deny, "192.0.2.0/24"), "uid 0".into(), NOW).unwrap();
    let text = "# partners\n192.0.2.0/24\n\n203.0.113.9  # one host\r\n2001:db8::/32\n203.0.113.9/32\n";
    let change = daemon.import(&list(Verb::Allow, text, None, false), "uid 0", NOW).unwrap();
    assert_eq!((change.added, change.replaced, change.removed), (2, 1, 0));
    for address in ["192.0.2.7", "203.0.113.9", "2001:db8::7"] {
        assert_eq!(memory.connect(ip(address), SMTP), EXEMPT, "{address}");
    }
    assert_eq!(memory.connect(ip("203.0.113.10"), SMTP), WITHIN);
}

/// One bad line and nothing changes; each is named with its place, and there is an end to it.
#[test]
fn one_bad_line_and_nothing_changes() {
    let (mut daemon, memory) = started();
    let text = "192.0.2.0/24\n192.0.2.7/24\nmail.example.org\n";
    let error = daemon.import(&list(Verb::Allow, text, None, false), "uid 0", NOW).unwrap_err();
    let said = &error.body.error;
    assert!(said.contains("feed.txt:2: ") && said.contains("feed.txt:3: "), "{said}");
    assert!(said.contains("host bits") && error.body.remedy.contains("nothing was imported"), "{error}");
    assert_eq!(memory.world().applied.len(), 1, "nothing came into force");
    let many = "x\n".repeat(1_000);
    let error = daemon.import(&list(Verb::Deny, &many, None, false), "uid 0", NOW).unwrap_err();
    assert!(error.body.error.ends_with("and 990 more"), "{error}");
}

/// A list that comes again makes way for itself, and for nothing else.
#[test]
fn a_list_is_replaced_by_its_name() {
    let (mut daemon, memory) = started();
    let denied = Verdict::Refuse(RefuseReason::Deny);
    daemon.add_rule(rule(Verb::Deny, "203.0.113.1"), "uid 0".into(), NOW).unwrap();
    daemon.import(&list(Verb::Deny, "203.0.113.2\n203.0.113.3\n", Some("feed"), true), "uid 0", NOW).unwrap();
    let again = list(Verb::Deny, "203.0.113.3\n203.0.113.4\n", Some("feed"), true);
    let change = daemon.import(&again, "uid 0", NOW).unwrap();
    assert_eq!((change.added, change.replaced, change.removed), (1, 1, 1));
    assert_eq!(memory.connect(ip("203.0.113.2"), SMTP), WITHIN);
    for address in ["203.0.113.1", "203.0.113.3", "203.0.113.4"] {
        assert_eq!(memory.connect(ip(address), SMTP), denied, "{address}");
    }
    let nameless = list(Verb::Deny, "203.0.113.3\n", None, true);
    assert_eq!(kind(daemon.import(&nameless, "uid 0", NOW)), Kind::Invalid);
}

/// 100,000 lines are one switch, and listing them is no matter of squares.
#[test]
fn a_long_list_is_one_switch() {
    let (mut daemon, memory) = started();
    let mut text = String::new();
    for n in 0..100_000_u32 {
        writeln!(text, "10.{}.{}.{}/31", n >> 15, n >> 7 & 255, (n & 127) << 1).unwrap();
    }
    let change = daemon.import(&list(Verb::Allow, &text, Some("long"), true), "uid 0", NOW).unwrap();
    assert_eq!((change.added, memory.world().applied.len()), (100_000, 2));
    let listed = daemon.list_rules(NOW).rules.len();
    assert!(listed >= 100_000, "{listed}");
    assert_eq!(memory.connect(ip("10.2.9.8"), SMTP), EXEMPT);
}

/// Connections are put to the account of the rule that decided on them, and of no other.
#[test]
fn rules_have_accounts() {
    let (mut daemon, memory) = started();
    daemon.add_rule(rule(Verb::Allow, "192.0.2.0/24"), "uid 0".into(), NOW).unwrap();
    daemon.add_rule(rule(Verb::Deny, "192.0.2.128/25"), "uid 0".into(), NOW).unwrap();
    daemon.add_rule(rule(Verb::Allow, "2001:db8::7"), "uid 0".into(), NOW).unwrap();
    daemon.recount(NOW);
    for _ in 0..5 {
        assert_eq!(memory.connect(ip("192.0.2.7"), SMTP), EXEMPT);
        assert!(
            memory.connect(ip("203.0.113.7"), SMTP) == WITHIN
                || memory.connect(ip("203.0.113.7"), SMTP) == LIMIT
        );
    }
    daemon.recount(NOW.plus_s(10));
    let account = used(&daemon, "192.0.2.0/24");
    assert_eq!((account.accepted, account.last_at_s), (5, Some(NOW.plus_s(10).unix_s())));
    let unaccounted = |prefix: &str| {
        daemon.list_rules(NOW).rules.iter().any(|rule| rule.prefix == prefix && rule.used.is_none())
    };
    assert!(unaccounted("192.0.2.128/25"), "who is denied leaves no trace: nothing is better than `never`");
    assert!(unaccounted("2001:db8::7/128"), "one host of a /64 is not told from the others");
    daemon.recount(NOW.plus_s(20));
    assert_eq!(used(&daemon, "192.0.2.0/24"), account, "nothing new");
}
