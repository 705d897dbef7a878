//! What outlives the daemon: rules, modes, the last confirmed policy; and what is said when the disk fails.

use std::{fs, path::Path};

use limiter_common::verdict::{RefuseReason, Verdict};

use super::{CONFIG, EXEMPT, NOW, SMTP, WITHIN, ip, rule};
use crate::{
    clock::Now,
    config::Mode,
    control::protocol::{Health, ModeRequest, RuleQuery, RuleRequest, Verb},
    daemon::{Boot, Daemon, Prepared},
    dataplane::{Dataplane, Inherited, memory::Memory},
};

const DENIED: Verdict = Verdict::Refuse(RefuseReason::Deny);

/// Writes a configuration whose state is kept beside it.
pub(super) fn write(directory: &Path, config: &str) {
    let state = directory.join("state");
    let text = format!("{config}\n[runtime]\nstate_dir = \"{}\"\n", state.display());
    fs::write(directory.join("limiter.toml"), text).unwrap();
}

/// Starts a daemon on what is in a directory.
pub(super) fn boot(directory: &Path, now: Now) -> (Daemon, Memory) {
    let boot = Boot::read(&directory.join("limiter.toml"), now).unwrap();
    let prepared = Prepared::boot(boot, Inherited::default(), vec![], now).unwrap();
    let mut memory = Memory::new(now);
    memory.attach(&prepared.first()).unwrap();
    (Daemon::new(Box::new(memory.clone()), prepared, now), memory)
}

/// Returns the findings of status in one text.
pub(super) fn findings(daemon: &mut Daemon) -> String {
    daemon.status(NOW).findings.join("\n")
}

/// Rules and modes are there again after a daemon that was killed, without a word from it.
#[test]
fn rules_and_modes_come_back() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), CONFIG);
    let (mut first, _) = boot(directory.path(), NOW);
    first.add_rule(rule(Verb::Allow, "192.0.2.0/24"), "uid 0 pid 1".into(), NOW).unwrap();
    first.add_rule(rule(Verb::Deny, "203.0.113.9"), "uid 0 pid 1".into(), NOW).unwrap();
    first.add_rule(rule(Verb::Deny, "203.0.113.10"), "uid 0 pid 1".into(), NOW).unwrap();
    first.remove_rules(&RuleQuery { prefix: "203.0.113.10".into(), service: None }, "uid 0", NOW).unwrap();
    let request = ModeRequest { mode: Mode::Observe, service: Some("submission".into()) };
    assert_eq!(first.set_mode(&request, "uid 0", NOW).unwrap().not_saved, None);
    let (mut second, memory) = boot(directory.path(), NOW.plus_s(60));
    assert_eq!(memory.connect(ip("192.0.2.7"), SMTP), EXEMPT);
    assert_eq!(memory.connect(ip("203.0.113.9"), SMTP), DENIED);
    assert_eq!(memory.connect(ip("203.0.113.10"), SMTP), WITHIN);
    let listed = second.list_rules(NOW).rules.into_iter().find(|rule| rule.prefix == "192.0.2.0/24").unwrap();
    assert_eq!((listed.who.as_str(), listed.created_at_s), ("uid 0 pid 1", Some(NOW.unix_s())));
    let modes: Vec<Mode> = second.status(NOW).services.iter().map(|service| service.mode).collect();
    assert_eq!(modes, [Mode::Enforce, Mode::Observe]);
    assert_eq!(findings(&mut second), findings(&mut first), "nothing is lost");
}

