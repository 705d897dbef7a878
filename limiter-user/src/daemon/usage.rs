//! What used each exemption that was made at run time: connections by the rule that decided on their source.
//!
//! Counted in user space from what successive recounts saw of each source, so
//! it costs packets nothing, begins with the daemon, and takes a source as a
//! whole: a rule longer than the prefix of a source is not told from the rest of it.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use ipnet::IpNet;
use limiter_common::{event::SourceRecord, map::SourceKey};

use crate::{
    clock::Now,
    control::protocol::RuleUse,
    policy::{Origin, Rule, ServiceSet, Table},
};

/// Whose use it is: the prefix of a rule, and the services it holds for.
type Key = (IpNet, u32);

/// The use of every rule.
#[derive(Debug, Default)]
pub struct Usage {
    by_rule: HashMap<Key, RuleUse>,
    index: Index,
}

/// The rules by prefix, made anew for each revision that is asked about.
#[derive(Debug, Default)]
struct Index {
    revision: Option<u32>,
    rules: HashMap<IpNet, Vec<Rule>>,
    lengths: [BTreeSet<u8>; 2],
}

fn key(prefix: IpNet, services: ServiceSet) -> Key {
    (prefix, services.bits())
}

impl Usage {
    /// Takes in what sources did between two looks at them.
    pub fn take(&mut self, table: &Table, revision: u32, before: &Counts, now: &[SourceRecord], at: Now) {
        self.index.renew(table, revision);
        for record in now {
            let accepted = before.since(record);
            if accepted == 0 {
                continue;
            }
            let Some(rule) = self.index.winner(record.key) else { continue };
            if rule.origin == Origin::Runtime {
                let used = self.by_rule.entry(key(rule.prefix, rule.services)).or_default();
                used.accepted += u64::from(accepted);
                used.last_at_s = Some(at.unix_s());
            }
        }
        let rules = &self.index.rules;
        self.by_rule.retain(|(prefix, bits), _| {
            rules.get(prefix).is_some_and(|rules| {
                rules.iter().any(|rule| rule.origin == Origin::Runtime && rule.services.bits() == *bits)
            })
        });
    }

    /// Returns the use of a rule.
    #[must_use]
    pub fn of(&self, prefix: IpNet, services: ServiceSet) -> RuleUse {
        self.by_rule.get(&key(prefix, services)).copied().unwrap_or_default()
    }
}

impl Index {
    fn renew(&mut self, table: &Table, revision: u32) {
        if self.revision == Some(revision) {
            return;
        }
        *self = Self { revision: Some(revision), ..Self::default() };
        for rule in table.rules() {
            self.rules.entry(rule.prefix).or_default().push(*rule);
            let [v4, v6] = &mut self.lengths;
            let lengths = if rule.prefix.addr().is_ipv4() { v4 } else { v6 };
            lengths.insert(rule.prefix.prefix_len());
        }
    }

    /// Returns the rule that decides on a source: as [`Table::winner`], by a look-up per length.
    fn winner(&self, key: SourceKey) -> Option<&Rule> {
        let address = IpAddr::from(key.addr);
        let [v4, v6] = &self.lengths;
        let lengths = if address.is_ipv4() { v4 } else { v6 };
        lengths.iter().rev().find_map(|length| {
            let prefix = IpNet::new(address, *length).ok()?.trunc();
            let rules = self.rules.get(&prefix)?.iter();
            rules.filter(|rule| rule.services.contains(key.service)).min_by_key(|rule| rule.rank())
        })
    }
}

/// What every source had accepted at one look.
#[derive(Debug, Default)]
pub struct Counts(HashMap<SourceKey, u32>);

impl Counts {
    /// Returns the counts of these sources.
    #[must_use]
    pub fn of(sources: &[SourceRecord]) -> Self {
        Self(sources.iter().map(|record| (record.key, record.source.accepted)).collect())
    }

    /// Returns what a source had accepted since; an entry that was made anew began at zero.
    fn since(&self, record: &SourceRecord) -> u32 {
        let accepted = record.source.accepted;
        let before = self.0.get(&record.key).copied().unwrap_or_default();
        accepted.checked_sub(before).unwrap_or(accepted)
    }
}
