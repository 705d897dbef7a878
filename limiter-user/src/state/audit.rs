//! The audit log: one line of JSON per change that somebody asked for.
//!
//! It is written after the fact, with the outcome; a change is never refused
//! because it cannot be logged here, since the journal has it too.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::file::with_suffix;

/// Bytes after which a new file is begun. A choice: some thousands of lines.
const SIZE_MAX: u64 = 1 << 20;
/// Files that are kept beside the one being written.
const KEPT: u32 = 4;

/// One change.
#[derive(Clone, Debug, Serialize)]
pub struct Entry<'a> {
    /// When, in seconds since 1970.
    pub at_s: u64,
    /// The same for people, in UTC.
    pub at: String,
    /// The user who asked; none for limiterd itself and for signals.
    pub uid: Option<u32>,
    /// Their process.
    pub pid: Option<i32>,
    /// The verb, such as `deny`.
    pub what: &'a str,
    /// What it was asked to do.
    pub request: serde_json::Value,
    /// `done`, or why not.
    pub outcome: &'a str,
}

/// The audit log.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    size_max: u64,
}

impl Audit {
    /// Returns the log in a directory.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self { path: directory.join("audit.log"), size_max: SIZE_MAX }
    }

    /// Adds a line; it is on disk when this returns.
    ///
    /// # Errors
    ///
    /// When the disk does not take it.
    pub fn write(&self, entry: &Entry<'_>) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        let file = || OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path);
        let mut log: File = file()?;
        if log.metadata()?.len() + line.len() as u64 > self.size_max {
            self.rotate()?;
            log = file()?;
        }
        log.write_all(&line)?;
        log.sync_data()
    }

    /// Moves every file one on; the oldest goes.
    fn rotate(&self) -> io::Result<()> {
        let numbered = |n: u32| with_suffix(&self.path, &n.to_string());
        for n in (1..KEPT).rev() {
            match fs::rename(numbered(n), numbered(n + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, numbered(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The log is made of whole lines, and is bounded: the oldest file goes.
    #[test]
    fn the_log_is_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let log = Audit { size_max: 300, ..Audit::new(directory.path()) };
        for at_s in 0..40 {
            let request = serde_json::json!({"prefix": "192.0.2.0/24"});
            let at = "2026-01-01T00:00:00Z".to_owned();
            let entry =
                Entry { at_s, at, uid: Some(0), pid: Some(7), what: "deny", request, outcome: "done" };
            log.write(&entry).unwrap();
        }
        let files: Vec<_> =
            fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().path()).collect();
        assert_eq!(files.len(), 1 + KEPT as usize, "{files:?}");
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            assert!(text.len() <= 300, "{}", text.len());
            for line in text.lines() {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                assert_eq!((&line["uid"], &line["what"]), (&0.into(), &"deny".into()));
            }
        }
    }
}
