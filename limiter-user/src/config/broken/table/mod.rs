//! The one table of broken configurations: a file per kind of mistake, with its
//! place and phrases of what an operator is told.
//!
//! The unit tests of the parser and the kernel suite `netns_broken`, which
//! includes this module by its path, go through the same rows.

use std::{fs, io, os::unix::fs::symlink, path::Path};

use nix::{sys::stat::Mode, unistd::mkfifo};

mod breaker;
mod bytes;
mod class;
mod files;
mod host;
mod keys;
mod recorder;
mod service;
mod syntax;
mod witness;

/// Bytes of the largest file that is read, spelled out again: a test that used the parser's would not notice a slip.
const FILE_BYTES_MAX: usize = 16 << 20;

/// A text, the line and column of its mistake, and phrases of what is said.
///
/// `S;` stands for three lines: a service `smtp` with port 25; `C;` for those
/// and the two of a class `a`; `P;` for one line of prefixes.
type Case = (&'static str, (usize, usize), &'static [&'static str]);

/// What is found where a configuration should be.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// A file with these bytes.
    Bytes(Vec<u8>),
    /// Nothing.
    Absent,
    /// A directory.
    Directory,
    /// A named pipe that nobody writes to.
    Pipe,
    /// A symbolic link.
    Link(&'static str),
}

/// One row.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    /// What is found.
    pub(crate) content: Content,
    /// Line and column of the first mistake, if it has a place.
    pub(crate) place: Option<(usize, usize)>,
    /// How many mistakes there are.
    pub(crate) errors: usize,
    /// Phrases of what is said: the mistake and the remedy.
    pub(crate) says: &'static [&'static str],
}

/// Returns every row.
pub(crate) fn all() -> Vec<Broken> {
    let texts = [
        syntax::CASES,
        keys::CASES,
        host::CASES,
        breaker::CASES,
        witness::CASES,
        recorder::CASES,
        service::CASES,
        class::CASES,
    ]
    .concat();
    let texts = texts.into_iter().map(|(text, place, says)| Broken {
        content: Content::Bytes(spelled_out(text).into_bytes()),
        place: Some(place),
        errors: 1,
        says,
    });
    texts.chain(bytes::all()).chain(files::all()).collect()
}

fn spelled_out(text: &str) -> String {
    text.replace("C;", "S;[[class]]\nname = \"a\"\n")
        .replace("P;", "prefixes = [\"::2\"]\n")
        .replace("S;", "[[service]]\nname = \"smtp\"\nports = [25]\n")
}

impl Broken {
    /// Puts it at `path`, in place of what is there.
    pub(crate) fn put(&self, path: &Path) -> io::Result<()> {
        remove(path)?;
        match &self.content {
            Content::Bytes(bytes) => fs::write(path, bytes),
            Content::Absent => Ok(()),
            Content::Directory => fs::create_dir(path),
            Content::Pipe => Ok(mkfifo(path, Mode::S_IRWXU)?),
            Content::Link(target) => symlink(target, path),
        }
    }

    /// Returns what is wrong with what was said of it as the file `path`; nothing if all is right.
    pub(crate) fn complaint(&self, path: &Path, said: &str) -> Option<String> {
        let file = path.display();
        let place = match self.place {
            Some((line, column)) => format!("{file}:{line}:{column}: error: "),
            None => format!("{file}: error: "),
        };
        let count = match self.errors {
            1 => "1 error in the configuration".to_owned(),
            errors => format!("{errors} errors in the configuration"),
        };
        let phrases = self.says.iter().map(|phrase| (*phrase).to_owned());
        let missing: Vec<String> =
            phrases.chain([place, count]).filter(|phrase| !said.contains(phrase)).collect();
        let (errors, remedies) = (said.matches(": error: ").count(), said.matches(" = help: ").count());
        if missing.is_empty() && remedies == errors {
            return None;
        }
        let (said, text): (String, String) = (said.chars().take(2_000).collect(), self.shown());
        Some(format!(
            "{missing:?} are missing, {errors} errors have {remedies} remedies in\n{said}\nof\n{text}"
        ))
    }

    /// Returns the beginning of its content.
    fn shown(&self) -> String {
        match &self.content {
            Content::Bytes(bytes) => String::from_utf8_lossy(bytes).chars().take(300).collect(),
            other => format!("{other:?}"),
        }
    }
}

/// Removes whatever is at `path`, if there is anything.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
