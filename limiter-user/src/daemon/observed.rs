//! What sources did, for as long as it matters to a suggestion: peaks by the
//! hour, new connections by the recount, and how connections ended.
//!
//! Bounded: [`SOURCES_MAX`] sources of some 600 bytes each. Sources beyond
//! that are counted and not followed; those that were not seen for a day make
//! room. What it says about limits is the matter of [`suggest`](super::suggest).

use std::collections::{HashMap, VecDeque};

use limiter_common::{event::SourceRecord, map::SourceKey, names};

use crate::clock::Now;

/// Sources that are followed. A choice: some MiB, and more than a quantile needs.
pub const SOURCES_MAX: usize = 10_000;
/// Windows of new connections that are kept per source: ten minutes of recounts every ten seconds.
pub const WINDOWS_MAX: usize = 64;
/// Hours of peaks that are kept.
pub const HOURS: usize = 24;
const HOUR_S: u64 = 3_600;
const MINUTE_S: u64 = 60;

/// The most of something, in one hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peak {
    hour: u32,
    /// Connections open at once.
    pub open: u32,
    /// Connections that began within a minute.
    pub per_minute: u32,
    /// Connections that began between two recounts.
    pub at_once: u32,
}

impl Peak {
    /// Returns the higher of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            hour: self.hour.max(other.hour),
            open: self.open.max(other.open),
            per_minute: self.per_minute.max(other.per_minute),
            at_once: self.at_once.max(other.at_once),
        }
    }
}

/// Peaks of the last [`HOURS`].
#[derive(Clone, Copy, Debug, Default)]
struct Peaks([Peak; HOURS]);

impl Peaks {
    fn note(&mut self, now: Now, open: u32, per_minute: u32, at_once: u32) {
        let hour = hour_of(now.monotonic_s());
        let slot = &mut self.0[hour as usize % HOURS];
        if slot.hour != hour {
            *slot = Peak::default();
        }
        *slot = slot.max(Peak { hour, open, per_minute, at_once });
    }

    /// Returns the peaks of the hours that reach into the last `since_s`.
    fn since(&self, now: Now, since_s: u64) -> Peak {
        let first = hour_of(now.monotonic_s().saturating_sub(since_s));
        let oldest = (hour_of(now.monotonic_s()) + 1).saturating_sub(HOURS as u32);
        let hours = self.0.iter().filter(|peak| peak.hour >= first.max(oldest));
        hours.fold(Peak::default(), |most, peak| most.max(*peak))
    }
}

/// Returns the hour of a second; there is room for half a million years.
fn hour_of(second: u64) -> u32 {
    u32::try_from(second / HOUR_S).unwrap_or(u32::MAX)
}

/// What a source did.
#[derive(Clone, Debug, Default)]
pub struct Source {
    accepted: u32,
    open: u32,
    silent_seen: u32,
    brief_seen: u32,
    peaks: Peaks,
    /// New connections from recount to recount, the oldest first.
    pub windows: VecDeque<u16>,
    /// Connections that ended while it was followed.
    pub ended: u64,
    /// Those in which the client sent nothing.
    pub silent: u64,
    /// Those that did not last.
    pub brief: u64,
    active_at_s: u64,
}

impl Source {
    /// Returns the peaks of the last `since_s`, to the hour.
    #[must_use]
    pub fn peak(&self, now: Now, since_s: u64) -> Peak {
        self.peaks.since(now, since_s)
    }

    /// Returns a source with this history.
    #[cfg(test)]
    pub(super) fn seen(windows: &[u16], ended: u64, silent: u64, brief: u64) -> Self {
        Self { windows: windows.iter().copied().collect(), ended, silent, brief, ..Self::default() }
    }

