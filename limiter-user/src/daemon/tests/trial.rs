//! A configuration on probation: kept when it is confirmed, gone when it is not, whoever was there.

use std::fs;

use limiter_common::verdict::{RefuseReason, Verdict};

use super::{
    CONFIG, EXEMPT, LIMIT, NOW, SMTP, WITHIN, ip, kind,
    lasting::{boot, findings, write},
    rule,
};
use crate::{
    clock::Now,
    config::Mode,
    control::{
        error::Kind,
        protocol::{ApplyRequest, DiffRequest, ModeRequest, Verb},
    },
    daemon::Daemon,
    dataplane::memory::Memory,
};

/// Three connections instead of two.
fn looser(directory: &std::path::Path) -> String {
    let text = fs::read_to_string(directory.join("limiter.toml")).unwrap();
    text.replacen("connections_per_source = 2", "connections_per_source = 3", 1)
}

fn apply(daemon: &mut Daemon, text: String) {
    let request = ApplyRequest { path: "new.toml".into(), text, confirm: "60s".into() };
    let change = daemon.apply_file(&request, "uid 0", NOW).unwrap();
    assert_eq!(change.changes, ["service smtp: connections_per_source 2 -> 3"]);
    assert_eq!((change.confirm_within_s, change.not_saved), (Some(60), None));
}

/// Opens connections until one is refused, and closes them all; returns how many there were.
fn room(memory: &Memory, address: &str) -> usize {
    let open = (0..10).take_while(|_| memory.connect(ip(address), SMTP) == WITHIN).count();
    for _ in 0..open {
        assert!(memory.close(ip(address), SMTP));
    }
    open
}

fn at(memory: &Memory, now: Now) {
    memory.world().now_ns = now.monotonic_ns;
}

/// Without a word the policy before returns: in the packet path by itself, then in the daemon; the
/// text that failed does not come back by a reload.
#[test]
fn what_nobody_confirms_goes() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), CONFIG);
    let (mut daemon, memory) = boot(directory.path(), NOW);
    let text = looser(directory.path());
    apply(&mut daemon, text.clone());
    assert_eq!(room(&memory, "192.0.2.7"), 3);
    assert!(findings(&mut daemon).contains("on probation for another 1m"), "{}", findings(&mut daemon));
    assert_eq!(kind(daemon.reload("uid 0", NOW)), Kind::Rejected, "one change at a time");

    let over = NOW.plus_s(60);
    at(&memory, over);
    assert_eq!(room(&memory, "192.0.2.8"), 2, "no daemon had a hand in it");
    daemon.second(over);
    assert_eq!(room(&memory, "192.0.2.9"), 2);
    assert!(memory.world().fallback.is_none(), "it is over");
    assert!(findings(&mut daemon).contains("not confirmed in time"), "{}", findings(&mut daemon));
    assert_eq!(kind(daemon.confirm("uid 0", over)), Kind::NotFound);
    fs::write(directory.path().join("limiter.toml"), text).unwrap();
    assert_eq!(kind(daemon.reload("uid 0", over)), Kind::Rejected, "the same text is no surprise twice");
}

/// What is confirmed stays, over a restart too, and the file that still says otherwise does not win.
#[test]
fn what_is_confirmed_stays() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), CONFIG);
    let (mut daemon, memory) = boot(directory.path(), NOW);
    apply(&mut daemon, looser(directory.path()));
    let change = daemon.confirm("uid 0", NOW.plus_s(59)).unwrap();
    assert!(change.changes[0].contains("still holds another configuration"), "{:?}", change.changes);
    let later = NOW.plus_s(3_600);
    at(&memory, later);
    daemon.second(later);
    assert_eq!(room(&memory, "192.0.2.7"), 3);
    assert_eq!(kind(daemon.reload("uid 0", later)), Kind::Rejected, "the file is the one before");
    let (mut second, memory) = boot(directory.path(), later);
    assert_eq!(room(&memory, "192.0.2.7"), 3, "a start goes on with what was confirmed");
    assert!(findings(&mut second).contains("confirmed"), "{}", findings(&mut second));
    fs::write(directory.path().join("limiter.toml"), looser(directory.path())).unwrap();
    second.reload("uid 0", later).unwrap();
}

