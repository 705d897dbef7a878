//! What the packet path in memory knows, and how it judges.

use std::{collections::BTreeMap, net::IpAddr};

use limiter_common::{
    addr::Addr,
    cell::CELLS,
    decide::{Known, judge},
    event::{Sample, SourceRecord},
    gcra,
    map::{Charge, Living, LivingSums, Source, SourceKey},
    names,
    policy::{CLASS_DEFAULT, UNGUARDED},
    verdict::{PassReason, Point, Verdict},
    word::{ONE_OPEN, Word},
};

use super::SECOND_NS;
use crate::{config::Interfaces, dataplane::DataplaneError, policy::Compiled};

/// Everything the packet path knows.
#[derive(Debug, Default)]
pub struct World {
    /// The policies that were applied, the one in force last.
    pub applied: Vec<Compiled>,
    /// The policy that comes into force by itself, and when.
    pub fallback: Option<(Compiled, u64)>,
    /// The host's own addresses.
    pub local: Vec<IpAddr>,
    /// Sources with an entry.
    pub sources: BTreeMap<SourceKey, Source>,
    /// Charged sockets.
    pub charges: Vec<Charge>,
    /// Counters by service, class and family.
    pub rows: BTreeMap<(u32, u32, u32), [u64; CELLS]>,
    /// Samples that nobody has fetched.
    pub samples: Vec<Sample>,
    /// The clock of the packet path.
    pub now_ns: u64,
    /// How often the daemon said that it is alive.
    pub heartbeats: u64,
    /// Whether everything was detached.
    pub detached: bool,
    /// Whether somebody else took off what was attached.
    pub taken_off: bool,
    /// The interfaces that it was told to guard last.
    pub interfaces: Option<Interfaces>,
    /// Step that fails until this is emptied.
    pub broken: Option<&'static str>,
}

/// What stands about one connection attempt.
pub(super) struct Facts {
    pub(super) key: SourceKey,
    pub(super) class: u32,
    pub(super) known: Known,
    pub(super) has_entry: bool,
}

impl World {
    pub(super) fn policy(&self) -> Option<&Compiled> {
        match &self.fallback {
            Some((policy, at_ns)) if self.now_ns >= *at_ns => Some(policy),
            _ => self.applied.last(),
        }
    }

    /// Returns the class of an address in a service: that of the longest prefix.
    fn class_of(&self, addr: Addr, service: u32) -> u32 {
        let longest = self.policy().and_then(|compiled| {
            let holds = |len| move |at: Addr| addr.masked(Addr::mask(len)) == at;
            let matching = compiled.prefixes.iter().filter(|entry| holds(entry.prefix_len)(entry.addr));
            matching.max_by_key(|entry| entry.prefix_len)
        });
        longest.map_or(CLASS_DEFAULT, |entry| u32::from(entry.class_of.class[service as usize]))
    }

    pub(super) fn facts(&self, compiled: &Compiled, addr: Addr, service: u32) -> Facts {
        let key = SourceKey { addr: compiled.policy.source_of(addr), service };
        let source = self.sources.get(&key);
        let known = Known {
            held: source.map_or(0, |source| source.word.held()),
            tat_ns: source.map_or(0, |source| source.tat_ns),
            now_ns: self.now_ns,
            total: self.total(service),
        };
        Facts { key, class: self.class_of(addr, service), known, has_entry: source.is_some() }
    }

    pub(super) fn records(&self) -> Vec<SourceRecord> {
        self.sources.iter().map(|(key, source)| SourceRecord { key: *key, pad: 0, source: *source }).collect()
    }

    fn open(&self) -> impl Iterator<Item = &Charge> {
        self.charges.iter().filter(|charge| charge.is_open())
    }

    /// Returns sources with their living sockets, as a recount does.
    pub(super) fn counted(&self) -> Vec<SourceRecord> {
        let mut records = self.records();
        for record in &mut records {
            let is_tighter = |class: u16, other: u16| {
                self.policy().is_some_and(|compiled| {
                    compiled.policy.is_tighter(record.key.service, class.into(), other.into())
                })
            };
            let of_it = self.open().filter(|charge| charge.key == record.key);
            record.source.living = of_it.fold(Living::default(), |living, charge| {
                living.and_one(0, charge.class, |other| is_tighter(charge.class, other))
            });
        }
        records
    }

    /// Returns whom sockets are charged to that has no entry.
    pub(super) fn strays(&self) -> Vec<SourceKey> {
        self.open().map(|charge| charge.key).filter(|key| !self.sources.contains_key(key)).collect()
    }

