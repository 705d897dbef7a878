//! What others see of the watcher: copies, for metrics, status and the recorder.

use std::collections::VecDeque;

use crate::clock::Now;

use super::{
    cross::{FindingKind, Findings},
    guard::OUTBOUND,
    stats::{Fill, Statistics},
    table::{Counts, Look},
};

/// Happenings that wait to be fetched; the oldest go first.
const HAPPENINGS_MAX: usize = 64;

/// How the watcher stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Not begun.
    #[default]
    Idle,
    /// The kernel has no connection tracking.
    Absent,
    /// It hears of changes.
    Watching,
    /// The kernel tells of no changes: the table is looked at every few seconds.
    Looking,
    /// It cannot watch.
    Failing(String),
}

/// Something that happened, for the recorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Happening {
    /// When.
    pub at: Now,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The kernel had more events than there was room for.
    Overrun,
    /// The whole table was looked at, and figures are right again.
    Resync {
        /// Events lost, if the kernel tells.
        lost: Option<u64>,
        /// What that changed.
        look: Look,
        /// How long it took.
        took_ms: u64,
    },
}

impl What {
    /// Returns it as a sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::Overrun => "conntrack: more events came than there was room for; some are lost".to_owned(),
            Self::Resync { lost, look, took_ms } => {
                let lost = lost.map_or_else(|| "an unknown number of".to_owned(), |lost| lost.to_string());
                format!(
                    "conntrack: {lost} events lost; the whole table was looked at in {took_ms} ms: {} entries, \
                     {} that were not known, {} gone",
                    look.entries, look.found, look.gone
                )
            }
        }
    }
}

/// Happenings that wait to be fetched.
#[derive(Debug, Default)]
pub(super) struct Happenings(VecDeque<Happening>);

impl Happenings {
    pub(super) fn push(&mut self, what: What) {
        if self.0.len() == HAPPENINGS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Happening { at: Now::read(), what });
    }

    pub(super) fn take(&mut self) -> Vec<Happening> {
        self.0.drain(..).collect()
    }
}

/// Events by type, since the daemon started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// Entries that came into being.
    pub new: u64,
    /// Entries that changed.
    pub update: u64,
    /// Entries that are gone.
    pub destroy: u64,
    /// How often there was no room.
    pub overrun: u64,
    /// How often the whole table was looked at for that.
    pub resync: u64,
    /// Events that found no room.
    pub lost: u64,
}

impl Events {
    /// Returns every count by its `type` label.
    #[must_use]
    pub const fn by_type(&self) -> [(&'static str, u64); 6] {
        [
            ("new", self.new),
            ("update", self.update),
            ("destroy", self.destroy),
            ("overrun", self.overrun),
            ("resync", self.resync),
            ("lost", self.lost),
        ]
    }
}

/// What others see.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// How the watcher stands.
    pub standing: Standing,
    /// Entries by service id and state.
    pub counts: Counts,
    /// How often an entry found no room in our own table.
    pub overflow: u64,
    /// Events by type.
    pub events: Events,
    /// The kernel's statistics.
    pub statistics: Statistics,
    /// How full the kernel's table is.
    pub fill: Option<Fill>,
    /// What the last cross-check found.
    pub findings: Findings,
    /// Seconds since there was last no room for events.
    pub overrun_age_s: Option<u64>,
}

/// Seconds for which events that were lost are worth a finding.
const OVERRUN_S: u64 = 60;
/// The share of the table from which on new connections are in danger.
const FILL_HIGH: f64 = 0.9;

impl View {
    /// Returns one sentence about connection tracking for status.
    #[must_use]
    pub fn fact(&self) -> String {
        let used = self
            .fill
            .map_or_else(String::new, |fill| format!("; the table holds {} of {}", fill.count, fill.max));
        let entries: u32 = (0..=OUTBOUND).map(|service| self.counts.service(service)).sum();
        match &self.standing {
            Standing::Idle => "conntrack is not watched".to_owned(),
            Standing::Absent => "no conntrack in this kernel: nothing is seen of it".to_owned(),
            Standing::Failing(_) => "conntrack cannot be watched".to_owned(),
            Standing::Watching if self.fill.is_some_and(|fill| fill.count == 0) => {
                "conntrack: nothing is tracked".to_owned()
            }
            Standing::Watching => format!("conntrack: {entries} entries of guarded ports{used}"),
            Standing::Looking => format!(
                "conntrack: {entries} entries of guarded ports{used}; it tells of no changes \
                 (net.netfilter.nf_conntrack_events = 0) and is looked at every few seconds"
            ),
        }
    }