/// A daemon that was killed goes on with the probation, with the time that is left by the calendar;
/// one that starts too late, after a boot too, starts with the policy before.
#[test]
fn a_probation_outlives_the_daemon() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), CONFIG);
    let (mut daemon, _) = boot(directory.path(), NOW);
    apply(&mut daemon, looser(directory.path()));
    let rebooted = |later_s| Now { monotonic_ns: 5_000_000_000, unix_ms: NOW.plus_s(later_s).unix_ms };

    let (second, memory) = boot(directory.path(), rebooted(40));
    assert_eq!(room(&memory, "192.0.2.7"), 3, "it has 20 s left");
    at(&memory, rebooted(40).plus_s(20));
    assert_eq!(room(&memory, "192.0.2.8"), 2, "and not one more");
    drop(second);

    let (mut third, memory) = boot(directory.path(), rebooted(61));
    assert_eq!(room(&memory, "192.0.2.7"), 2);
    assert!(findings(&mut third).contains("not confirmed in time"), "{}", findings(&mut third));
}

/// Rules made meanwhile hold in both policies.
#[test]
fn rules_hold_in_both() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), CONFIG);
    let (mut daemon, memory) = boot(directory.path(), NOW);
    apply(&mut daemon, looser(directory.path()));
    daemon.add_rule(rule(Verb::Deny, "192.0.2.7"), "uid 0".into(), NOW).unwrap();
    daemon.add_rule(rule(Verb::Allow, "192.0.2.8"), "uid 0".into(), NOW).unwrap();
    for later_s in [0, 60, 61] {
        at(&memory, NOW.plus_s(later_s));
        assert_eq!(memory.connect(ip("192.0.2.7"), SMTP), Verdict::Refuse(RefuseReason::Deny));
        assert_eq!(memory.connect(ip("192.0.2.8"), SMTP), EXEMPT);
    }
    assert_ne!(memory.connect(ip("192.0.2.9"), SMTP), LIMIT);
}

/// A file with a mistake is named with the place, and `diff` changes nothing.
#[test]
fn mistakes_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), CONFIG);
    let (mut daemon, memory) = boot(directory.path(), NOW);
    let broken = looser(directory.path()).replace("ports = [25]", "ports = [0]");
    let request = ApplyRequest { path: "new.toml".into(), text: broken, confirm: "60s".into() };
    let error = daemon.apply_file(&request, "uid 0", NOW).unwrap_err();
    assert!(error.body.error.starts_with("new.toml:6:"), "{}", error.body.error);
    for confirm in ["0s", "2d", "soon"] {
        let request = ApplyRequest { confirm: confirm.into(), ..request.clone() };
        assert_eq!(kind(daemon.apply_file(&request, "uid 0", NOW)), Kind::Invalid, "{confirm}");
    }
    let request = DiffRequest { path: "new.toml".into(), text: looser(directory.path()) };
    let answer = daemon.diff(&request).unwrap();
    assert_eq!(answer.changes, ["service smtp: connections_per_source 2 -> 3"]);
    assert_eq!(memory.world().applied.len(), 1, "nothing came into force");
}

/// A switch to `observe` in an emergency outlasts the probation of a file that says so itself.
#[test]
fn a_mode_switched_meanwhile_holds_in_both() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), CONFIG);
    let (mut daemon, memory) = boot(directory.path(), NOW);
    let text = fs::read_to_string(directory.path().join("limiter.toml")).unwrap();
    let text = text.replacen("mode = \"enforce\"", "mode = \"observe\"", 1);
    let request = ApplyRequest { path: "new.toml".into(), text, confirm: "60s".into() };
    daemon.apply_file(&request, "uid 0", NOW).unwrap();
    daemon.set_mode(&ModeRequest { mode: Mode::Observe, service: None }, "uid 0", NOW).unwrap();
    for later_s in [0, 60] {
        at(&memory, NOW.plus_s(later_s));
        daemon.second(NOW.plus_s(later_s));
        let refused = (0..5).any(|_| memory.connect(ip("192.0.2.7"), SMTP).is_refusal());
        assert!(!refused, "who switched to observe must not be surprised, {later_s} s later");
    }
}

/// Without a record there is no probation: a restart would not know of it.
#[test]
fn a_probation_that_cannot_be_recorded_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), CONFIG);
    let (mut daemon, memory) = boot(directory.path(), NOW);
    let state = directory.path().join("state");
    fs::remove_dir_all(&state).unwrap();
    fs::write(&state, "in the way").unwrap();
    let request =
        ApplyRequest { path: "new.toml".into(), text: looser(directory.path()), confirm: "60s".into() };
    assert_eq!(kind(daemon.apply_file(&request, "uid 0", NOW)), Kind::Rejected);
    assert_eq!(room(&memory, "192.0.2.7"), 2);
    assert!(daemon.confirm("uid 0", NOW).is_err());
}
