//! The file: its schema, and what is done with one that cannot be used.

use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

/// `PRAGMA application_id`: "LMTR".
const APPLICATION: i32 = 0x4c4d_5452;
/// `PRAGMA user_version`: the schema that this version writes, and the only one it reads.
pub const SCHEMA: i32 = 1;
/// How long another connection may hold the file, as a checkpoint of a reader that ends does.
const BUSY: Duration = Duration::from_secs(2);
/// Pages of the write-ahead log at which it is copied into the file: 1 MiB.
const CHECKPOINT_PAGES: u32 = 256;
/// Bytes that the write-ahead log keeps when it begins anew.
const LOG_KEPT: u32 = 1 << 20;

/// The tables.
///
/// `records` holds changes of samples (`encoding.rs`); those with `whole` hold all of them, so that a
/// window is read from the last whole record before it.
const TABLES: &str = "
CREATE TABLE series (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    labels TEXT NOT NULL,
    last_at INTEGER NOT NULL,
    UNIQUE (name, labels)
);
CREATE TABLE records (at INTEGER PRIMARY KEY, whole INTEGER NOT NULL, samples BLOB NOT NULL);
CREATE INDEX whole_records ON records (at) WHERE whole = 1;
CREATE TABLE sources (
    at INTEGER NOT NULL,
    service TEXT NOT NULL,
    source TEXT NOT NULL,
    open INTEGER NOT NULL,
    new INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    PRIMARY KEY (at, service, source)
) WITHOUT ROWID;
CREATE TABLE events (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, service TEXT, text TEXT NOT NULL);
CREATE INDEX events_at ON events (at);
";

/// Why something was not recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// `SQLite` does not do it.
    #[error("{} takes no records", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// The file system does not do it.
    #[error("cannot {step} {}", path.display())]
    System {
        /// What was being done.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The write-ahead log cannot begin anew.
    #[error("somebody has been reading {} for so long that its log is full; nothing is recorded meanwhile", path.display())]
    Held {
        /// The file.
        path: PathBuf,
    },
}

impl StoreError {
    /// Whether the file is beyond use, and not only the moment.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Sqlite { source, .. } if is_damage(source))
    }

    /// Whether there is no room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Sqlite { source, .. } if source.sqlite_error_code() == Some(ErrorCode::DiskFull))
    }
}

/// Why a file is of no use.
enum Useless {
    /// It is damaged, or something else altogether.
    Damaged(String),
    /// A newer version wrote it.
    Newer(i32),
}

/// Opens the file for writing; makes it, with its directory, where it is absent.
///
/// One that is of no use is put aside; the second value says so, and where it is.
///
/// # Errors
///
/// When the disk does not take it.
pub fn open(path: &Path) -> Result<(Connection, Option<String>), StoreError> {
    let sqlite = |source| StoreError::Sqlite { path: path.to_owned(), source };
    make_file(path)?;
    let useless = match try_open(path) {
        Ok(Ok(connection)) => return Ok((connection, None)),
        Ok(Err(useless)) => useless,
        Err(error) if is_damage(&error) => Useless::Damaged(error.to_string()),
        Err(error) => return Err(sqlite(error)),
    };
    let (why, suffix) = match useless {
        Useless::Damaged(why) => (format!("is damaged ({why})"), "damaged"),
        Useless::Newer(schema) => (format!("has schema {schema}, of a newer limiterd"), "newer"),
    };
    let aside = put_aside(path, suffix)?;
    make_file(path)?;
    let Ok(connection) = try_open(path).map_err(sqlite)? else {
        // A file that was made a moment ago is as good as it gets.
        return Err(sqlite(rusqlite::Error::InvalidQuery));
    };
    let (path, aside) = (path.display(), aside.display());
    Ok((connection, Some(format!("{path} {why}: it is kept as {aside}, and recording has begun anew"))))
}

