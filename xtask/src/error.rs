//! What can go wrong in a task, said so that the reader knows what to do next.
//!
//! Every variant names the file, command or argument it is about. Nothing here
//! prints: `main` does, once.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// The result of everything in this crate that can fail.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Why a task stopped.
#[derive(Debug)]
pub(crate) enum Error {
    /// The command line does not say what to do.
    Usage(String),
    /// A file or directory could not be read or written.
    File { doing: &'static str, path: PathBuf, source: io::Error },
    /// A program could not be started.
    Start { command: String, source: io::Error },
    /// A program ran and failed; it has said why on its own.
    Failed { command: String, status: ExitStatus, remedy: Option<String> },
    /// Something that the task needs is not on this machine.
    Missing { what: String, remedies: Vec<Remedy> },
    /// The checks ran to their end and did not all pass.
    Unclean(String),
}

/// One thing that is missing, and the command that brings it.
#[derive(Debug)]
pub(crate) struct Remedy {
    pub(crate) missing: String,
    pub(crate) command: String,
}

impl Remedy {
    pub(crate) fn new(missing: impl Into<String>, command: impl Into<String>) -> Self {
        Self { missing: missing.into(), command: command.into() }
    }
}

impl Error {
    /// Returns an adapter for `map_err` on file operations.
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { doing, path, source }
    }

    /// Adds what the reader can do about a failed command.
    pub(crate) fn with_remedy(self, text: impl Into<String>) -> Self {
        match self {
            Self::Failed { command, status, .. } => {
                Self::Failed { command, status, remedy: Some(text.into()) }
            }
            other => other,
        }
    }

    /// Returns 2 for a mistake in the arguments and 1 for all else.
    pub(crate) fn exit_code(&self) -> u8 {
        if matches!(self, Self::Usage(_)) { 2 } else { 1 }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Unclean(text) => f.write_str(text),
            Self::File { doing, path, source } => write!(f, "cannot {doing} {}: {source}", path.display()),
            Self::Start { command, source } => write!(f, "cannot start `{command}`: {source}"),
            Self::Failed { command, status, remedy } => {
                write!(f, "`{command}` failed ({status})")?;
                remedy.as_ref().map_or(Ok(()), |text| write!(f, "\n  {text}"))
            }
            Self::Missing { what, remedies } => {
                f.write_str(what)?;
                for remedy in remedies {
                    write!(f, "\n  {}:\n      {}", remedy.missing, remedy.command)?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } | Self::Start { source, .. } => Some(source),
            Self::Usage(_) | Self::Failed { .. } | Self::Missing { .. } | Self::Unclean(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message about missing things lists each with its command.
    #[test]
    fn missing_names_every_remedy() {
        let error = Error::Missing {
            what: "no compiler".into(),
            remedies: vec![Remedy::new("core", "get core"), Remedy::new("linker", "get linker")],
        };
        assert_eq!(error.to_string(), "no compiler\n  core:\n      get core\n  linker:\n      get linker");
    }

    /// Scripts can tell a wrong argument from a failed task.
    #[test]
    fn usage_has_an_exit_code_of_its_own() {
        assert_eq!(Error::Usage(String::new()).exit_code(), 2);
        assert_eq!(Error::Unclean(String::new()).exit_code(), 1);
    }
}
