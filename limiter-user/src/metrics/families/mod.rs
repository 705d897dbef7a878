//! Names, help and samples of every metric; what a watcher exports is in a file of its own.
//!
//! A counter's name is given without `_total`, that of an info without `_info`:
//! `OpenMetrics` adds them. docs/metrics.md explains each family; a test compares.

mod host;
mod judgement;
mod recorder;
mod witness;

use limiter_common::{addr::Family as IpFamily, verdict::Verdict, witness::FirstBytes};
use prometheus_client::metrics::MetricType;

use crate::{
    config::Mode,
    control::protocol::{BreakerState, attached},
    daemon::snapshot::{ServiceSnapshot, Snapshot},
    dataplane::CounterRow,
    version::{COMMIT, VERSION},
};

mod conntrack;

/// Labels of one sample: names and values.
pub type Labels = Vec<(&'static str, String)>;

/// A value of one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A count that only grows, a gauge that is a whole number, or the 1 of an info.
    Whole(u64),
    /// A ratio.
    Ratio(f64),
    /// Times in buckets.
    Times(FirstBytes),
}

/// One metric family and its samples.
#[derive(Clone, Debug)]
pub struct Family {
    /// Its name, without a suffix.
    pub name: &'static str,
    /// What it means, and its unit; without a full stop.
    pub help: &'static str,
    /// Its type.
    pub kind: MetricType,
    /// Its samples.
    pub samples: Vec<(Labels, Value)>,
}

impl Family {
    /// Returns the name that samples have.
    #[must_use]
    pub fn sample_name(&self) -> String {
        let suffix = match self.kind {
            MetricType::Counter => "_total",
            MetricType::Info => "_info",
            MetricType::Gauge | MetricType::Histogram | MetricType::Unknown => "",
        };
        format!("{}{suffix}", self.name)
    }
}

/// Returns every family.
#[must_use]
pub fn families(snapshot: &Snapshot) -> Vec<Family> {
    let mut families = traffic(snapshot);
    families.extend(services(snapshot));
    families.extend(witness::families(&snapshot.sight));
    families.extend(policy(snapshot));
    families.extend(daemon(snapshot));
    families.extend(judgement::families(&snapshot.judgement));
    families.extend(conntrack::families(snapshot));
    families.extend(recorder::recorder(snapshot));
    families.extend(host::families(&snapshot.host_changes));
    families
}

fn traffic(snapshot: &Snapshot) -> Vec<Family> {
    vec![
        Family {
            name: "limiter_packets",
            help: "Verdicts on connection attempts, in packets: what was decided, why, and where",
            kind: MetricType::Counter,
            samples: snapshot.rows.iter().flat_map(|row| packets(snapshot, row)).collect(),
        },
        Family {
            name: "limiter_fail_open",
            help: "Doubts inside limiter that let a packet pass unjudged or a connection uncounted, in events",
            kind: MetricType::Counter,
            samples: snapshot
                .fail_opens
                .iter()
                .map(|(why, count)| (vec![("why", why.label().to_owned())], Value::Whole(*count)))
                .collect(),
        },
        Family {
            name: "limiter_samples",
            help: "Samples of refusals that the daemon received, at most one per source in ten seconds",
            kind: MetricType::Counter,
            samples: vec![(Labels::new(), Value::Whole(snapshot.samples))],
        },
    ]
}

/// Returns the samples of one counter row: those that have counted anything.
fn packets<'a>(snapshot: &'a Snapshot, row: &'a CounterRow) -> impl Iterator<Item = (Labels, Value)> + 'a {
    let family = IpFamily::ALL.get(row.family as usize).map_or("unknown", |family| family.label());
    row.counters.cells.iter().enumerate().filter(|(_, count)| **count > 0).filter_map(move |(cell, count)| {
        let (point, verdict) = Verdict::of_cell(cell)?;
        let labels = vec![
            ("service", snapshot.names.service(row.service).to_owned()),
            ("verdict", verdict.label().to_owned()),
            ("reason", verdict.reason_label().to_owned()),
            ("point", point.label().to_owned()),
            ("class", snapshot.names.class(row.class).to_owned()),
            ("family", family.to_owned()),
        ];
        Some((labels, Value::Whole(*count)))
    })
}

