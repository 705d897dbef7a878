//! The recount: living sockets against the counts of sources that they are charged to.
//!
//! The two are not read at one instant, so a connection that opens or closes in
//! between makes them differ without anything being wrong. A difference is
//! drift when successive recounts agree on it; only then is it corrected.

use std::collections::HashMap;

use limiter_common::{
    event::SourceRecord,
    map::{Holder, SourceKey},
    names,
    policy::Policy,
};

use crate::{clock::Now, dataplane::Recount};

/// Recounts that must agree on a source that did not move in between.
const AGREEING_WHEN_QUIET: u32 = 2;
/// Recounts that must agree on a source that opens and closes connections all
/// the time. A choice: were every third recount off by the same number, by
/// chance, then that is one in half a million.
const AGREEING_WHEN_BUSY: u32 = 12;
/// Recounts that must agree on the total of a service or one of its classes that opens and closes
/// connections all the time. A choice: it is the sum of many sources, so every second recount may
/// be off by one.
const AGREEING_ON_A_BUSY_TOTAL: u32 = 60;
/// How far back [`Recounts::since`] looks at least, once there is so much to look back on.
pub const WINDOW_S: u64 = 10;

/// A count that is wrong, and what makes it right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drift {
    /// Whose count.
    pub key: SourceKey,
    /// What to add.
    pub delta: i32,
}

/// A source whose count differed at the last recount.
#[derive(Clone, Copy, Debug)]
struct Suspect {
    charged: u32,
    open: u32,
    accepted: u32,
    /// Recounts in a row with this difference.
    agreeing: u32,
    /// Those of them in which nothing else moved either.
    quiet: u32,
}

/// What every source had accepted and refused at one time.
#[derive(Debug)]
struct Baseline {
    at: Now,
    counts: HashMap<SourceKey, (u32, u32)>,
}

impl Baseline {
    fn of(recount: &Recount, at: Now) -> Self {
        Self { at, counts: recount.sources.iter().map(|record| (record.key, counts(record))).collect() }
    }
}

/// What stands out at a recount, by service id.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Sources with open connections.
    pub sources_open: [u64; names::SERVICES],
    /// The highest share that a source has of its limit.
    pub limit_ratio_max: [f64; names::SERVICES],
}

/// What recounts have found so far.
#[derive(Debug, Default)]
pub struct Recounts {
    suspects: HashMap<SourceKey, Suspect>,
    drift: [u64; names::SERVICES],
    last: Recount,
    last_at: Option<Now>,
    /// The older of the two is what changes are measured against.
    older: Option<Baseline>,
    newer: Option<Baseline>,
}

impl Recounts {
    /// Returns the recounts of a daemon that starts: what is known by then, such as connections
    /// that were adopted, is not new.
    #[must_use]
    pub fn begun(known: &Recount, now: Now) -> Self {
        Self { newer: Some(Baseline::of(known, now)), last: known.clone(), ..Self::default() }
    }

    /// Takes in a recount and returns the drift that it proves.
    pub fn take(&mut self, recount: Recount, now: Now) -> Vec<Drift> {
        // An entry may have been made since its sockets were counted.
        let mut strays = times(&recount.strays);
        let mut suspects = HashMap::new();
        let mut accepted = [0_u32; names::SERVICES];
        for SourceRecord { key, source, .. } in &recount.sources {
            let charged = source.living.count + strays.remove(key).unwrap_or_default();
            self.compare(&mut suspects, *key, charged, source.word.open(), source.accepted);
            let accepted = &mut accepted[key.service as usize % names::SERVICES];
            *accepted = accepted.wrapping_add(source.accepted);
        }
        for (key, charged) in strays {
            self.compare(&mut suspects, key, charged, 0, 0);
        }
        for ((service, total), (charged, accepted)) in
            (0..).zip(&recount.totals).zip(recount.living.in_total.into_iter().zip(accepted))
        {
            self.compare(&mut suspects, SourceKey::whole(service), charged, *total, accepted);
        }
        for ((cell, open), charged) in (0..).zip(&recount.classes).zip(recount.living.by_class) {
            let (service, class) = names::of_class_cell(cell);
            let open = u32::try_from(*open).unwrap_or(u32::MAX);
            let accepted = accepted[service as usize];
            self.compare(&mut suspects, SourceKey::class(service, class), charged, open, accepted);
        }
        let drift = suspects
            .extract_if(|key, suspect| {
                let when_busy = match key.holder() {
                    Holder::Source(_) => AGREEING_WHEN_BUSY,
                    Holder::Service(_) | Holder::Class(..) => AGREEING_ON_A_BUSY_TOTAL,
                };
                suspect.quiet >= AGREEING_WHEN_QUIET || suspect.agreeing >= when_busy
            })
            .map(|(key, suspect)| Drift { key, delta: suspect.difference() })
            .collect::<Vec<_>>();
        for found in &drift {
            self.drift[found.key.service as usize % names::SERVICES] += u64::from(found.delta.unsigned_abs());
        }
        self.suspects = suspects;
        self.keep_baseline(&recount, now);
        self.last = recount;
        self.last_at = Some(now);
        drift
    }

