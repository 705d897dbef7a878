//! Samples of a window made lines of points.
//!
//! A line adds up the series of one service that mean one thing. What counts
//! becomes a rate, in events per second over each step; what is a state becomes
//! the highest of each step. A step without a record has no point.

use std::collections::{BTreeMap, HashMap};

use super::{
    encoding::{BadRecord, Figure, decode},
    read::Series,
};

/// Points of a line at most: what fits a terminal.
pub const POINTS: u64 = 60;
/// The shortest step: two records of the usual interval, so that none is without one.
const STEP_MIN_MS: u64 = 20_000;

/// How the series of a line become points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// They count.
    Rate,
    /// They are a state.
    Level,
}

/// A line under way.
#[derive(Clone, Debug)]
pub struct Line {
    /// How it is made.
    pub measure: Measure,
    /// What was counted within the window, or the last level.
    pub total: f64,
    /// Sums or highest levels by step.
    steps: Vec<Option<f64>>,
    /// The sum of the series at this moment.
    level: f64,
}

impl Line {
    fn new(measure: Measure, steps: usize) -> Self {
        Self { measure, total: 0.0, steps: vec![None; steps], level: 0.0 }
    }

    /// Adds what a series has grown by since the record before; `step` is that of the record, if within the window.
    fn add(&mut self, grown: f64, step: Option<usize>) {
        match self.measure {
            Measure::Level => self.level += grown,
            Measure::Rate => {
                if let Some(slot) = step.and_then(|step| self.steps.get_mut(step)) {
                    *slot = Some(slot.unwrap_or_default() + grown);
                    self.total += grown;
                }
            }
        }
    }

    /// Returns its points: rates per second, or levels.
    #[must_use]
    pub fn points(&self, step_ms: u64) -> Vec<Option<f64>> {
        let divisor = match self.measure {
            Measure::Rate => number(step_ms) / 1_000.0,
            Measure::Level => 1.0,
        };
        self.steps.iter().map(|step| step.map(|sum| sum / divisor)).collect()
    }
}

/// What a line is about: a service and a meaning.
pub type Key = (String, String);

/// Lines under way over a window.
#[derive(Debug)]
pub struct Trends {
    from_ms: u64,
    /// Milliseconds of a step.
    pub step_ms: u64,
    /// The lines.
    pub lines: BTreeMap<Key, Line>,
    /// Which lines a series belongs to.
    belongs: HashMap<u32, (Vec<Key>, Measure)>,
    /// The last value of each series that belongs somewhere, kept over its absence.
    last: HashMap<u32, f64>,
    /// Records within the window.
    pub records: u64,
    /// Whether any record was read.
    begun: bool,
    steps: usize,
}

impl Trends {
    /// Returns the lines of a window, with `meaning` saying what a series is about.
    #[must_use]
    pub fn new(
        (from_ms, until_ms): (u64, u64),
        series: &[Series],
        meaning: impl Fn(&Series) -> Option<(Vec<Key>, Measure)>,
    ) -> Self {
        let span_ms = until_ms.saturating_sub(from_ms).max(1);
        let step_ms = span_ms.div_ceil(POINTS).max(STEP_MIN_MS).next_multiple_of(1_000);
        let steps = usize::try_from(span_ms.div_ceil(step_ms)).unwrap_or_default();
        let (mut lines, mut belongs) = (BTreeMap::new(), HashMap::new());
        for series in series {
            if let Some((keys, measure)) = meaning(series) {
                for key in &keys {
                    lines.entry(key.clone()).or_insert_with(|| Line::new(measure, steps));
                }
                belongs.insert(series.id, (keys, measure));
            }
        }
        Self { from_ms, step_ms, lines, belongs, last: HashMap::new(), records: 0, begun: false, steps }
    }

    /// Takes in a record.
    ///
    /// # Errors
    ///
    /// When it is damaged.
    pub fn take(&mut self, at_ms: u64, samples: &[u8]) -> Result<(), BadRecord> {
        let step = at_ms.checked_sub(self.from_ms).map(|since| since / self.step_ms);
        let step = step.and_then(|step| usize::try_from(step).ok()).map(|step| step.min(self.steps - 1));
        let Self { lines, belongs, last, begun, .. } = self;
        decode(samples, |series, value| {
            let Some((keys, measure)) = belongs.get(&series) else { return };
            let before = last.get(&series).copied();
            let now = value.map(Figure::number);
            let grown = match (measure, now) {
                (Measure::Level, now) => now.unwrap_or_default() - before.unwrap_or_default(),
                (Measure::Rate, Some(now)) => grown(before, now, *begun),
                // What counted goes on from there if it comes back.
                (Measure::Rate, None) => return,
            };
            last.insert(series, now.unwrap_or_default());
            for key in keys {
                if let Some(line) = lines.get_mut(key) {
                    line.add(grown, step);
                }
            }
        })?;
        self.begun = true;
        let Some(step) = step else { return Ok(()) };
        self.records += 1;
        for line in self.lines.values_mut() {
            let Some(slot) = line.steps.get_mut(step) else { continue };
            match line.measure {
                Measure::Rate => *slot = Some(slot.unwrap_or_default()),
                Measure::Level => {
                    *slot = Some(slot.unwrap_or_default().max(line.level));
                    line.total = line.level;
                }
            }
        }
        Ok(())
    }
}

/// Returns what a count has grown by; `begun` says whether there was any record before.
fn grown(before: Option<f64>, now: f64, begun: bool) -> f64 {
    match before {
        Some(before) if now >= before => now - before,
        // What counts from zero again has counted that much since, and a series appears with its first event.
        Some(_) => now,
        None if begun => now,
        // In the first record of all it may be years old.
        None => 0.0,
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of years are far below 2^52")]
fn number(count: u64) -> f64 {
    count as f64
}
