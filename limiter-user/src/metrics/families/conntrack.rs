//! What connection tracking shows: entries, events, statistics, fill and the cross-check.

use std::collections::BTreeMap;

use prometheus_client::metrics::MetricType;

use super::{Family, Labels, Value};
use crate::{
    conntrack::{OUTBOUND, View, cross::FindingKind, guard::OUTBOUND_NAME, message::State, view::Standing},
    daemon::snapshot::Snapshot,
};

/// Returns the families of connection tracking; they have no samples while it is not watched.
pub(super) fn families(snapshot: &Snapshot) -> Vec<Family> {
    let view = &snapshot.conntrack;
    let is_watched = matches!(view.standing, Standing::Watching | Standing::Looking);
    let seen = |samples: Vec<(Labels, Value)>| if is_watched { samples } else { Vec::new() };
    vec![
        Family {
            name: "limiter_conntrack_entries",
            help: "Entries of connection tracking for guarded ports and outbound mail, by state",
            kind: MetricType::Gauge,
            samples: seen(by_service(snapshot, State::ALL, "state", State::label, |id, state| {
                u64::from(view.counts.of(id, state))
            })),
        },
        Family {
            name: "limiter_conntrack_events",
            help: "Events of connection tracking, by type; a resync looks at the whole table after an overrun",
            kind: MetricType::Counter,
            samples: labelled("type", view.events.by_type()),
        },
        Family {
            name: "limiter_conntrack_stat",
            help: "The statistics that connection tracking keeps of this network namespace, over all CPUs",
            kind: MetricType::Counter,
            samples: seen(labelled("stat", view.statistics.iter())),
        },
        Family {
            name: "limiter_conntrack_fill_ratio",
            help: "How full the table of connection tracking is; 1 is full",
            kind: MetricType::Gauge,
            samples: fill(view),
        },
        Family {
            name: "limiter_conntrack_findings",
            help: "Open connections without an entry, and established entries without an open connection",
            kind: MetricType::Gauge,
            samples: seen(by_service(snapshot, FindingKind::ALL, "kind", FindingKind::label, |id, kind| {
                view.findings.get(&(id, kind)).copied().unwrap_or(0)
            })),
        },
    ]
}

fn fill(view: &View) -> Vec<(Labels, Value)> {
    view.fill.iter().map(|fill| (Labels::new(), Value::Ratio(fill.ratio()))).collect()
}

fn labelled(
    label: &'static str,
    counts: impl IntoIterator<Item = (&'static str, u64)>,
) -> Vec<(Labels, Value)> {
    counts.into_iter().map(|(name, count)| (vec![(label, name.to_owned())], Value::Whole(count))).collect()
}

/// Returns a sample for every service and value of another label.
fn by_service<T: Copy, const N: usize>(
    snapshot: &Snapshot,
    values: [T; N],
    label: &'static str,
    name: impl Fn(T) -> &'static str,
    count: impl Fn(u32, T) -> u64,
) -> Vec<(Labels, Value)> {
    let services = (0_u32..).zip(&snapshot.names.services);
    let configured = services
        .filter(|(_, name)| snapshot.services.iter().any(|service| service.name == **name))
        .map(|(id, name)| (id, name.as_str()));
    // A service may have the name that outbound mail goes by: one series for both.
    let mut samples: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for (id, service) in configured.chain([(OUTBOUND, OUTBOUND_NAME)]) {
        for value in values {
            *samples.entry((service, name(value))).or_default() += count(id, value);
        }
    }
    let labels =
        |service: &str, value: &str| vec![("service", service.to_owned()), (label, value.to_owned())];
    samples
        .into_iter()
        .map(|((service, value), count)| (labels(service, value), Value::Whole(count)))
        .collect()
}
