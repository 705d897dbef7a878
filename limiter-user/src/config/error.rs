//! Mistakes in a configuration, with place and remedy.
//!
//! Every mistake is one [`ConfigError`]; all those of a file are shown together,
//! in the order of the file, the way a compiler does.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use nix::errno::Errno;
use serde::Serialize;

use super::problem::Problems;

/// A place in a file; both numbers start at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// Where in it; absent if it cannot be read.
    pub place: Option<Place>,
    /// What is wrong.
    pub message: String,
    /// What helps.
    pub help: String,
    /// Another place that has to do with it, and how.
    pub related: Option<(Place, String)>,
    /// The line in question; empty if it is too long to show.
    pub excerpt: String,
    /// How many characters of it are meant.
    pub width: usize,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        let margin = match self.place {
            None => {
                write!(f, "{file}: error: {}", self.message)?;
                " ".to_owned()
            }
            Some(Place { line, column }) => {
                write!(f, "{file}:{line}:{column}: error: {}", self.message)?;
                let margin = " ".repeat(line.to_string().len());
                if !self.excerpt.is_empty() {
                    // Tabs stay tabs, so that the carets stand below what they mean.
                    let before = self.excerpt.chars().take(column - 1);
                    let indent: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
                    let carets = "^".repeat(self.width.max(1));
                    write!(f, "\n{margin} |\n{line} | {}\n{margin} | {indent}{carets}", self.excerpt)?;
                }
                margin
            }
        };
        if let Some((Place { line, column }, what)) = &self.related {
            write!(f, "\n{margin} = note: {file}:{line}:{column}: {what}")?;
        }
        if self.help.is_empty() { Ok(()) } else { write!(f, "\n{margin} = help: {}", self.help) }
    }
}

/// All mistakes of a file, at least one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigErrors {
    pub(super) errors: Vec<ConfigError>,
    /// How many there are beyond those.
    pub(super) omitted: usize,
}

impl ConfigErrors {
    /// Returns how many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.errors.len() + self.omitted
    }

    /// Returns the first hundred in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.errors.iter()
    }

    pub(super) fn unreadable(path: &Path, error: &io::Error) -> Self {
        let help = match error.kind() {
            io::ErrorKind::NotFound => {
                "name an existing file; configs/limiter.toml of the source is one to start from"
            }
            io::ErrorKind::PermissionDenied => "run as root, or make the file readable",
            io::ErrorKind::IsADirectory => "name a file",
            _ if error.raw_os_error() == Some(Errno::ELOOP as i32) => {
                "name the file itself: the symbolic link leads back to itself"
            }
            _ => "see whether the path is right, and whether the disk can be read",
        };
        Self::without_place(path, format!("cannot read the configuration: {error}"), help)
    }

    pub(super) fn not_text(path: &Path, bytes: &[u8], valid_up_to: usize) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut problems = Problems::default();
        problems.add(valid_up_to..valid_up_to + 1, "this byte is not UTF-8", "save the file as UTF-8");
        match problems.finish(path, &text) {
            Err(errors) => errors,
            Ok(()) => Self::without_place(path, "the file is not UTF-8", "save the file as UTF-8"),
        }
    }

    pub(super) fn without_place(path: &Path, message: impl Into<String>, help: &str) -> Self {
        let error = ConfigError {
            file: path.to_owned(),
            place: None,
            message: message.into(),
            help: help.to_owned(),
            related: None,
            excerpt: String::new(),
            width: 0,
        };
        Self { errors: vec![error], omitted: 0 }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.errors {
            writeln!(f, "{error}\n")?;
        }
        let count = self.count();
        if self.omitted > 0 {
            writeln!(f, "... and {} more\n", self.omitted)?;
        }
        let s = if count == 1 { "" } else { "s" };
        write!(f, "{count} error{s} in the configuration")
    }
}

impl std::error::Error for ConfigErrors {}
