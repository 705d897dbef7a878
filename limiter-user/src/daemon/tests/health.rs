//! Drift, top, refusals, and what makes a service less than well.

use super::{NOW, SMTP, WITHIN, ip, started};
use crate::{
    control::protocol::{Health, TopBy, TopQuery},
    daemon::Daemon,
    dataplane::Dataplane,
};

/// A count that two recounts find wrong is corrected, and told.
#[test]
fn drift_is_corrected() {
    let (mut daemon, memory) = started();
    assert_eq!(memory.connect(ip("192.0.2.7"), SMTP), WITHIN);
    let key = *memory.world().sources.keys().next().unwrap();
    memory.clone().correct(key, 3).unwrap();
    daemon.recount(NOW);
    daemon.recount(NOW.plus_s(10));
    assert_eq!(memory.world().sources[&key].word.open(), 1);
    assert_eq!(daemon.snapshot(NOW).services[0].drift, 3);
}

/// `top` shows who has most, by open connections and by refusals.
#[test]
fn top_shows_who_has_most() {
    let (mut daemon, memory) = started();
    for address in ["192.0.2.7", "192.0.2.7", "192.0.2.7", "192.0.2.8"] {
        let _verdict = memory.connect(ip(address), SMTP);
    }
    let top =
        |daemon: &mut Daemon, by| daemon.top(&TopQuery { service: None, by, limit: None }, NOW).unwrap();
    let open = top(&mut daemon, TopBy::Open);
    assert_eq!((open.total, open.sources[0].source.as_str(), open.sources[0].open), (2, "192.0.2.7", 2));
    assert_eq!(open.sources[0].limit, Some(2));
    let refused = daemon.recounts.sources().iter().map(|record| record.source.refused).sum::<u32>();
    assert_eq!(refused, 1);
}

/// Samples become refusals with names.
#[test]
fn refusals_are_kept() {
    let (mut daemon, memory) = started();
    for _ in 0..3 {
        let _verdict = memory.connect(ip("192.0.2.7"), SMTP);
    }
    daemon.second(NOW);
    let (kept, _) = daemon.follow_refusals();
    assert_eq!(
        (kept.len(), kept[0].service.as_str(), kept[0].reason.as_str()),
        (1, "smtp", "connections_per_source")
    );
    assert_eq!(memory.world().heartbeats, 1);
}

/// A step that fails makes every service failing, with the reason, until it works again.
#[test]
fn faults_show_in_every_service() {
    let (mut daemon, memory) = started();
    memory.world().broken = Some("heartbeat");
    daemon.second(NOW);
    let status = daemon.status(NOW);
    assert_eq!(status.health, Health::Failing);
    assert!(status.services.iter().all(|service| service.reasons[0].starts_with("heartbeat: ")));
    memory.world().broken = None;
    daemon.second(NOW);
    assert_ne!(daemon.status(NOW).health, Health::Failing);
}

/// A service whose ceiling is reached says so.
#[test]
fn a_full_service_is_degraded() {
    let (mut daemon, memory) = started();
    for address in ["192.0.2.7", "192.0.2.8", "192.0.2.9"] {
        assert_eq!(memory.connect(ip(address), 465), WITHIN);
    }
    let status = daemon.status(NOW);
    let submission = &status.services[1];
    assert_eq!((submission.open, submission.health), (3, Health::Degraded));
    assert!(
        submission.reasons.iter().any(|reason| reason.contains("all 3 connections of its ceiling are open"))
    );
}