    /// Returns what is not as it should be with connection tracking as a whole, in sentences.
    #[must_use]
    pub fn findings(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        if let Standing::Failing(error) = &self.standing {
            sentences.push(format!("conntrack cannot be watched: {error}"));
        }
        if let Some(fill) = self.fill.filter(|fill| fill.ratio() >= FILL_HIGH) {
            sentences.push(format!(
                "the conntrack table is nearly full, {} of {}: new connections are about to be dropped; \
                 raise net.netfilter.nf_conntrack_max",
                fill.count, fill.max
            ));
        }
        if let Some(age_s) = self.overrun_age_s.filter(|age_s| *age_s < OVERRUN_S) {
            sentences.push(format!(
                "conntrack had more events than there was room for {age_s} s ago; {} were lost since the start",
                self.events.lost
            ));
        }
        if self.overflow > 0 {
            sentences.push(format!(
                "conntrack has more entries of guarded ports than are kept, so figures are too low; {} found no room",
                self.overflow
            ));
        }
        sentences.extend(self.findings_of(OUTBOUND));
        sentences
    }

    /// Returns what the cross-check found with a service, in sentences.
    #[must_use]
    pub fn findings_of(&self, service: u32) -> Vec<String> {
        let of = if service == OUTBOUND { "outbound mail" } else { "it" };
        let found = FindingKind::ALL.into_iter().filter_map(|kind| {
            let count = self.findings.get(&(service, kind))?;
            Some(match kind {
                FindingKind::SocketWithoutEntry => format!(
                    "conntrack has no entry for {count} open connections of {of}: a stateful ruleset drops their \
                     packets; `conntrack -L` shows what there is"
                ),
                FindingKind::EntryWithoutSocket => {
                    format!("conntrack holds {count} connections of {of} as established that nobody has open")
                }
            })
        });
        found.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without connection tracking there is a fact and no finding.
    #[test]
    fn absence_is_a_fact_and_no_finding() {
        let view = View { standing: Standing::Absent, ..View::default() };
        assert_eq!(view.fact(), "no conntrack in this kernel: nothing is seen of it");
        assert_eq!(view.findings(), Vec::<String>::new());
    }

    /// A table is nearly full from nine tenths on.
    #[test]
    fn a_full_table_is_a_finding() {
        let filled = |count| View { fill: Some(Fill { count, max: 100 }), ..View::default() };
        assert_eq!(filled(89).findings().len(), 0);
        assert!(filled(90).findings()[0].contains("nearly full, 90 of 100"));
    }

    /// An overrun is worth a finding for a minute.
    #[test]
    fn overruns_are_a_finding_for_a_minute() {
        let overrun = |age_s| View { overrun_age_s: Some(age_s), ..View::default() };
        assert_eq!((overrun(59).findings().len(), overrun(60).findings().len()), (1, 0));
    }

    /// What the cross-check found is said of its service, and of outbound mail with the rest.
    #[test]
    fn findings_are_those_of_their_service() {
        let findings =
            [((1, FindingKind::SocketWithoutEntry), 3), ((OUTBOUND, FindingKind::EntryWithoutSocket), 2)];
        let view = View { findings: findings.into(), ..View::default() };
        assert!(view.findings_of(1)[0].contains("no entry for 3 open connections of it"));
        assert_eq!(view.findings_of(2).len(), 0);
        assert!(view.findings()[0].contains("2 connections of outbound mail"));
    }

    /// What nobody fetches does not pile up.
    #[test]
    fn happenings_are_bounded() {
        let mut happenings = Happenings::default();
        for _ in 0..HAPPENINGS_MAX + 3 {
            happenings.push(What::Overrun);
        }
        assert_eq!((happenings.take().len(), happenings.take().len()), (HAPPENINGS_MAX, 0));
    }
}