/// A rule whose time came while no daemon ran is over when the next one starts, by the calendar.
#[test]
fn rules_end_while_nobody_runs() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), CONFIG);
    let (mut first, _) = boot(directory.path(), NOW);
    let request = RuleRequest { ttl: Some("2h".into()), ..rule(Verb::Deny, "192.0.2.7") };
    first.add_rule(request, "uid 0".into(), NOW).unwrap();
    // The host was booted in between: its monotonic clock begins anew.
    let rebooted = |later_s| Now { monotonic_ns: 1_000_000_000, unix_ms: NOW.plus_s(later_s).unix_ms };
    assert_eq!(boot(directory.path(), rebooted(7_199)).1.connect(ip("192.0.2.7"), SMTP), DENIED);
    let (mut second, memory) = boot(directory.path(), rebooted(7_200));
    assert_eq!(memory.connect(ip("192.0.2.7"), SMTP), WITHIN);
    second.second(rebooted(7_201));
    assert_eq!(second.status(rebooted(7_201)).policy.runtime_rules, 0);
}

/// A disk that takes nothing stops no `deny`; the answer and status say that it does not last, and it
/// lasts as soon as the disk is well again.
#[test]
fn a_deny_works_on_a_full_disk() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), CONFIG);
    let state = directory.path().join("state");
    fs::write(&state, "in the way").unwrap();
    let (mut daemon, memory) = boot(directory.path(), NOW);
    let change = daemon.add_rule(rule(Verb::Deny, "192.0.2.7"), "uid 0".into(), NOW).unwrap();
    assert_eq!(memory.connect(ip("192.0.2.7"), SMTP), DENIED);
    assert!(change.not_saved.unwrap().contains(state.to_str().unwrap()));
    assert!(findings(&mut daemon).contains("state directory"));
    assert_eq!(daemon.status(NOW).health, Health::Failing);
    fs::remove_file(&state).unwrap();
    daemon.recount(NOW.plus_s(10));
    assert!(!findings(&mut daemon).contains("state directory"));
    assert_eq!(boot(directory.path(), NOW).1.connect(ip("192.0.2.7"), SMTP), DENIED);
}

/// A daemon whose file is broken starts with the last confirmed policy and says which line is wrong; with
/// none confirmed it does not start.
#[test]
fn a_broken_file_does_not_end_a_policy() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), &CONFIG.replace("ports = [25]", "ports = 25 26"));
    let path = directory.path().join("limiter.toml");
    assert!(Boot::read(&path, NOW).unwrap_err().to_string().contains("limiter.toml:6:"));
    write(directory.path(), CONFIG);
    let (mut first, _) = boot(directory.path(), NOW);
    let hash = first.status(NOW).policy.hash;
    write(directory.path(), &CONFIG.replace("ports = [25]", "ports = 25 26"));
    let (mut second, memory) = boot(directory.path(), NOW);
    for _ in 0..2 {
        assert_eq!(memory.connect(ip("192.0.2.7"), SMTP), WITHIN);
    }
    assert_eq!(memory.connect(ip("192.0.2.7"), SMTP), super::LIMIT);
    let status = second.status(NOW);
    assert_eq!((status.health, &status.policy.hash), (Health::Degraded, &hash));
    assert!(status.findings.join("\n").contains("limiter.toml:6:"), "{:?}", status.findings);
    assert!(status.policy.reload_error.is_some());
    write(directory.path(), CONFIG);
    second.reload("uid 0", NOW).unwrap();
    assert!(!findings(&mut second).contains("last confirmed policy"));
}

/// With the newest policy damaged and the file broken, the generation before is in force, aloud.
#[test]
fn a_damaged_policy_falls_back_one_generation() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), CONFIG);
    boot(directory.path(), NOW);
    boot(directory.path(), NOW);
    write(directory.path(), "mode =");
    let kept = directory.path().join("state/policy");
    let whole = fs::read(&kept).unwrap();
    for cut in (0..whole.len()).step_by(97) {
        fs::write(&kept, &whole[..cut]).unwrap();
        let boot = Boot::read(&directory.path().join("limiter.toml"), NOW).unwrap();
        assert_eq!(boot.config.services.len(), 2, "cut at byte {cut}");
        let said: Vec<_> = boot.notices.iter().map(|notice| notice.text.as_str()).collect();
        assert!(said[0].contains("generation before"), "{said:?}");
        assert!(said[1].contains("last confirmed policy"), "{said:?}");
    }
}