fn try_open(path: &Path) -> rusqlite::Result<Result<Connection, Useless>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    let is_new = is_empty(&connection)?;
    if is_new {
        // Before the first table; pages of what was pruned can be given back then.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A record is on disk when it is written: one sync in ten seconds is no load.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", LOG_KEPT)?;
    if is_new {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", SCHEMA)?;
        transaction.commit()?;
        return Ok(Ok(connection));
    }
    if let Err(useless) = look_at(&connection)? {
        return Ok(Err(useless));
    }
    let check: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if check != "ok" {
        return Ok(Err(Useless::Damaged(check)));
    }
    Ok(Ok(connection))
}

/// What a reader finds.
pub(super) enum Found {
    /// A recording.
    Recording(Connection),
    /// A file in which nothing is yet: it is being made.
    Nothing,
    /// A file of no use, and why.
    Useless(String),
}

/// Opens the file for reading.
///
/// # Errors
///
/// When `SQLite` cannot.
pub(super) fn open_to_read(path: &Path) -> rusqlite::Result<Found> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    Ok(match look_at(&connection)? {
        Ok(()) => Found::Recording(connection),
        Err(_) if is_empty(&connection)? => Found::Nothing,
        Err(Useless::Damaged(why)) => Found::Useless(why),
        Err(Useless::Newer(schema)) => Found::Useless(format!("it has schema {schema}, of a newer limiterd")),
    })
}

/// Whether there is no table in it.
fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))
}

/// Looks whether a file is a recorder's, of a schema that is known.
fn look_at(connection: &Connection) -> rusqlite::Result<Result<(), Useless>> {
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let schema: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(match (application, schema) {
        (APPLICATION, SCHEMA) => Ok(()),
        (APPLICATION, schema) if schema > SCHEMA => Err(Useless::Newer(schema)),
        (APPLICATION, _) => Err(Useless::Damaged(format!("schema {schema} is unknown"))),
        _ => Err(Useless::Damaged("it is no file of a recorder".to_owned())),
    })
}

/// Whether an error says that the file itself is bad.
#[must_use]
pub fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::SchemaChanged)
    )
}

/// Makes an empty file for its owner alone where there is none; `SQLite` gives its log the same mode.
fn make_file(path: &Path) -> Result<(), StoreError> {
    let system = |step| move |source| StoreError::System { step, path: path.to_owned(), source };
    if let Some(directory) = path.parent() {
        crate::state::make_directory(directory)
            .map_err(|error| system("make the directory of")(error.source))?;
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path).map(drop).map_err(system("open"))
}

/// Moves the file away, with its log, over what was put aside before; returns where it is.
pub(super) fn put_aside(path: &Path, suffix: &str) -> Result<PathBuf, StoreError> {
    let aside = with_suffix(path, &format!(".{suffix}"));
    for part in ["-wal", "-shm", ""] {
        let (from, to) = (with_suffix(path, part), with_suffix(&aside, part));
        let moved = match part {
            // The log of what was put aside before must not be taken for that of this one.
            "-wal" => absent_is_fine(fs::remove_file(&to)).and_then(|()| fs::rename(&from, &to)),
            // The index of the log is made anew from it.
            "-shm" => fs::remove_file(&from),
            _ => fs::rename(&from, &to),
        };
        absent_is_fine(moved).map_err(|source| StoreError::System {
            step: "put aside",
            path: from,
            source,
        })?;
    }
    Ok(aside)
}

fn absent_is_fine(outcome: io::Result<()>) -> io::Result<()> {
    outcome.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Returns the bytes that the file and its log take.
#[must_use]
pub fn bytes_on_disk(path: &Path) -> u64 {
    ["", "-wal"].iter().map(|part| length(&with_suffix(path, part))).sum()
}

/// Returns the bytes of the write-ahead log.
pub(super) fn log_bytes(path: &Path) -> u64 {
    length(&with_suffix(path, "-wal"))
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}
