//! What speaks for opening: how many sources of a service were seen, and how many of them over their limits.
//!
//! The packet path notes with every proven source when it was last accepted and
//! when it was last over a limit of its own; both survive the daemon. Sources of
//! exempt and denied classes have no vote: no limit can be wrong for them.

use std::collections::{BTreeMap, HashMap};

use limiter_common::{event::SourceRecord, limits::Treatment, map::SourceKey, names};

use crate::{
    config::BreakerSettings,
    policy::{Compiled, Ranges},
};

/// Sources that are named to people.
const NAMED: usize = 3;

/// What was seen that opens a breaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trip {
    /// Most sources were over their limits.
    Most {
        /// How many.
        over: u32,
        /// Of how many.
        seen: u32,
    },
    /// A source of a critical class was.
    Critical {
        /// The name of the class.
        class: String,
    },
}

/// Since when sources count, in seconds of `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// As seen.
    pub seen_from_s: u64,
    /// As over their limits; no earlier than that.
    pub over_from_s: u64,
}

/// The votes of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Votes {
    /// Distinct sources that were accepted or refused.
    pub seen: u32,
    /// Those of them over a limit of their own, refused for it or not.
    pub over: u32,
    /// Some of those.
    pub named: Vec<SourceKey>,
}

impl Votes {
    /// Returns whether they are enough to open a breaker.
    #[must_use]
    pub fn trip(&self, settings: &BreakerSettings) -> Option<Trip> {
        let is_most = u64::from(self.over) * 100 > u64::from(self.seen) * u64::from(settings.share_percent);
        let trips = self.over >= settings.min_sources && is_most;
        trips.then_some(Trip::Most { over: self.over, seen: self.seen })
    }
}

/// Counts the votes of the services asked for.
#[must_use]
pub fn count(
    sources: &[SourceRecord],
    spans: &BTreeMap<u32, Span>,
    compiled: &Compiled,
) -> BTreeMap<u32, Votes> {
    let mut votes: BTreeMap<u32, Votes> = spans.keys().map(|service| (*service, Votes::default())).collect();
    for record in sources {
        let service = record.key.service;
        let (Some(span), Some(votes)) = (spans.get(&service), votes.get_mut(&service)) else {
            continue;
        };
        let (accepted_at_s, over_at_s) =
            (u64::from(record.source.accepted_at_s), u64::from(record.source.over_limit_at_s));
        if accepted_at_s.max(over_at_s) <= span.seen_from_s {
            continue;
        }
        let class = compiled.ranges.class_of(record.key.addr, service);
        if compiled.policy.limits_of(service, class).treatment() != Treatment::Limited {
            continue;
        }
        votes.seen += 1;
        if over_at_s > span.over_from_s {
            votes.over += 1;
            if votes.named.len() < NAMED {
                votes.named.push(record.key);
            }
        }
    }
    votes
}

/// Returns some sources of a class that were over their limits since `from_s`.
#[must_use]
pub fn of_class(
    sources: &[SourceRecord],
    (service, class): (u32, u32),
    from_s: u64,
    ranges: &Ranges,
) -> Vec<SourceKey> {
    let over = |record: &&SourceRecord| {
        record.key.service == service
            && u64::from(record.source.over_limit_at_s) > from_s
            && ranges.class_of(record.key.addr, service) == class
    };
    sources.iter().filter(over).take(NAMED).map(|record| record.key).collect()
}

/// Verdicts for limits of single sources, by service and class, at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    counts: HashMap<(u32, u32), (u64, u64)>,
}

impl Tally {
    /// Adds what a row of counters holds: refused, and would have been.
    pub fn add(&mut self, service: u32, class: u32, refused: u64, would_refuse: u64) {
        let counts = self.counts.entry((service, class)).or_default();
        counts.0 += refused;
        counts.1 += would_refuse;
    }

    /// Returns the services in which something was refused since `before`.
    #[must_use]
    pub fn refused_since(&self, before: &Self) -> [bool; names::SERVICES] {
        let mut refused = [false; names::SERVICES];
        for (&(service, class), counts) in &self.counts {
            if counts.0 > before.of(service, class).0 {
                refused[service as usize % names::SERVICES] = true;
            }
        }
        refused
    }

    /// Returns services and classes in which something was over a limit, refused or not, since `before`.
    pub fn over_since(&self, before: &Self) -> impl Iterator<Item = (u32, u32)> {
        self.counts.iter().filter_map(|(&(service, class), counts)| {
            let before = before.of(service, class);
            (counts.0 > before.0 || counts.1 > before.1).then_some((service, class))
        })
    }

    fn of(&self, service: u32, class: u32) -> (u64, u64) {
        self.counts.get(&(service, class)).copied().unwrap_or_default()
    }
}
