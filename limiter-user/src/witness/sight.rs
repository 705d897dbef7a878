//! What the witness has seen, as metrics show it.

use std::collections::BTreeMap;

use limiter_common::witness::{DropKey, FLOWS, FirstBytes, IN, OUT, RetransmitKey, Tag};

use super::{Witness, listeners::Listener, netstat::Totals, tags::OUTBOUND};
use crate::policy::Names;

/// The reason that a series exists for from the start, so that its first drop is an increase.
const USUAL: &str = "NETFILTER_DROP";

/// What metrics show of the witness.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// Dropped packets: service, direction, reason.
    pub drops: Vec<Drops>,
    /// The part of them that belonged to live connections and met a policy.
    pub established: Vec<Drops>,
    /// Retransmitted segments, and those of them after a time-out: service, direction.
    pub retransmits: Vec<Retransmits>,
    /// SYNs that were sent again to each upstream.
    pub upstream_syns: Vec<(String, u64)>,
    /// Time from handshake to first byte, by service.
    pub first_bytes: Vec<(String, FirstBytes)>,
    /// Connections on which the server has not spoken, by service.
    pub silent: Vec<(String, u64)>,
    /// Queues of each service's listeners.
    pub queues: Vec<Queues>,
    /// Totals of the network stack.
    pub totals: Option<Totals>,
    /// What the witness lost, by what.
    pub lost: Vec<(&'static str, u64)>,
    /// How full the map of live connections is, from 0 to 1.
    pub flows_fill: Option<f64>,
    /// Whether the kernel tells of its drops.
    pub is_watching: bool,
}

/// Dropped packets of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drops {
    /// The service, `outbound`, or an upstream.
    pub service: String,
    /// `in` or `out`.
    pub direction: &'static str,
    /// The kernel's name of the reason.
    pub reason: String,
    /// How many.
    pub packets: u64,
}

/// Retransmitted segments of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retransmits {
    /// The service, `outbound`, or an upstream.
    pub service: String,
    /// `in` for connections that clients opened, `out` for those of this host.
    pub direction: &'static str,
    /// How many.
    pub segments: u64,
    /// Those of them that were sent because a timer ran out.
    pub timeouts: u64,
}

/// Queues of the listeners of one service.
#[derive(Clone, Debug, PartialEq)]
pub struct Queues {
    /// The service.
    pub service: String,
    /// How full the fullest queue of connections to be accepted is; above 1 it overflows.
    pub accept: f64,
    /// How full the fullest queue of incomplete handshakes is.
    pub syn: f64,
    /// Packets that its listeners dropped since the witness began.
    pub drops: u64,
}

/// Returns the word for a direction.
#[must_use]
pub const fn direction(direction: u8) -> &'static str {
    if direction == IN { "in" } else { "out" }
}

impl Witness {
    /// Returns what was seen; `services` has names and ids of those in force, each with its ports.
    ///
    /// # Errors
    ///
    /// When the kernel does not tell.
    pub fn sight(&self, services: &[(String, u32, Vec<u16>)], names: &Names) -> anyhow::Result<Sight> {
        let mut sight = Sight {
            is_watching: self.kernel.is_some(),
            totals: self.totals.clone(),
            queues: if self.totals.is_some() { self.queues(services) } else { Vec::new() },
            ..Sight::default()
        };
        let Some(kernel) = &self.kernel else {
            return Ok(sight);
        };
        let tags = || services.iter().map(|(name, id, _)| (name.clone(), *id));
        let labels = || tags().map(|(name, _)| name);
        let drops = kernel.drops()?;
        let outbound = || labels().chain([OUTBOUND.to_owned()]);
        sight.drops = self.summed(&drops, |_| true, outbound(), names);
        sight.established = self.summed(&drops, |key| key.established != 0, outbound(), names);
        let retransmits = kernel.retransmits()?;
        sight.retransmits = self.retransmits(&retransmits, labels(), names);
        sight.upstream_syns = self.upstream_syns(&retransmits);
        for (name, id) in tags() {
            let tag = u8::try_from(id).unwrap_or(Tag::NONE.0);
            sight.first_bytes.push((name.clone(), kernel.first_bytes(tag)?));
            sight.silent.push((name, self.silence.of_service(id).0));
        }
        sight.lost = kernel.lost()?.into_iter().map(|(what, count)| (what.label(), count)).collect();
        sight.flows_fill = Some(share(self.silence.known(), FLOWS as u64));
        Ok(sight)
    }