    /// Notes a source, a whole service or one of its classes whose count differs from its charges.
    fn compare(
        &self,
        suspects: &mut HashMap<SourceKey, Suspect>,
        key: SourceKey,
        charged: u32,
        open: u32,
        accepted: u32,
    ) {
        if charged == open {
            return;
        }
        let mut found = Suspect { charged, open, accepted, agreeing: 1, quiet: 1 };
        if let Some(before) =
            self.suspects.get(&key).filter(|before| before.difference() == found.difference())
        {
            found.agreeing += before.agreeing;
            if (before.open, before.accepted) == (open, accepted) {
                found.quiet += before.quiet;
            }
        }
        suspects.insert(key, found);
    }

    fn keep_baseline(&mut self, recount: &Recount, now: Now) {
        let due = |last: &Baseline| now.monotonic_s() >= last.at.monotonic_s() + WINDOW_S;
        if self.newer.as_ref().is_none_or(due) {
            self.older = self.newer.replace(Baseline::of(recount, now));
        }
    }

    /// Returns the sources that the last recount saw.
    #[must_use]
    pub fn sources(&self) -> &[SourceRecord] {
        &self.last.sources
    }

    /// Returns when the last recount was.
    #[must_use]
    pub const fn last_at(&self) -> Option<Now> {
        self.last_at
    }

    /// Returns the drift found since the start, by service id.
    #[must_use]
    pub const fn drift(&self) -> &[u64; names::SERVICES] {
        &self.drift
    }

    /// Returns how many seconds [`Recounts::since`] looks back.
    #[must_use]
    pub fn window_s(&self) -> u64 {
        let from = self.older.as_ref().or(self.newer.as_ref()).map(|baseline| baseline.at);
        let span =
            self.last_at.zip(from).map(|(last, from)| last.monotonic_s().saturating_sub(from.monotonic_s()));
        span.unwrap_or_default()
    }

    /// Returns how many connections a source had accepted and refused within the window.
    #[must_use]
    pub fn since(&self, record: &SourceRecord) -> (u32, u32) {
        let Some(baseline) = self.older.as_ref().or(self.newer.as_ref()) else {
            return counts(record);
        };
        let (accepted, refused) = counts(record);
        match baseline.counts.get(&record.key) {
            // An entry that was removed and made again starts from zero: then all of it is recent.
            Some(before) if before.0 <= accepted && before.1 <= refused => {
                (accepted - before.0, refused - before.1)
            }
            _ => (accepted, refused),
        }
    }

    /// Returns what stands out per service, by the limits of a policy.
    #[must_use]
    pub fn summary(&self, policy: &Policy) -> Summary {
        let mut summary = Summary::default();
        for record in self.sources() {
            let (service, open) = (record.key.service, record.source.word.open());
            if open == 0 {
                continue;
            }
            summary.sources_open[service as usize % names::SERVICES] += 1;
            let limit =
                class_of_living(record).map_or(0, |class| policy.limits_of(service, class).connections);
            if limit != 0 {
                let highest = &mut summary.limit_ratio_max[service as usize % names::SERVICES];
                *highest = highest.max(f64::from(open) / f64::from(limit));
            }
        }
        summary
    }
}

/// Returns the class that the connections of a source are counted under, if it has any: of several the one
/// with the lowest limit.
pub(super) fn class_of_living(record: &SourceRecord) -> Option<u32> {
    let living = record.source.living;
    (living.count > 0).then_some(u32::from(living.class))
}

/// Returns how often each key comes.
fn times(keys: &[SourceKey]) -> HashMap<SourceKey, u32> {
    let mut times = HashMap::new();
    for key in keys {
        *times.entry(*key).or_default() += 1;
    }
    times
}

impl Suspect {
    /// Returns what to add to the count.
    fn difference(&self) -> i32 {
        i32::try_from(i64::from(self.charged) - i64::from(self.open)).unwrap_or_default()
    }
}

