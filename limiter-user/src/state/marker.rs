//! The mark of a panic: while it is there, nothing is attached.
//!
//! That it is there is what counts. Its content is for people, so a damaged
//! one counts too: in doubt nobody is refused anything.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use super::{WriteError, file};

/// The name of the mark in the state directory.
const NAME: &str = "panic";

/// Since when, by whom and why nothing is attached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Panic {
    /// When it began, in seconds since 1970; 0 if that is not known.
    pub since_s: u64,
    /// Who began it.
    pub who: String,
    /// Why, in their words.
    #[serde(default)]
    pub note: String,
}

/// Returns the mark, if there is one.
#[must_use]
pub fn read(directory: &Path) -> Option<Panic> {
    let path = directory.join(NAME);
    let unknown = || Panic { since_s: 0, who: "unknown".to_owned(), note: String::new() };
    match fs::read(&path) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).unwrap_or_else(|_| unknown())),
        Err(_) => fs::symlink_metadata(&path).is_ok().then(unknown),
    }
}

/// Makes the mark; the directory as well.
///
/// # Errors
///
/// When the disk does not take it.
pub fn write(directory: &Path, panic: &Panic) -> Result<(), WriteError> {
    super::make_directory(directory)?;
    // Strings and numbers always serialise.
    file::replace(&directory.join(NAME), &serde_json::to_vec(panic).unwrap_or_default(), 0o644)
}

/// Removes the mark; none is fine.
///
/// # Errors
///
/// When it stays.
pub fn remove(directory: &Path) -> Result<(), WriteError> {
    if directory.exists() { file::remove(&directory.join(NAME)) } else { Ok(()) }
}