    /// Returns how full the fullest queues of each service's listeners are, and what they dropped.
    fn queues(&self, services: &[(String, u32, Vec<u16>)]) -> Vec<Queues> {
        let of_service = |(name, _, ports): &(String, u32, Vec<u16>)| {
            let listeners = || self.listeners.iter().filter(|listener| ports.contains(&listener.port));
            let fullest = |queue: fn(&Listener) -> u32| {
                let shares =
                    listeners().map(|one| share(u64::from(queue(one)), u64::from(one.backlog.max(1))));
                shares.fold(0.0, f64::max)
            };
            Queues {
                service: name.clone(),
                accept: fullest(|listener| listener.accept_queue),
                syn: fullest(|listener| listener.syn_queue),
                drops: self.recent.dropped_by(ports),
            }
        };
        services.iter().map(of_service).collect()
    }

    fn retransmits(
        &self,
        counted: &[(RetransmitKey, u64)],
        services: impl Iterator<Item = String>,
        names: &Names,
    ) -> Vec<Retransmits> {
        let mut sums: BTreeMap<(String, &'static str), (u64, u64)> = BTreeMap::new();
        for service in services {
            sums.insert((service, direction(IN)), (0, 0));
        }
        sums.insert((OUTBOUND.to_owned(), direction(OUT)), (0, 0));
        for (key, count) in counted {
            let label = (self.upstreams.label(key.tag, names), direction(key.direction));
            let (segments, timeouts) = sums.entry(label).or_default();
            *segments += count;
            *timeouts += if key.timeout == 0 { 0 } else { *count };
        }
        let shown = |((service, direction), (segments, timeouts))| Retransmits {
            service,
            direction,
            segments,
            timeouts,
        };
        sums.into_iter().map(shown).collect()
    }

    fn upstream_syns(&self, counted: &[(RetransmitKey, u64)]) -> Vec<(String, u64)> {
        let numbered = (0_u8..).zip(self.upstreams.names());
        let of_upstream = |(number, name): (u8, &String)| {
            let is_its_syn = |key: &RetransmitKey| key.syn != 0 && Tag(key.tag).as_upstream() == Some(number);
            let syns = counted.iter().filter(|(key, _)| is_its_syn(key)).map(|(_, count)| count).sum();
            (name.clone(), syns)
        };
        numbered.map(of_upstream).collect()
    }

    /// Returns the sums of dropped packets by service, direction and reason, with a 0 for what is
    /// usual: the first drop is an increase then.
    fn summed(
        &self,
        drops: &[(DropKey, u64)],
        wanted: fn(&DropKey) -> bool,
        services: impl Iterator<Item = String>,
        names: &Names,
    ) -> Vec<Drops> {
        let mut sums: BTreeMap<(String, &'static str, String), u64> = BTreeMap::new();
        for service in services {
            for way in [IN, OUT] {
                sums.insert((service.clone(), direction(way), USUAL.to_owned()), 0);
            }
        }
        for (key, count) in drops.iter().filter(|(key, _)| wanted(key)) {
            let service = self.upstreams.label(key.tag, names);
            *sums.entry((service, direction(key.direction), self.reasons.name(key.reason))).or_default() +=
                count;
        }
        let shown = |((service, direction, reason), packets)| Drops { service, direction, reason, packets };
        sums.into_iter().map(shown).collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "capacities are far below 2^52")]
fn share(used: u64, capacity: u64) -> f64 {
    used as f64 / capacity as f64
}
