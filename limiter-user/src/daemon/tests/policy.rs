//! Modes, reloads good and bad, own addresses, and the end.

use std::{fs, path::Path};

use limiter_common::verdict::{RefuseReason, Verdict};

use super::{CONFIG, EXEMPT, NOW, SMTP, WITHIN, daemon, ip, kind, started};
use crate::{
    config::{Interfaces, Mode},
    control::{error::Kind, protocol::ModeRequest},
};

/// A mode switched at run time holds across a reload, and switching back leaves no trace.
#[test]
fn modes_are_switched() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("limiter.toml");
    fs::write(&path, CONFIG).unwrap();
    let (mut daemon, memory) = daemon(CONFIG, &path, NOW);
    let request = |mode, service: &str| ModeRequest { mode, service: Some(service.into()) };
    let change = daemon.set_mode(&request(Mode::Observe, "smtp"), "uid 0", NOW).unwrap();
    assert_eq!(change.changes, ["service `smtp`: enforce -> observe"]);
    daemon.reload("uid 0", NOW).unwrap();
    for _ in 0..2 {
        assert_eq!(memory.connect(ip("192.0.2.7"), SMTP), WITHIN);
    }
    let would = Verdict::WouldRefuse(RefuseReason::ConnectionsPerSource);
    assert_eq!(memory.connect(ip("192.0.2.7"), SMTP), would);
    daemon.set_mode(&request(Mode::Enforce, "smtp"), "uid 0", NOW).unwrap();
    assert!(daemon.status(NOW).services.iter().all(|service| !service.mode_switched));
    assert_eq!(kind(daemon.set_mode(&request(Mode::Observe, "imap"), "uid 0", NOW)), Kind::NotFound);
}

/// A reload says what changed; a broken file changes nothing and is shown until it is repaired.
#[test]
fn a_broken_file_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("limiter.toml");
    let (mut daemon, memory) = daemon(CONFIG, &path, NOW);
    fs::write(&path, CONFIG.replace("ports = [25]", "ports = 25 26")).unwrap();
    assert_eq!(kind(daemon.reload("uid 0", NOW)), Kind::Rejected);
    assert_eq!(memory.world().applied.len(), 1);
    assert!(daemon.status(NOW).policy.reload_error.is_some());
    fs::write(&path, CONFIG.replace("connections_total = 3", "connections_total = 4")).unwrap();
    assert_eq!(
        daemon.reload("uid 0", NOW).unwrap().changes,
        ["service submission: connections_total 3 -> 4"]
    );
    assert_eq!(daemon.status(NOW).policy.reload_error, None);
    let snapshot = daemon.snapshot(NOW);
    assert_eq!((snapshot.reloads.done, snapshot.reloads.failed), (1, 1));
}

/// Interfaces of a reloaded file are attached at once, and a look that changes nothing is not counted.
#[test]
fn a_reload_brings_interfaces_in_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("limiter.toml");
    let (mut daemon, memory) = daemon(CONFIG, &path, NOW);
    daemon.look_at_interfaces();
    fs::write(&path, format!("interfaces = [\"eth1\"]\n{CONFIG}")).unwrap();
    let changes = daemon.reload("uid 0", NOW).unwrap().changes;
    assert!(changes.iter().any(|change| change == "interfaces auto -> eth1"), "{changes:?}");
    assert_eq!(memory.world().interfaces, Some(Interfaces::Named(vec!["eth1".to_owned()])));
    daemon.look_at_network(Ok(vec![]), NOW);
    assert_eq!(daemon.snapshot(NOW).interface_changes, 2);
}

/// An address that the host got is exempt, and the packet path knows it.
#[test]
fn own_addresses_are_followed() {
    let (mut daemon, memory) = started();
    let own = ip("203.0.113.1");
    daemon.look_at_addresses(Ok(vec![own]), NOW);
    assert_eq!(memory.world().local, [own]);
    assert_eq!(memory.connect(own, SMTP), EXEMPT);
    let applied = memory.world().applied.len();
    daemon.look_at_addresses(Ok(vec![own]), NOW);
    assert_eq!(memory.world().applied.len(), applied, "nothing changed, nothing is applied");
}

/// Stopping detaches, unless the configuration wants the program kept.
#[test]
fn stop_detaches_unless_kept() {
    for (keep, detached) in [("false", true), ("true", false)] {
        let config = format!("{CONFIG}\n[runtime]\nkeep_on_exit = {keep}\n");
        let (mut daemon, memory) = daemon(&config, Path::new("limiter.toml"), NOW);
        daemon.stop(NOW);
        assert_eq!(memory.world().detached, detached, "keep_on_exit = {keep}");
    }
}