    /// Returns living sockets by service and class.
    pub(super) fn living(&self) -> LivingSums {
        let mut sums = LivingSums::default();
        for charge in self.open() {
            let service = charge.key.service;
            sums.by_class[names::class_cell(service, u32::from(charge.class)) as usize] += 1;
            sums.in_total[service as usize % names::SERVICES] +=
                u32::from(charge.state & Charge::IN_TOTAL != 0);
        }
        sums
    }

    pub(super) fn total(&self, service: u32) -> u32 {
        let charged =
            |charge: &&Charge| charge.key.service == service && charge.state & Charge::IN_TOTAL != 0;
        u32::try_from(self.charges.iter().filter(charged).count()).unwrap_or(u32::MAX)
    }

    /// Returns open connections by [`class_cell`](names::class_cell).
    pub(super) fn connections(&self) -> Vec<u64> {
        let mut connections = vec![0; names::SERVICES * names::CLASSES];
        for charge in &self.charges {
            connections[names::class_cell(charge.key.service, u32::from(charge.class)) as usize] += 1;
        }
        connections
    }

    pub(super) fn verdict(compiled: &Compiled, service: u32, facts: &Facts) -> Verdict {
        let rules = compiled.policy.service(service);
        let limits = compiled.policy.limits_of(service, facts.class);
        judge(limits, rules.ceiling, &facts.known, rules, || false)
    }

    pub(super) fn connect(&mut self, addr: Addr, port: u16) -> Verdict {
        let Some(compiled) = self.policy().cloned() else {
            return Verdict::Pass(PassReason::FailOpen);
        };
        let service = compiled.policy.service_of(port);
        if service == UNGUARDED {
            return Verdict::Pass(PassReason::WithinLimits);
        }
        let facts = self.facts(&compiled, addr, service);
        let verdict = Self::verdict(&compiled, service, &facts);
        let row = self.rows.entry((service, facts.class, addr.family() as u32)).or_insert([0; CELLS]);
        row[verdict.cell(Point::Gate)] += 1;
        if !matches!(verdict, Verdict::Pass(_)) {
            let cell = u32::try_from(verdict.cell(Point::Gate)).unwrap_or(u32::MAX);
            let (class, port) = (facts.class, u32::from(port));
            self.samples.push(Sample { at_ns: self.now_ns, addr, service, class, cell, port });
        }
        if !matches!(verdict, Verdict::Pass(_))
            && let Some(source) = self.sources.get_mut(&facts.key)
        {
            source.refused = source.refused.wrapping_add(1);
            if verdict.is_over_own_limit() {
                source.over_limit_at_s = u32::try_from(self.now_ns / SECOND_NS).unwrap_or(u32::MAX);
            }
        }
        if verdict.is_refusal() {
            return verdict;
        }
        self.charge(&compiled, addr, port, &facts);
        verdict
    }

    fn charge(&mut self, compiled: &Compiled, addr: Addr, port: u16, facts: &Facts) {
        let now_ns = self.now_ns;
        let in_total = compiled.policy.counts_in_total(facts.key.service, facts.class);
        let state = Charge::CHARGED | if in_total { Charge::IN_TOTAL } else { 0 };
        let class = u16::try_from(facts.class).unwrap_or_default();
        self.charges.push(Charge { key: facts.key, class, port, addr, state });
        let source = self
            .sources
            .entry(facts.key)
            .or_insert_with(|| Source { word: Word::idle(facts.key.hash(0)), ..Source::default() });
        source.word = Word(source.word.0.wrapping_add(ONE_OPEN));
        source.accepted = source.accepted.wrapping_add(1);
        source.accepted_at_s = u32::try_from(now_ns / SECOND_NS).unwrap_or(u32::MAX);
        let quota = compiled.policy.limits_of(facts.key.service, facts.class).quota;
        if let Some(next) = gcra::charge(source.tat_ns, now_ns, quota).filter(|_| quota.is_some()) {
            source.tat_ns = next;
        }
    }

    pub(super) fn close(&mut self, addr: Addr, port: u16) -> bool {
        let service = self.policy().map(|compiled| compiled.policy.service_of(port));
        let of_it = |charge: &Charge| charge.addr == addr && Some(charge.key.service) == service;
        let Some(at) = self.charges.iter().position(of_it) else {
            return false;
        };
        let charge = self.charges.swap_remove(at);
        if let Some(source) = self.sources.get_mut(&charge.key) {
            source.word = Word(source.word.0.wrapping_sub(ONE_OPEN));
        }
        true
    }

    pub(super) fn check(&self, operation: &'static str) -> Result<(), DataplaneError> {
        if self.broken != Some(operation) {
            return Ok(());
        }
        Err(DataplaneError::Map { map: "MEMORY", operation, source: anyhow::anyhow!("a test broke it") })
    }
}