    /// Takes in what a recount says of the source.
    fn take(&mut self, record: &SourceRecord, now: Now, minute: usize) {
        let source = &record.source;
        let open = source.word.open();
        if source.accepted < self.accepted {
            // The entry was removed and made again: it counts from zero.
            (self.accepted, self.open, self.silent_seen, self.brief_seen) = (0, 0, 0, 0);
        }
        let new = source.accepted - self.accepted;
        self.ended += u64::from((self.open + new).saturating_sub(open));
        self.silent += u64::from(source.silent.saturating_sub(self.silent_seen));
        self.brief += u64::from(source.brief.saturating_sub(self.brief_seen));
        (self.accepted, self.open) = (source.accepted, open);
        (self.silent_seen, self.brief_seen) = (source.silent, source.brief);
        if new > 0 || open > 0 {
            self.active_at_s = now.monotonic_s();
        }
        self.push(new);
        let per_minute = self.windows.iter().rev().take(minute).map(|new| u32::from(*new)).sum();
        self.peaks.note(now, open, per_minute, new);
    }

    /// Takes over the counters of a source that was there before anybody followed it.
    fn begin(&mut self, record: &SourceRecord, now: Now) {
        let source = &record.source;
        (self.accepted, self.open) = (source.accepted, source.word.open());
        (self.silent_seen, self.brief_seen) = (source.silent, source.brief);
        self.active_at_s = now.monotonic_s();
        self.peaks.note(now, self.open, 0, 0);
    }

    fn push(&mut self, new: u32) {
        if self.windows.len() == WINDOWS_MAX {
            self.windows.pop_front();
        }
        self.windows.push_back(u16::try_from(new).unwrap_or(u16::MAX));
    }
}

/// What all sources did.
#[derive(Debug, Default)]
pub struct Observed {
    sources: HashMap<SourceKey, Source>,
    totals: Vec<Peaks>,
    begun: Option<Now>,
    last: Option<Now>,
    /// Recounts after the first.
    recounts: u32,
    not_followed: usize,
}

impl Observed {
    /// Takes in a recount, one of every `interval_s`.
    pub fn take(&mut self, records: &[SourceRecord], interval_s: u64, now: Now) {
        let first = self.begun.is_none();
        self.begun.get_or_insert(now);
        self.last = Some(now);
        self.recounts += u32::from(!first);
        let minute = usize::try_from(MINUTE_S / interval_s.clamp(1, MINUTE_S)).unwrap_or(1);
        let mut open = [0_u32; names::SERVICES];
        let mut not_followed = 0;
        for record in records {
            open[record.key.service as usize % names::SERVICES] += record.source.word.open();
            if !self.sources.contains_key(&record.key) && self.sources.len() >= SOURCES_MAX {
                not_followed += 1;
                continue;
            }
            let source = self.sources.entry(record.key).or_default();
            if first {
                source.begin(record, now);
            } else {
                source.take(record, now, minute);
            }
        }
        self.totals.resize(names::SERVICES, Peaks::default());
        for (total, open) in self.totals.iter_mut().zip(open) {
            total.note(now, open, 0, 0);
        }
        self.not_followed = self.not_followed.max(not_followed);
        self.pass_over_the_absent(records, now);
    }

    /// Notes that the sources without an entry had no new connection, and forgets those of yesterday.
    fn pass_over_the_absent(&mut self, records: &[SourceRecord], now: Now) {
        let oldest_s = now.monotonic_s().saturating_sub(HOURS as u64 * HOUR_S);
        let present: std::collections::HashSet<SourceKey> = records.iter().map(|record| record.key).collect();
        self.sources.retain(|key, source| {
            if !present.contains(key) {
                source.push(0);
            }
            source.active_at_s >= oldest_s
        });
    }

    /// Returns the sources of a service.
    pub fn of_service(&self, service: u32) -> impl Iterator<Item = (&SourceKey, &Source)> {
        self.sources.iter().filter(move |(key, _)| key.service == service)
    }

    /// Returns the most connections that a service had open at once in the last `since_s`, to the hour.
    #[must_use]
    pub fn total(&self, service: u32, now: Now, since_s: u64) -> u32 {
        self.totals.get(service as usize).map_or(0, |total| total.since(now, since_s).open)
    }

