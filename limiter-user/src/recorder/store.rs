//! Writing: of the counters what changed, and all of them from time to time.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use limiter_common::witness::FIRST_BYTE_BOUNDS_MS;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::{
    Event,
    database::{self, StoreError},
    encoding::{Figure, Samples, encode},
    minute::SourceRow,
    prune, stored,
};
use crate::{
    config::RecorderSettings,
    metrics::families::{Family, Labels, Value},
};

/// Records from one that is whole to the next: a window is read from at most so many before it.
const WHOLE_EVERY: u32 = 60;
/// Milliseconds between two looks at the bounds.
const PRUNE_EVERY_MS: u64 = 60_000;

/// What is written at once, or not at all.
#[derive(Debug, Default)]
pub struct Batch<'a> {
    /// Events, oldest first.
    pub events: &'a [Event],
    /// All counters, and when they were read.
    pub counters: Option<(u64, &'a [Family])>,
    /// The sources of a minute, and when it ended.
    pub sources: Option<(u64, &'a [SourceRow])>,
}

/// The file, open for writing.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    /// Numbers of series, by name and labels.
    series: HashMap<(String, String), u32>,
    /// The samples of the last record; empty when the next one has to be whole.
    last: Samples,
    since_whole: u32,
    pruned_at_ms: u64,
}

impl Store {
    /// Opens the file, or makes it; the second value says what was put aside, if anything.
    ///
    /// # Errors
    ///
    /// When the disk does not take it.
    pub fn open(path: &Path) -> Result<(Self, Option<String>), StoreError> {
        let (connection, aside) = database::open(path)?;
        let mut store = Self {
            connection,
            path: path.to_owned(),
            series: HashMap::new(),
            last: Samples::new(),
            since_whole: 0,
            pruned_at_ms: 0,
        };
        store.series = read_series(&store.connection).map_err(|source| store.failed(source))?;
        Ok((store, aside))
    }

    /// Puts the file aside; whoever opens it next begins anew.
    ///
    /// # Errors
    ///
    /// When it stays where it is.
    pub fn put_aside(self) -> Result<PathBuf, StoreError> {
        let Self { connection, path, .. } = self;
        drop(connection);
        database::put_aside(&path, "damaged")
    }

    /// Writes all of a batch, within the bounds of age and size.
    ///
    /// # Errors
    ///
    /// When the disk does not take it; then nothing of it is written.
    pub fn write(
        &mut self,
        batch: &Batch<'_>,
        settings: &RecorderSettings,
        now_ms: u64,
    ) -> Result<(), StoreError> {
        let bounds = prune::Bounds::of(settings);
        bounds.hold_log(&self.connection, &self.path)?;
        if now_ms.abs_diff(self.pruned_at_ms) >= PRUNE_EVERY_MS {
            self.pruned_at_ms = now_ms;
            self.prune(&bounds, now_ms)?;
        }
        let written = self.try_write(batch);
        match written {
            // The file is as large as it may be: the oldest makes room.
            Err(error) if error.is_full() => {
                self.prune(&bounds, now_ms)?;
                self.try_write(batch)
            }
            outcome => outcome,
        }
    }

    fn prune(&mut self, bounds: &prune::Bounds, now_ms: u64) -> Result<(), StoreError> {
        let gone = bounds.prune(&mut self.connection, now_ms).map_err(|source| self.failed(source))?;
        self.series.retain(|_, id| !gone.contains(id));
        self.last.retain(|id, _| !gone.contains(id));
        Ok(())
    }

    fn try_write(&mut self, batch: &Batch<'_>) -> Result<(), StoreError> {
        let written = self.write_in_one(batch);
        if written.is_err() {
            // What was numbered or compared on the way is not on disk.
            self.last.clear();
            self.series.clear();
            if let Ok(series) = read_series(&self.connection) {
                self.series = series;
            }
        }
        written.map_err(|source| self.failed(source))
    }

