//! Canaries, presets and warnings: what status says before anybody is refused.

use std::path::Path;

use limiter_common::verdict::{RefuseReason, Verdict};

use super::{EXEMPT, NOW, SMTP, daemon, ip, rule, started};
use crate::{
    clock::Now,
    control::protocol::{Health, RuleRequest, Verb},
    daemon::Daemon,
};

/// What status says of the service `smtp`.
fn smtp(daemon: &mut Daemon, now: Now) -> (Health, String) {
    let status = daemon.status(now);
    (status.services[0].health, status.services[0].reasons.join("\n"))
}

/// A denial inside an exempt class is found by asking the kernel, shown with what helps, and forgotten when it is gone.
#[test]
fn a_denial_inside_an_exempt_class_is_a_failure() {
    let (mut daemon, memory) = started();
    daemon.second(NOW);
    assert_ne!(smtp(&mut daemon, NOW).0, Health::Failing);
    let denial = RuleRequest { service: Some("smtp".into()), ..rule(Verb::Deny, "198.51.100.64/26") };
    daemon.add_rule(denial, "uid 0".into(), NOW).unwrap();
    daemon.second(NOW.plus_s(1));
    assert_eq!(memory.connect(ip("198.51.100.65"), SMTP), Verdict::Refuse(RefuseReason::Deny));
    let (health, reason) = smtp(&mut daemon, NOW.plus_s(1));
    assert_eq!(health, Health::Failing);
    for part in
        ["198.51.100.0/24 of the exempt class `probe`", "port 25", "limiterctl remove 198.51.100.64/26"]
    {
        assert!(reason.contains(part), "{part} in: {reason}");
    }
    let metrics = crate::metrics::collect::text(&daemon.snapshot(NOW)).unwrap();
    assert!(metrics.contains("limiter_canary_failures{service=\"smtp\"} 1\n"), "{metrics}");
    assert!(metrics.contains("limiter_canary_failures{service=\"submission\"} 0\n"), "{metrics}");
    assert_eq!(memory.connect(ip("198.51.100.65"), 465), EXEMPT);

    let gone = crate::control::protocol::RuleQuery { prefix: "198.51.100.64/26".into(), service: None };
    daemon.remove_rules(&gone, "uid 0", NOW).unwrap();
    daemon.second(NOW.plus_s(2));
    assert_ne!(smtp(&mut daemon, NOW.plus_s(2)).0, Health::Failing);
}

/// A packet path that no longer knows an exempt class is found out, whatever the daemon believes.
#[test]
fn the_packet_path_is_asked_not_the_daemon() {
    let (mut daemon, memory) = started();
    daemon.second(NOW);
    for compiled in &mut memory.world().applied {
        compiled.prefixes.clear();
        compiled.policy.limits[1][0] = limiter_common::limits::Limits::DENIED;
    }
    daemon.second(NOW.plus_s(9));
    assert_ne!(smtp(&mut daemon, NOW.plus_s(9)).0, Health::Failing, "a round every ten seconds");
    daemon.second(NOW.plus_s(10));
    assert_eq!(smtp(&mut daemon, NOW.plus_s(10)).0, Health::Failing);
    memory.world().broken = Some("explain");
    daemon.second(NOW.plus_s(20));
    assert!(smtp(&mut daemon, NOW.plus_s(20)).1.contains("canaries: "), "not to know is a fault");
}

/// Thousands of exempt prefixes take several rounds, and none is left out.
#[test]
fn many_canaries_take_turns() {
    let prefixes: Vec<String> = (0..1_500).map(|n| format!("\"10.{}.{}.0/24\"", n / 250, n % 250)).collect();
    let config = format!(
        "mode = \"observe\"\n[[service]]\nname = \"smtp\"\nports = [25]\n[[class]]\nname = \"many\"\nexempt = true\n\
         prefixes = [{}]\n",
        prefixes.join(", ")
    );
    let (mut daemon, memory) = daemon(&config, Path::new("limiter.toml"), NOW);
    daemon.second(NOW);
    for compiled in &mut memory.world().applied {
        compiled.prefixes.retain(|prefix| prefix.addr != ip("10.5.249.0").into());
        compiled.policy.limits[1][0] = limiter_common::limits::Limits::DENIED;
    }
    for round in 1..=3 {
        daemon.second(NOW.plus_s(10 * round));
    }
    let (health, reason) = smtp(&mut daemon, NOW.plus_s(30));
    assert_eq!(health, Health::Degraded, "it only observes: {reason}");
    assert!(reason.contains("10.5.249.0 is within 10.5.249.0/24"), "{reason}");
}

/// Status asks to look at a preset after half a year; the metric has its age from the first day.
#[test]
fn presets_grow_old() {
    const DATED_S: u64 = 1_785_542_400;
    const DAY_S: u64 = 86_400;
    let config = "[[service]]\nname = \"smtp\"\nports = [25]\n[[class]]\nname = \"balancer\"\nexempt = true\n\
                  prefixes = [\"preset:gcp-lb\"]\n";
    let at = |days: u64| Now { unix_ms: (DATED_S + days * DAY_S) * 1_000, ..NOW };
    let (mut daemon, _memory) = daemon(config, Path::new("limiter.toml"), at(0));
    let found = |daemon: &mut Daemon, days| daemon.status(at(days)).findings.join("\n");
    assert!(!found(&mut daemon, 180).contains("preset"));
    assert!(found(&mut daemon, 181).contains("preset `gcp-lb` is dated 2026-08-01, 181 days ago"));
    let metrics = crate::metrics::collect::text(&daemon.snapshot(at(2))).unwrap();
    assert!(metrics.contains("limiter_preset_age_seconds{preset=\"gcp-lb\"} 172800\n"), "{metrics}");
}

/// A service that enforces while nobody is exempt says so, until somebody is.
#[test]
fn nobody_exempt_is_shown() {
    let config =
        "mode = \"enforce\"\n[[service]]\nname = \"smtp\"\nports = [25]\nconnections_per_source = 2\n";
    let (mut daemon, _memory) = daemon(config, Path::new("limiter.toml"), NOW);
    let (health, reason) = smtp(&mut daemon, NOW);
    assert!(health == Health::Degraded && reason.contains("no class is exempt"), "{reason}");
    daemon.add_rule(rule(Verb::Allow, "192.0.2.10"), "uid 0".into(), NOW).unwrap();
    assert!(!smtp(&mut daemon, NOW).1.contains("no class is exempt"));
}
