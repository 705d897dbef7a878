//! Reading, in the daemon and without one.
//!
//! Always on a connection of its own that cannot write, and within one
//! transaction: what is written meanwhile is not seen.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, params};

use super::{
    database::{self, Found},
    encoding::BadRecord,
    loaded,
    minute::SourceRow,
    stored,
};

/// Why nothing can be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// There is no file.
    #[error("there is no recording at {}", path.display())]
    Absent {
        /// Where it should be.
        path: PathBuf,
    },
    /// The file may not be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is of no use.
    #[error("{} cannot be used: {why}", path.display())]
    Useless {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// `SQLite` does not read it.
    #[error("the recording cannot be read")]
    Sqlite(#[from] rusqlite::Error),
    /// A record makes no sense.
    #[error(transparent)]
    Record(#[from] BadRecord),
    /// Nothing was recorded of a service.
    #[error("nothing is recorded of a service `{name}`; services are: {known}")]
    NoSuchService {
        /// The name that was asked for.
        name: String,
        /// Those that are there.
        known: String,
    },
}

/// A series.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its number.
    pub id: u32,
    /// The name of its samples.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// An event, as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What kind.
    pub kind: String,
    /// To which service.
    pub service: Option<String>,
    /// What happened.
    pub text: String,
}

/// The file, open for reading.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
}

impl Reader {
    /// Opens the file.
    ///
    /// # Errors
    ///
    /// When it is absent, may not be read, or is of no use.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        // SQLite does not tell these apart.
        if let Err(source) = std::fs::File::open(path) {
            let path = path.to_owned();
            return Err(match source.kind() {
                io::ErrorKind::NotFound => ReadError::Absent { path },
                _ => ReadError::Unreadable { path, source },
            });
        }
        let useless = |why| ReadError::Useless { path: path.to_owned(), why };
        let connection = match database::open_to_read(path) {
            Ok(Found::Recording(connection)) => connection,
            Ok(Found::Nothing) => return Err(ReadError::Absent { path: path.to_owned() }),
            Ok(Found::Useless(why)) => return Err(useless(why)),
            Err(error) if database::is_damage(&error) => return Err(useless(error.to_string())),
            Err(error) => return Err(error.into()),
        };
        connection.execute_batch("BEGIN")?;
        Ok(Self { connection })
    }

    /// Returns every series.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn series(&self) -> Result<Vec<Series>, ReadError> {
        let mut statement = self.connection.prepare("SELECT id, name, labels FROM series")?;
        let rows = statement.query_map([], |row| {
            let labels: String = row.get(2)?;
            // Labels are written as JSON; others would match nothing that is asked for.
            let labels = serde_json::from_str(&labels).unwrap_or_default();
            Ok(Series { id: row.get(0)?, name: row.get(1)?, labels })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Returns when the oldest record was made.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn oldest_ms(&self) -> Result<Option<u64>, ReadError> {
        let oldest = self.connection.query_row("SELECT min(at) FROM records", [], |row| row.get(0));
        Ok(oldest.map(|at: Option<i64>| at.map(loaded))?)
    }

    /// Returns the last `limit` events of a window, oldest first, and how many there are before them.
    ///
    /// Of a service those that concern it alone and those that concern all.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn events(
        &self,
        (from_ms, until_ms): (u64, u64),
        service: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<EventRow>, u64), ReadError> {
        let matching =
            "FROM events WHERE at BETWEEN ?1 AND ?2 AND (?3 IS NULL OR service IS NULL OR service = ?3)";
        let window = (stored(from_ms), stored(until_ms));
        let count = format!("SELECT count(*) {matching}");
        let count: i64 =
            self.connection.query_row(&count, params![window.0, window.1, service], |row| row.get(0))?;
        let query = format!("SELECT at, kind, service, text {matching} ORDER BY at DESC, id DESC LIMIT ?4");
        let mut statement = self.connection.prepare(&query)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![window.0, window.1, service, limit], |row| {
            let at_ms = loaded(row.get(0)?);
            Ok(EventRow { at_ms, kind: row.get(1)?, service: row.get(2)?, text: row.get(3)? })
        })?;
        let mut events = rows.collect::<Result<Vec<_>, _>>()?;
        events.reverse();
        let left_out = loaded(count).saturating_sub(events.len() as u64);
        Ok((events, left_out))
    }

    /// Calls `take` for every record up to `until_ms`, from the last whole one before `from_ms` on.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or `take` says so.
    pub fn records(
        &self,
        (from_ms, until_ms): (u64, u64),
        mut take: impl FnMut(u64, &[u8]) -> Result<(), BadRecord>,
    ) -> Result<(), ReadError> {
        // Changes whose whole record was pruned say too little: without one before the window, the first in it.
        let whole = "SELECT coalesce(
                (SELECT max(at) FROM records WHERE whole = 1 AND at <= ?1),
                (SELECT min(at) FROM records WHERE whole = 1))";
        let start: Option<i64> = self.connection.query_row(whole, [stored(from_ms)], |row| row.get(0))?;
        let mut statement = self
            .connection
            .prepare("SELECT at, samples FROM records WHERE at BETWEEN ?1 AND ?2 ORDER BY at")?;
        let mut rows = statement.query(params![start.unwrap_or_default(), stored(until_ms)])?;
        while let Some(row) = rows.next()? {
            let samples = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
            take(loaded(row.get(0)?), samples)?;
        }
        Ok(())
    }

    /// Returns what sources did in a window, by service those with most refused first: the most they had open at the
    /// end of a minute, and the sums of the rest.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn sources(
        &self,
        (from_ms, until_ms): (u64, u64),
        service: Option<&str>,
        per_service: usize,
    ) -> Result<Vec<SourceRow>, ReadError> {
        let mut statement = self.connection.prepare(
            "SELECT service, source, open, new, refused FROM (
                SELECT *, row_number() OVER (PARTITION BY service ORDER BY refused DESC, new DESC, open DESC) AS place
                FROM (SELECT service, source, max(open) AS open, sum(new) AS new, sum(refused) AS refused
                    FROM sources WHERE at BETWEEN ?1 AND ?2 AND (?3 IS NULL OR service = ?3)
                    GROUP BY service, source)
            ) WHERE place <= ?4 ORDER BY service, place",
        )?;
        let limit = i64::try_from(per_service).unwrap_or(i64::MAX);
        let rows =
            statement.query_map(params![stored(from_ms), stored(until_ms), service, limit], |row| {
                Ok(SourceRow {
                    service: row.get(0)?,
                    source: row.get(1)?,
                    open: row.get(2)?,
                    new: row.get(3)?,
                    refused: row.get(4)?,
                })
            })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