    fn write_in_one(&mut self, batch: &Batch<'_>) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for event in batch.events {
            transaction.execute(
                "INSERT INTO events (at, kind, service, text) VALUES (?1, ?2, ?3, ?4)",
                params![stored(event.at_ms), event.kind.word(), event.service, event.text],
            )?;
        }
        if let Some((at_ms, rows)) = batch.sources {
            insert_sources(&transaction, at_ms, rows)?;
        }
        let mut next = None;
        if let Some((at_ms, families)) = batch.counters {
            let whole = self.last.is_empty() || self.since_whole + 1 >= WHOLE_EVERY;
            let samples = numbered(&transaction, &mut self.series, families, at_ms)?;
            let empty = Samples::new();
            let bytes = encode(if whole { &empty } else { &self.last }, &samples);
            transaction.execute(
                "INSERT OR REPLACE INTO records (at, whole, samples) VALUES (?1, ?2, ?3)",
                params![stored(at_ms), whole, bytes],
            )?;
            if whole {
                let mut seen = transaction.prepare("UPDATE series SET last_at = ?1 WHERE id = ?2")?;
                for id in samples.keys() {
                    seen.execute(params![stored(at_ms), id])?;
                }
            }
            next = Some((samples, if whole { 0 } else { self.since_whole + 1 }));
        }
        transaction.commit()?;
        if let Some((samples, since_whole)) = next {
            (self.last, self.since_whole) = (samples, since_whole);
        }
        Ok(())
    }

    fn failed(&self, source: rusqlite::Error) -> StoreError {
        StoreError::Sqlite { path: self.path.clone(), source }
    }
}

fn insert_sources(transaction: &Transaction<'_>, at_ms: u64, rows: &[SourceRow]) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare(
        "INSERT OR REPLACE INTO sources (at, service, source, open, new, refused) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for SourceRow { service, source, open, new, refused } in rows {
        insert.execute(params![stored(at_ms), service, source, open, new, refused])?;
    }
    Ok(())
}

fn read_series(connection: &Connection) -> rusqlite::Result<HashMap<(String, String), u32>> {
    let mut statement = connection.prepare("SELECT name, labels, id FROM series")?;
    let rows = statement.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)))?;
    rows.collect()
}

/// Returns every sample under the number of its series; new series get one.
fn numbered(
    transaction: &Transaction<'_>,
    series: &mut HashMap<(String, String), u32>,
    families: &[Family],
    at_ms: u64,
) -> rusqlite::Result<Samples> {
    let mut samples = Samples::new();
    for family in families {
        let name = family.sample_name();
        for (labels, value) in &family.samples {
            for (name, labels, figure) in series_of(&name, labels, *value) {
                let key = (name, labels);
                let id = match series.get(&key) {
                    Some(id) => *id,
                    None => number_of(transaction, series, key, at_ms)?,
                };
                samples.insert(id, figure);
            }
        }
    }
    Ok(samples)
}

/// Gives a series a number.
fn number_of(
    transaction: &Transaction<'_>,
    series: &mut HashMap<(String, String), u32>,
    key: (String, String),
    at_ms: u64,
) -> rusqlite::Result<u32> {
    let insert = "INSERT INTO series (name, labels, last_at) VALUES (?1, ?2, ?3) RETURNING id";
    let id = transaction.query_row(insert, params![key.0, key.1, stored(at_ms)], |row| row.get(0))?;
    series.insert(key, id);
    Ok(id)
}

/// Returns the series of a sample: one, or those of a histogram under the names that a scrape has for them.
fn series_of(name: &str, labels: &Labels, value: Value) -> Vec<(String, String, Figure)> {
    let times = match value {
        Value::Whole(count) => return vec![(name.to_owned(), labels_text(labels), Figure::Whole(count))],
        Value::Ratio(ratio) => return vec![(name.to_owned(), labels_text(labels), Figure::Ratio(ratio))],
        Value::Times(times) => times,
    };
    let sum_s = Duration::from_micros(times.sum_us).as_secs_f64();
    let mut series = vec![(format!("{name}_sum"), labels_text(labels), Figure::Ratio(sum_s))];
    let bounds = FIRST_BYTE_BOUNDS_MS.iter().map(|bound_ms| Duration::from_millis(*bound_ms).as_secs_f64());
    let bounds = bounds.map(|bound_s| bound_s.to_string()).chain(["+Inf".to_owned()]);
    let mut count = 0;
    for (bound, within) in bounds.zip(times.buckets) {
        // As in a scrape, where a bucket holds those below it.
        count += within;
        let mut labels = labels.clone();
        labels.push(("le", bound));
        series.push((format!("{name}_bucket"), labels_text(&labels), Figure::Whole(count)));
    }
    series.push((format!("{name}_count"), labels_text(labels), Figure::Whole(count)));
    series
}

/// Returns labels as one object of JSON, in the order of the family.
fn labels_text(labels: &Labels) -> String {
    let fields = labels.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into()));
    serde_json::Value::Object(fields.collect()).to_string()
}