/// Returns what a source has accepted and refused.
const fn counts(record: &SourceRecord) -> (u32, u32) {
    (record.source.accepted, record.source.refused)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use limiter_common::{
        map::{Living, LivingSums, Source},
        word::{ONE_OPEN, Word},
    };

    use super::*;

    const START: Now = Now { monotonic_ns: 0, unix_ms: 0 };

    fn key() -> SourceKey {
        SourceKey { addr: IpAddr::from([192, 0, 2, 7]).into(), service: 1 }
    }

    /// A recount of one source with `charged` living sockets, of which it counts `open`.
    fn recount(charged: u32, open: u64, accepted: u32) -> Recount {
        let word = Word(Word::idle(key().hash(0)).0 + open * ONE_OPEN);
        let living = Living { count: charged, ..Living::default() };
        let source = Source { word, accepted, living, ..Source::default() };
        Recount { sources: vec![SourceRecord { key: key(), pad: 0, source }], ..Recount::default() }
    }

    /// One recount that differs proves nothing; a second that agrees does, once.
    #[test]
    fn two_agreeing_recounts_are_drift() {
        let mut recounts = Recounts::default();
        assert_eq!(recounts.take(recount(3, 5, 9), START), vec![]);
        assert_eq!(recounts.take(recount(3, 5, 9), START.plus_s(10)), vec![Drift { key: key(), delta: -2 }]);
        assert_eq!(recounts.take(recount(3, 3, 9), START.plus_s(20)), vec![]);
        assert_eq!(recounts.drift()[1], 2, "drift is counted in connections");
    }

    /// A connection that closes between the two readings is no drift.
    #[test]
    fn a_race_is_not_drift() {
        let mut recounts = Recounts::default();
        assert_eq!(recounts.take(recount(4, 5, 9), START), vec![]);
        assert_eq!(recounts.take(recount(5, 5, 9), START.plus_s(10)), vec![]);
        assert_eq!(recounts.take(recount(4, 5, 9), START.plus_s(20)), vec![]);
        assert_eq!(recounts.drift()[1], 0);
    }

    /// A busy source may be off by one again and again; only many agreeing recounts convict it.
    #[test]
    fn a_busy_source_takes_longer() {
        let mut recounts = Recounts::default();
        for n in 1..AGREEING_WHEN_BUSY {
            assert_eq!(recounts.take(recount(4, 5, n), START.plus_s(u64::from(n))), vec![], "recount {n}");
        }
        assert_eq!(recounts.take(recount(4, 5, 99), START.plus_s(99)).len(), 1);
    }

    /// Sockets whose source has no entry are drift too.
    #[test]
    fn a_missing_entry_is_drift() {
        let mut recounts = Recounts::default();
        let without = || Recount { strays: vec![key(); 2], ..Recount::default() };
        assert_eq!(recounts.take(without(), START), vec![]);
        assert_eq!(recounts.take(without(), START.plus_s(10)), vec![Drift { key: key(), delta: 2 }]);
    }

    /// What is new is measured against a recount that lies a whole window back.
    #[test]
    fn changes_are_measured_over_a_window() {
        let mut recounts = Recounts::default();
        for (at_s, accepted) in [(0, 10), (10, 15), (13, 18)] {
            recounts.take(recount(1, 1, accepted), START.plus_s(at_s));
        }
        assert_eq!(recounts.window_s(), 13);
        assert_eq!(recounts.since(&recounts.sources()[0]), (8, 0));
    }

    /// What happened since the start is new at the first recount; what was there before is not.
    #[test]
    fn what_was_there_at_the_start_is_not_new() {
        let mut recounts = Recounts::begun(&recount(1, 1, 7), START);
        recounts.take(recount(1, 1, 10), START.plus_s(1));
        assert_eq!((recounts.since(&recounts.sources()[0]), recounts.window_s()), ((3, 0), 1));
    }

    /// The total of a service drifts like the count of a source, from the sockets that are in it;
    /// while the service is busy it takes longer still.
    #[test]
    fn totals_drift_too() {
        let with_total = |total, accepted| {
            let mut living = LivingSums::default();
            living.in_total[1] = 1;
            Recount { totals: vec![0, total], living, ..recount(3, 3, accepted) }
        };
        let mut recounts = Recounts::default();
        assert_eq!(recounts.take(with_total(4, 9), START), vec![]);
        let drift = Drift { key: SourceKey::whole(1), delta: -3 };
        assert_eq!(recounts.take(with_total(4, 9), START.plus_s(10)), vec![drift]);
        assert_eq!(recounts.take(with_total(1, 9), START.plus_s(20)), vec![], "one socket is in it");
        assert_eq!(recounts.drift()[1], 3);
        for n in 1..AGREEING_ON_A_BUSY_TOTAL {
            assert_eq!(recounts.take(with_total(2, n), START.plus_s(30)), vec![], "recount {n}");
        }
        assert_eq!(recounts.take(with_total(2, 99), START.plus_s(30)).len(), 1);
    }

    /// So does the count of a class, from the sockets of that class.
    #[test]
    fn classes_drift_too() {
        let with_class = |open| {
            let mut classes = vec![0; names::SERVICES * names::CLASSES];
            classes[names::class_cell(1, 4) as usize] = open;
            let mut living = LivingSums::default();
            living.by_class[names::class_cell(1, 4) as usize] = 2;
            Recount { living, classes, ..recount(2, 2, 9) }
        };
        let mut recounts = Recounts::default();
        assert_eq!(recounts.take(with_class(5), START), vec![]);
        let drift = Drift { key: SourceKey::class(1, 4), delta: -3 };
        assert_eq!(recounts.take(with_class(5), START.plus_s(10)), vec![drift]);
        assert_eq!(recounts.take(with_class(2), START.plus_s(20)), vec![], "two are charged");
        assert_eq!(recounts.drift()[1], 3);
    }
}