    /// Returns for how long sources are followed.
    #[must_use]
    pub fn seconds(&self) -> u64 {
        let span = self.begun.zip(self.last);
        span.map_or(0, |(begun, last)| last.monotonic_s().saturating_sub(begun.monotonic_s()))
    }

    /// Returns the seconds between two recounts, in the mean; 0 before the second.
    #[must_use]
    pub fn interval_s(&self) -> f64 {
        let between =
            self.begun.zip(self.last).map_or(0, |(begun, last)| last.monotonic_ns - begun.monotonic_ns);
        let seconds = std::time::Duration::from_nanos(between).as_secs_f64();
        if self.recounts == 0 { 0.0 } else { seconds / f64::from(self.recounts) }
    }

    /// Returns how many sources were there at once and not followed, at most.
    #[must_use]
    pub const fn not_followed(&self) -> usize {
        self.not_followed
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use limiter_common::{
        map,
        word::{ONE_OPEN, Word},
    };

    use super::*;

    const START: Now = Now { monotonic_ns: 100 * HOUR_S * 1_000_000_000, unix_ms: 0 };

    fn record(n: u8, open: u64, accepted: u32, silent: u32) -> SourceRecord {
        let key = SourceKey { addr: IpAddr::from([192, 0, 2, n]).into(), service: 1 };
        let word = Word(Word::idle(key.hash(0)).0 + open * ONE_OPEN);
        SourceRecord { key, pad: 0, source: map::Source { word, accepted, silent, ..map::Source::default() } }
    }

    fn only(observed: &Observed) -> &Source {
        observed.of_service(1).next().expect("a source").1
    }

    /// Peaks are the most of each hour, and what was there before the first recount is not new.
    #[test]
    fn peaks_are_those_of_the_last_hours() {
        let mut observed = Observed::default();
        observed.take(&[record(1, 9, 500, 0)], 10, START);
        observed.take(&[record(1, 4, 520, 0)], 10, START.plus_s(10));
        observed.take(&[record(1, 5, 525, 0)], 10, START.plus_s(20));
        let later = START.plus_s(2 * HOUR_S);
        observed.take(&[record(1, 2, 526, 0)], 10, later);
        let all = only(&observed).peak(later, 24 * HOUR_S);
        assert_eq!((all.open, all.per_minute, all.at_once), (9, 26, 20));
        assert_eq!(only(&observed).peak(later, 60).open, 2);
        assert_eq!((observed.total(1, later, 24 * HOUR_S), observed.seconds()), (9, 2 * HOUR_S));
        assert!((observed.interval_s() - 2_400.0).abs() < 0.1);
    }

    /// What ended, and how, adds up over an entry that was removed and made again.
    #[test]
    fn endings_add_up() {
        let mut observed = Observed::default();
        observed.take(&[record(1, 0, 10, 10)], 10, START);
        observed.take(&[record(1, 1, 14, 13)], 10, START.plus_s(10));
        observed.take(&[], 10, START.plus_s(20));
        observed.take(&[record(1, 0, 2, 2)], 10, START.plus_s(30));
        let source = only(&observed);
        assert_eq!((source.ended, source.silent), (3 + 2, 3 + 2));
        assert_eq!(source.windows, [4, 0, 2]);
    }

    /// Memory is bounded: more sources than that are counted, and a day without a connection makes room.
    #[test]
    fn memory_is_bounded() {
        assert!(size_of::<Source>() + WINDOWS_MAX * size_of::<u16>() <= 640);
        let many: Vec<SourceRecord> = (0..SOURCES_MAX + 7)
            .map(|n| {
                let addr = IpAddr::from(u32::try_from(n).expect("few").to_be_bytes());
                SourceRecord { key: SourceKey { addr: addr.into(), service: 1 }, ..record(1, 1, 1, 0) }
            })
            .collect();
        let mut observed = Observed::default();
        observed.take(&many, 10, START);
        assert_eq!((observed.of_service(1).count(), observed.not_followed()), (SOURCES_MAX, 7));
        observed.take(&[], 10, START.plus_s(25 * HOUR_S));
        assert_eq!(observed.of_service(1).count(), 0);
    }
}
