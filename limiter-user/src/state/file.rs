//! One file that is whole or recognised as damaged, and the generation before it.
//!
//! Three parts: a line that says what it is and in which format, one line of
//! JSON, and a line with the hash of both. Cut anywhere, or changed anywhere,
//! the hash is missing or wrong.
//!
//! A write makes `NAME.new`, syncs it, keeps what is there as `NAME.previous`,
//! renames, and syncs the directory. `NAME` is whole at every moment, as far as
//! the file system keeps its word; where it did not, the generation before it
//! is read, and what was damaged is kept as `NAME.damaged` by the next write.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

/// The format that this version writes, and the only one it reads.
const FORMAT: u32 = 1;
/// Begins every state file.
const MAGIC: &str = "limiter-state";
/// Begins the line of the hash.
const HASH: &str = "sha256 ";
/// Who may read: what is in here is the matter of the daemon's user.
const FILE_MODE: u32 = 0o600;

/// Why a state file cannot be written or removed.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be written", path.display())]
pub struct WriteError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Why a generation of a state file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// It is no state file, or not the one it should be.
    #[error("it does not begin like a state file of this kind")]
    Foreign,
    /// A newer version wrote it.
    #[error("it has format {0}, of a newer limiterd")]
    Newer(u32),
    /// Its hash is missing or wrong.
    #[error("it is cut short or was changed")]
    Hash,
    /// Its hash is right and its content makes no sense.
    #[error("its content is not understood: {0}")]
    Content(#[from] serde_json::Error),
}

/// What was read.
#[derive(Debug)]
pub struct Read<T> {
    /// The newest generation that is whole; none if there is none.
    pub value: Option<T>,
    /// What cannot be used of what is there.
    pub damage: Vec<(PathBuf, Damage)>,
}

/// A file of state.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    /// Whether what is there is worth keeping as the generation before.
    is_good: bool,
}

impl StateFile {
    /// Returns the file of this name; the name is also its kind.
    #[must_use]
    pub fn new(directory: &Path, name: &str) -> Self {
        Self { path: directory.join(name), is_good: false }
    }

    /// Returns where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the newest generation that is whole.
    pub fn read<T: DeserializeOwned>(&mut self) -> Read<T> {
        let mut damage = Vec::new();
        for path in [self.path.clone(), self.beside("previous")] {
            match read_one(&path, self.kind()) {
                Ok(Some(value)) => {
                    self.is_good = path == self.path;
                    return Read { value: Some(value), damage };
                }
                Ok(None) => {}
                Err(found) => damage.push((path, found)),
            }
        }
        Read { value: None, damage }
    }

    /// Writes a new generation; it is on disk when this returns.
    ///
    /// # Errors
    ///
    /// When the disk does not take it; then the generation before is in place.
    pub fn write(&mut self, value: &impl Serialize) -> Result<(), WriteError> {
        self.try_write(value).map_err(|source| WriteError { path: self.path.clone(), source })
    }

    fn try_write(&mut self, value: &impl Serialize) -> io::Result<()> {
        let new = self.beside("new");
        let written = write_one(&new, self.kind(), value);
        if let Err(error) = written {
            // A full disk has use for every byte of what was begun.
            drop(fs::remove_file(&new));
            return Err(error);
        }
        if self.is_good {
            let previous = self.beside("previous");
            absent_is_fine(fs::remove_file(&previous))?;
            // A link and not a rename: at no moment is there no file of this name.
            fs::hard_link(&self.path, &previous)?;
        } else {
            absent_is_fine(fs::rename(&self.path, self.beside("damaged")))?;
        }
        fs::rename(&new, &self.path)?;
        self.is_good = true;
        sync_directory_of(&self.path)
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        with_suffix(&self.path, suffix)
    }

    fn kind(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }
}

/// Writes a file whole: its directory has either what was there or all of `bytes`, on disk.
///
/// # Errors
///
/// When the disk does not take it.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), WriteError> {
    let new = with_suffix(path, "new");
    let written = (|| {
        let mut file = create(&new, mode)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        sync_directory_of(path)
    })();
    written.map_err(|source| {
        drop(fs::remove_file(&new));
        WriteError { path: path.to_owned(), source }
    })
}

/// Removes a file, on disk too; one that is absent is fine.
///
/// # Errors
///
/// When it stays.
pub fn remove(path: &Path) -> Result<(), WriteError> {
    absent_is_fine(fs::remove_file(path))
        .and_then(|()| sync_directory_of(path))
        .map_err(|source| WriteError { path: path.to_owned(), source })
}

/// Returns the path with a suffix behind its name.
#[must_use]
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".");
    name.push(suffix);
    name.into()
}

fn absent_is_fine(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn sync_directory_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

fn create(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)
}

fn write_one(path: &Path, kind: &str, value: &impl Serialize) -> io::Result<()> {
    let file = create(path, FILE_MODE)?;
    // Hashed as it is written: a long list is never in memory as text.
    let mut out = Hashed { out: BufWriter::new(file), hasher: Sha256::new() };
    writeln!(out, "{MAGIC} {FORMAT} {kind}")?;
    serde_json::to_writer(&mut out, value)?;
    out.write_all(b"\n")?;
    let Hashed { mut out, hasher } = out;
    writeln!(out, "{HASH}{}", hex(&hasher.finalize()))?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

fn read_one<T: DeserializeOwned>(path: &Path, kind: &str) -> Result<Option<T>, Damage> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let (head, rest) = line(&bytes).ok_or(Damage::Hash)?;
    let head = str::from_utf8(head).map_err(|_| Damage::Foreign)?;
    let mut words = head.split(' ');
    let (magic, format, found) = (words.next(), words.next(), words.next());
    if magic != Some(MAGIC) || found != Some(kind) {
        return Err(Damage::Foreign);
    }
    match format.and_then(|format| format.parse().ok()) {
        Some(FORMAT) => {}
        Some(format) => return Err(Damage::Newer(format)),
        None => return Err(Damage::Foreign),
    }
    let (content, end) = line(rest).ok_or(Damage::Hash)?;
    let hashed = bytes.len() - end.len();
    let expected = format!("{HASH}{}\n", hex(&Sha256::digest(bytes.get(..hashed).unwrap_or_default())));
    if end != expected.as_bytes() {
        return Err(Damage::Hash);
    }
    Ok(Some(serde_json::from_slice(content)?))
}

/// Splits off a line.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}

/// Returns bytes as digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        _ = write!(text, "{byte:02x}");
        text
    })
}

/// Hashes what goes through it.
struct Hashed<W> {
    out: W,
    hasher: Sha256,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
