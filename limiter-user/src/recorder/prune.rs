//! Bounds of age and size: the oldest goes first.
//!
//! The file may take what `size_max` leaves beside its log. Rows are removed a
//! slice of time at a time until nine tenths of that are used, so that the next
//! records find room; `SQLite`'s own limit on pages holds whatever happens.

use std::{collections::HashSet, path::Path};

use rusqlite::{Connection, TransactionBehavior, params};

use super::{
    database::{StoreError, log_bytes},
    loaded, stored,
};
use crate::config::RecorderSettings;

/// Bytes of the write-ahead log at most, and its share of `size_max`: room for what is written while a reader holds it.
const LOG_MAX: u64 = 16 << 20;
const LOG_SHARE: u64 = 8;
/// Slices of the time recorded; one is removed at a time.
const SLICES: u64 = 40;
/// Pages that are given back to the file system at a time, so that the log stays small.
const PAGES_GIVEN_BACK: u32 = 256;

/// What the file may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    keep_ms: u64,
    /// Bytes of the file.
    file: u64,
    /// Bytes of its log.
    log: u64,
}

impl Bounds {
    /// Returns the bounds that an operator has set.
    #[must_use]
    pub fn of(settings: &RecorderSettings) -> Self {
        let log = (settings.size_max / LOG_SHARE).min(LOG_MAX);
        let keep_ms = u64::try_from(settings.keep.as_millis()).unwrap_or(u64::MAX);
        Self { keep_ms, file: settings.size_max - log, log }
    }

    /// Makes the log begin anew when it is as long as it may be.
    ///
    /// # Errors
    ///
    /// When a reader holds on to it.
    pub(super) fn hold_log(&self, connection: &Connection, path: &Path) -> Result<(), StoreError> {
        if log_bytes(path) < self.log {
            return Ok(());
        }
        let sqlite = |source| StoreError::Sqlite { path: path.to_owned(), source };
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(sqlite)?;
        if log_bytes(path) < self.log { Ok(()) } else { Err(StoreError::Held { path: path.to_owned() }) }
    }

    /// Removes what is too old, and the oldest while there is too much; returns the series that are gone.
    pub(super) fn prune(&self, connection: &mut Connection, now_ms: u64) -> rusqlite::Result<HashSet<u32>> {
        let page: u64 =
            connection.pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0)).map(loaded)?;
        connection.pragma_update(None, "max_page_count", stored(self.file / page.max(1)))?;
        let mut gone = remove_before(connection, now_ms.saturating_sub(self.keep_ms))?;
        let target = self.file / 10 * 9;
        for _ in 0..SLICES {
            if used(connection, page)? <= target {
                break;
            }
            let Some((first, last)) = span(connection)? else { break };
            gone.extend(remove_before(connection, first + ((last - first) / SLICES).max(1))?);
        }
        // Room that nothing needs any more, as after `size_max` was lowered.
        connection.execute_batch(&format!("PRAGMA incremental_vacuum({PAGES_GIVEN_BACK})"))?;
        Ok(gone)
    }
}

/// Returns the bytes that hold something.
fn used(connection: &Connection, page: u64) -> rusqlite::Result<u64> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map(loaded);
    Ok((pragma("page_count")?.saturating_sub(pragma("freelist_count")?)) * page)
}

/// Returns the times of the oldest and of the newest row of any kind.
fn span(connection: &Connection) -> rusqlite::Result<Option<(u64, u64)>> {
    let query = "SELECT min(first), max(last) FROM (
        SELECT min(at) AS first, max(at) AS last FROM records UNION ALL
        SELECT min(at), max(at) FROM sources UNION ALL SELECT min(at), max(at) FROM events)";
    let span = connection
        .query_row(query, [], |row| Ok(row.get::<_, Option<i64>>(0)?.zip(row.get::<_, Option<i64>>(1)?)))?;
    Ok(span.map(|(first, last)| (loaded(first), loaded(last))))
}

/// Removes every row from before a time, and series that no record has any more.
fn remove_before(connection: &mut Connection, at_ms: u64) -> rusqlite::Result<HashSet<u32>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut removed = 0;
    for table in ["records", "sources", "events"] {
        removed +=
            transaction.execute(&format!("DELETE FROM {table} WHERE at < ?1"), params![stored(at_ms)])?;
    }
    let mut gone = HashSet::new();
    if removed > 0 {
        let delete = "DELETE FROM series WHERE last_at < ?1 RETURNING id";
        let mut statement = transaction.prepare(delete)?;
        for id in statement.query_map(params![stored(at_ms)], |row| row.get(0))? {
            gone.insert(id?);
        }
    }
    transaction.commit()?;
    Ok(gone)
}
