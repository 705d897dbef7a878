//! Everything that metrics show, read from the packet path at one time.

use std::collections::BTreeSet;

use limiter_common::{
    map::FailOpen,
    names::{self, class_cell},
};

use crate::{
    clock::Now,
    config::Mode,
    conntrack::View,
    control::protocol::BreakerState,
    dataplane::{Attachment, CounterRow},
    host::What,
    policy::Names,
    recorder::Figures,
    witness::Sight,
};

use super::{Daemon, judgement::Judgement, state::Reloads};

/// What metrics show.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Names of the ids in it.
    pub names: Names,
    /// Verdicts by service, class and family.
    pub rows: Vec<CounterRow>,
    /// Doubts of the packet path.
    pub fail_opens: Vec<(FailOpen, u64)>,
    /// The services of the policy in force.
    pub services: Vec<ServiceSnapshot>,
    /// What limiter makes of services and classes.
    pub judgement: Judgement,
    /// How full maps are, from 0 to 1.
    pub map_fill: Vec<(&'static str, f64)>,
    /// The revision in force.
    pub revision: u32,
    /// The hash of the configuration in force.
    pub hash: String,
    /// What is attached where.
    pub attachments: Vec<Attachment>,
    /// How often the configuration was read anew.
    pub reloads: Reloads,
    /// How often an interface began or ceased to be guarded.
    pub interface_changes: u64,
    /// Whether everything was detached in a panic.
    pub is_panic: bool,
    /// Samples of refusals seen.
    pub samples: u64,
    /// Steps of the daemon that fail at the moment.
    pub faults: usize,
    /// Seconds since the date of each preset in use.
    pub preset_ages_s: Vec<(&'static str, u64)>,
    /// What the flight recorder has written.
    pub recorder: Figures,
    /// When it was read.
    pub now: Now,
    /// What the witness has seen.
    pub sight: Sight,
    /// What connection tracking shows.
    pub conntrack: View,
    /// What of the host is not as it was acknowledged.
    pub host_changes: BTreeSet<What>,
    /// Seconds since the last recount; none before the first.
    pub recount_age_s: Option<u64>,
}

/// What metrics show of a service.
#[derive(Clone, Debug)]
pub struct ServiceSnapshot {
    /// Its name.
    pub name: String,
    /// The mode in force.
    pub mode: Mode,
    /// What its circuit breaker is up to.
    pub breaker: BreakerState,
    /// Exempt addresses that would be refused.
    pub canary_failures: u64,
    /// Open connections by class.
    pub connections: Vec<(String, u64)>,
    /// Sources with open connections.
    pub sources: u64,
    /// The highest share that a source has of its limit.
    pub limit_ratio_max: f64,
    /// Connections by which counts had drifted.
    pub drift: u64,
}

impl Daemon {
    /// Reads everything that metrics show; what cannot be read is left out and becomes a fault.
    pub fn snapshot(&mut self, now: Now) -> Snapshot {
        let ids = |names: &[String]| u32::try_from(names.len()).unwrap_or(u32::MAX);
        let names = self.compiled.names.clone();
        let rows = self.dataplane.counters(ids(&names.services), ids(&names.classes));
        let rows = self.faults.note("counters", rows).unwrap_or_default();
        let connections = self.dataplane.connections();
        let connections = self.faults.note("connections", connections).unwrap_or_default();
        let fail_opens = self.dataplane.fail_opens();
        let fail_opens = self.faults.note("doubts", fail_opens).unwrap_or_default();
        let mut snapshot = Snapshot {
            rows,
            fail_opens,
            judgement: Judgement::default(),
            services: self.service_snapshots(&connections),
            map_fill: vec![
                ("sources", share(self.recounts.sources().len(), names::SOURCES)),
                ("prefixes", share(self.compiled.prefixes.len(), names::PREFIXES)),
                ("local_addresses", share(self.intent.local.len(), names::LOCAL_ADDRESSES)),
            ],
            revision: self.revision(),
            hash: self.compiled.hash.clone(),
            attachments: self.dataplane.attachments(),
            reloads: self.reloads,
            interface_changes: self.interface_changes,
            is_panic: self.panicked.is_some(),
            samples: self.refusals.seen(),
            faults: self.faults.count(),
            preset_ages_s: self
                .presets(now)
                .into_iter()
                .map(|(preset, age)| (preset.name, age.as_secs()))
                .collect(),
            sight: self.sight(),
            recorder: self.events.figures(),
            host_changes: self.host_state.kinds(),
            now,
            conntrack: self.conntrack.view(),
            recount_age_s: self
                .recounts
                .last_at()
                .map(|at| now.monotonic_s().saturating_sub(at.monotonic_s())),
            names,
        };
        snapshot.judgement = self.judgement(&snapshot);
        snapshot
    }

    fn service_snapshots(&self, connections: &[u64]) -> Vec<ServiceSnapshot> {
        let services = self.intent.config.services.iter();
        services
            .filter_map(|service| self.ids.service(&service.name).map(|id| (id, service)))
            .map(|(id, service)| ServiceSnapshot {
                name: service.name.clone(),
                mode: self.intent.mode(service),
                canary_failures: self.canaries.failures(id).count() as u64,
                breaker: self.breakers.shown(&service.name),
                connections: (0_u32..)
                    .zip(&self.compiled.names.classes)
                    .filter_map(|(class, name)| {
                        let open = connections.get(class_cell(id, class) as usize)?;
                        Some((name.clone(), *open))
                    })
                    .collect(),
                sources: of(&self.summary.sources_open, id),
                limit_ratio_max: of(&self.summary.limit_ratio_max, id),
                drift: of(self.recounts.drift(), id),
            })
            .collect()
    }
}

/// Returns what belongs to a service.
fn of<T: Copy + Default>(by_service: &[T], id: u32) -> T {
    by_service.get(id as usize).copied().unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "capacities are far below 2^52")]
fn share(used: usize, capacity: usize) -> f64 {
    used as f64 / capacity as f64
}