fn services(snapshot: &Snapshot) -> Vec<Family> {
    let each = |value: fn(&ServiceSnapshot) -> Value| {
        let services = snapshot.services.iter();
        services.map(|service| (vec![("service", service.name.clone())], value(service))).collect()
    };
    vec![
        Family {
            name: "limiter_connections",
            help: "Open connections, by the class they were counted under",
            kind: MetricType::Gauge,
            samples: snapshot.services.iter().flat_map(connections).collect(),
        },
        Family {
            name: "limiter_connections_limit_ratio_max",
            help: "Highest share that any source has of its limit on open connections; 1 is at the limit",
            kind: MetricType::Gauge,
            samples: each(|service| Value::Ratio(service.limit_ratio_max)),
        },
        Family {
            name: "limiter_sources",
            help: "Sources with open connections",
            kind: MetricType::Gauge,
            samples: each(|service| Value::Whole(service.sources)),
        },
        Family {
            name: "limiter_recount_drift",
            help: "Connections by which counts of sources had drifted from the living sockets, and were corrected",
            kind: MetricType::Counter,
            samples: each(|service| Value::Whole(service.drift)),
        },
        Family {
            name: "limiter_mode",
            help: "1 for the mode a service is in, 0 for the other",
            kind: MetricType::Gauge,
            samples: snapshot.services.iter().flat_map(modes).collect(),
        },
        Family {
            name: "limiter_breaker_open",
            help: "1 while the circuit breaker has suspended the limits of single sources, or tries them again, else 0",
            kind: MetricType::Gauge,
            samples: each(|service| Value::Whole(u64::from(service.breaker != BreakerState::Closed))),
        },
        Family {
            name: "limiter_canary_failures",
            help: "Addresses of exempt classes whose next SYN would be refused, as the packet path says when asked",
            kind: MetricType::Gauge,
            samples: each(|service| Value::Whole(service.canary_failures)),
        },
    ]
}

fn connections(service: &ServiceSnapshot) -> impl Iterator<Item = (Labels, Value)> + '_ {
    service.connections.iter().map(|(class, open)| {
        (vec![("service", service.name.clone()), ("class", class.clone())], Value::Whole(*open))
    })
}

fn modes(service: &ServiceSnapshot) -> impl Iterator<Item = (Labels, Value)> + '_ {
    [Mode::Observe, Mode::Enforce].into_iter().map(|mode| {
        let labels = vec![("service", service.name.clone()), ("mode", mode.to_string())];
        (labels, Value::Whole(u64::from(service.mode == mode)))
    })
}

fn policy(snapshot: &Snapshot) -> Vec<Family> {
    let outcome = |outcome: &str, count| (vec![("outcome", outcome.to_owned())], Value::Whole(count));
    vec![
        Family {
            name: "limiter_policy_revision",
            help: "Number of the policy in force",
            kind: MetricType::Gauge,
            samples: vec![(Labels::new(), Value::Whole(u64::from(snapshot.revision)))],
        },
        Family {
            name: "limiter_policy",
            help: "Hash of the configuration in force, to compare hosts",
            kind: MetricType::Info,
            samples: vec![(vec![("hash", snapshot.hash.clone())], Value::Whole(1))],
        },
        Family {
            name: "limiter_reloads",
            help: "Reloads of the configuration, by outcome",
            kind: MetricType::Counter,
            samples: vec![outcome("done", snapshot.reloads.done), outcome("failed", snapshot.reloads.failed)],
        },
        Family {
            name: "limiter_map_fill_ratio",
            help: "How full a map of the packet path is; 1 is full",
            kind: MetricType::Gauge,
            samples: snapshot
                .map_fill
                .iter()
                .map(|(map, fill)| (vec![("map", (*map).to_owned())], Value::Ratio(*fill)))
                .collect(),
        },
        Family {
            name: "limiter_preset_age_seconds",
            help: "Time since the date of a preset in use, in seconds",
            kind: MetricType::Gauge,
            samples: snapshot
                .preset_ages_s
                .iter()
                .map(|(preset, age_s)| (vec![("preset", (*preset).to_owned())], Value::Whole(*age_s)))
                .collect(),
        },
    ]
}

fn daemon(snapshot: &Snapshot) -> Vec<Family> {
    let attachments = snapshot.attachments.iter().map(|attachment| {
        let mode = attached(attachment.mode);
        (vec![("interface", attachment.interface.clone()), ("mode", mode.to_owned())], Value::Whole(1))
    });
    vec![
        Family {
            name: "limiter_attach",
            help: "How an interface is guarded",
            kind: MetricType::Info,
            samples: attachments.collect(),
        },
        Family {
            name: "limiter_interface_changes",
            help: "Interfaces that began or ceased to be guarded since the daemon started",
            kind: MetricType::Counter,
            samples: vec![(Labels::new(), Value::Whole(snapshot.interface_changes))],
        },
        Family {
            name: "limiter_panic",
            help: "1 while everything is detached by `limiterctl panic`",
            kind: MetricType::Gauge,
            samples: vec![(Labels::new(), Value::Whole(u64::from(snapshot.is_panic)))],
        },
        Family {
            name: "limiter_faults",
            help: "Steps of the daemon that fail at the moment",
            kind: MetricType::Gauge,
            samples: vec![(Labels::new(), Value::Whole(snapshot.faults as u64))],
        },
        Family {
            name: "limiter_recount_age_seconds",
            help: "Time since open connections were last recounted, in seconds",
            kind: MetricType::Gauge,
            samples: snapshot
                .recount_age_s
                .iter()
                .map(|age_s| (Labels::new(), Value::Whole(*age_s)))
                .collect(),
        },
        Family {
            name: "limiter_build",
            help: "Version and commit of limiterd",
            kind: MetricType::Info,
            samples: vec![(
                vec![("version", VERSION.to_owned()), ("commit", COMMIT.to_owned())],
                Value::Whole(1),
            )],
        },
    ]
}
