//! What the rest of the kernel does to packets of mail, as the witness sees it.

use limiter_common::witness::FirstBytes;
use prometheus_client::metrics::MetricType;

use super::{Family, Labels, Value};
use crate::witness::{
    Sight,
    netstat::Totals,
    sight::{Drops, Queues, Retransmits},
};

/// Returns the families of the witness.
pub(super) fn families(sight: &Sight) -> Vec<Family> {
    let mut families = drops(sight);
    families.extend(connections(sight));
    families.extend(queues(sight));
    families
}

fn drops(sight: &Sight) -> Vec<Family> {
    let each = |drops: &[Drops]| drops.iter().map(dropped).collect();
    vec![
        Family {
            name: "limiter_kernel_drops",
            help: "Packets on mail ports that the kernel dropped, by its own reason; ours are among them where it frees them",
            kind: MetricType::Counter,
            samples: each(&sight.drops),
        },
        Family {
            name: "limiter_established_drops",
            help: "Packets of live connections that a policy of the host dropped, which limiter never does; expected to be 0",
            kind: MetricType::Counter,
            samples: each(&sight.established),
        },
        Family {
            name: "limiter_witness",
            help: "1 while the kernel tells what it drops, 0 while it does not or need not",
            kind: MetricType::Gauge,
            samples: vec![(Labels::new(), Value::Whole(u64::from(sight.is_watching)))],
        },
        Family {
            name: "limiter_witness_lost",
            help: "What the witness could not take in, its room being full, in events",
            kind: MetricType::Counter,
            samples: counts("what", &sight.lost),
        },
    ]
}

/// Returns a sample for each count, with its name under one label.
fn counts<'a, N: ToString + 'a>(
    label: &'static str,
    counts: impl IntoIterator<Item = &'a (N, u64)>,
) -> Vec<(Labels, Value)> {
    let sample = |(name, count): &(N, u64)| (vec![(label, name.to_string())], Value::Whole(*count));
    counts.into_iter().map(sample).collect()
}

fn dropped(drops: &Drops) -> (Labels, Value) {
    let labels = vec![
        ("service", drops.service.clone()),
        ("direction", drops.direction.to_owned()),
        ("reason", drops.reason.clone()),
    ];
    (labels, Value::Whole(drops.packets))
}

fn connections(sight: &Sight) -> Vec<Family> {
    let retransmits = |value: fn(&Retransmits) -> u64| {
        let labels = |kind: &Retransmits| {
            vec![("service", kind.service.clone()), ("direction", kind.direction.to_owned())]
        };
        sight.retransmits.iter().map(|kind| (labels(kind), Value::Whole(value(kind)))).collect()
    };
    let first_byte =
        |(service, times): &(String, FirstBytes)| (vec![("service", service.clone())], Value::Times(*times));
    vec![
        Family {
            name: "limiter_silent_connections",
            help: "Connections on which the server has not spoken within [witness] silent_after of the handshake",
            kind: MetricType::Gauge,
            samples: counts("service", &sight.silent),
        },
        Family {
            name: "limiter_first_byte_seconds",
            help: "Time from handshake to the server's first byte, in seconds, without the round trip",
            kind: MetricType::Histogram,
            samples: sight.first_bytes.iter().map(first_byte).collect(),
        },
        Family {
            name: "limiter_retransmits",
            help: "Segments sent again: in for connections of clients, out for those that this host opened",
            kind: MetricType::Counter,
            samples: retransmits(|kind| kind.segments),
        },
        Family {
            name: "limiter_retransmit_timeouts",
            help: "Segments sent again because a timer ran out, a part of limiter_retransmits_total",
            kind: MetricType::Counter,
            samples: retransmits(|kind| kind.timeouts),
        },
        Family {
            name: "limiter_upstream_syn_retransmits",
            help: "SYNs sent again to a declared upstream: it does not answer, or its answer does not arrive",
            kind: MetricType::Counter,
            samples: counts("upstream", &sight.upstream_syns),
        },
    ]
}

fn queues(sight: &Sight) -> Vec<Family> {
    let total = |value: fn(&Totals) -> u64| {
        sight.totals.iter().map(|totals| (Labels::new(), Value::Whole(value(totals)))).collect()
    };
    let fill = |queues: &Queues| {
        [("accept", queues.accept), ("syn", queues.syn)].map(|(queue, fill)| {
            (vec![("service", queues.service.clone()), ("queue", queue.to_owned())], Value::Ratio(fill))
        })
    };
    let listener = |queues: &Queues| (vec![("service", queues.service.clone())], Value::Whole(queues.drops));
    let interfaces = sight.totals.iter().flat_map(|totals| &totals.interface_drops);
    vec![
        Family {
            name: "limiter_listen_queue_ratio_max",
            help: "How full the fullest queue of a service's listeners is; above 1 the accept queue overflows",
            kind: MetricType::Gauge,
            samples: sight.queues.iter().flat_map(fill).collect(),
        },
        Family {
            name: "limiter_listener_drops",
            help: "Packets that the listeners of a service dropped, their queues being full or memory short",
            kind: MetricType::Counter,
            samples: sight.queues.iter().map(listener).collect(),
        },
        Family {
            name: "limiter_accept_queue_overflows",
            help: "Connections that found the accept queue of their listener full, of all listeners of the host",
            kind: MetricType::Counter,
            samples: total(|totals| totals.accept_queue_overflows),
        },
        Family {
            name: "limiter_syn_queue_overflows",
            help: "SYNs that found the SYN queue of their listener full, of all listeners of the host",
            kind: MetricType::Counter,
            samples: total(|totals| totals.syn_queue_overflows),
        },
        Family {
            name: "limiter_softnet_drops",
            help: "Packets that a CPU dropped with its backlog full, whatever their port",
            kind: MetricType::Counter,
            samples: total(|totals| totals.softnet_drops),
        },
        Family {
            name: "limiter_interface_receive_drops",
            help: "Packets that an interface dropped on receipt, whatever their port",
            kind: MetricType::Counter,
            samples: counts("interface", interfaces),
        },
    ]
}
