//! `cargo xtask tidy`: the house rules that neither rustc nor clippy knows.
//!
//! Each check is a pure function from a file to the problems in it; this file
//! finds the files and prints what was found, in the form `path:line: problem`.

mod markdown;
mod rust;
mod source;
mod unsafe_places;

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::terminal::line;
use crate::workspace::Workspace;

/// Directories that hold nothing written by hand.
const SKIPPED_DIRS: [&str; 2] = ["target", ".git"];

/// Words that the glossary replaces; spelled in halves, since this file is checked too.
const REPLACED_WORDS: [(&str, &str); 2] =
    [(concat!("white", "list"), "allow list"), (concat!("black", "list"), "deny list")];

/// Files that may quote the replaced words: they say what not to write.
const WORD_LISTS: [&str; 1] = ["docs/glossary.md"];

/// One thing to mend.
#[derive(Debug, PartialEq)]
struct Problem {
    /// Counted from 1.
    line: usize,
    text: String,
}

impl Problem {
    fn new(line: usize, text: impl Into<String>) -> Self {
        Self { line, text: text.into() }
    }
}

/// Checks every Rust and Markdown file of the checkout.
pub(crate) fn tidy(workspace: &Workspace) -> Result<()> {
    let mut files = Vec::new();
    collect(workspace.root(), &mut files)?;
    files.sort();
    let mut count = 0_usize;
    let mut report = |path: &Path, problems: Vec<Problem>| {
        for problem in problems {
            line(format!("{}:{}: {}", path.display(), problem.line, problem.text));
            count += 1;
        }
    };
    for file in &files {
        let text = fs::read_to_string(file).map_err(Error::file("read", file))?;
        let path = file.strip_prefix(workspace.root()).unwrap_or(file);
        report(path, check(path, &text, |target| workspace.root().join(target).exists()));
    }
    let read = |path: &str| fs::read_to_string(workspace.root().join(path)).ok();
    report(Path::new(unsafe_places::HERE), unsafe_places::unused(read));
    if count == 0 {
        return Ok(());
    }
    Err(Error::Unclean(format!("{count} problems in {} files", files.len())))
}

fn check(path: &Path, text: &str, exists: impl Fn(&Path) -> bool) -> Vec<Problem> {
    let name = path.to_string_lossy();
    let mut problems =
        if name.ends_with(".rs") { rust::check(&name, text) } else { markdown::check(path, text, exists) };
    if !WORD_LISTS.contains(&name.as_ref()) {
        problems.extend(replaced_words(text));
    }
    problems.sort_by_key(|problem| problem.line);
    problems
}

fn replaced_words(text: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let lower = line.to_lowercase();
        for (word, better) in REPLACED_WORDS {
            if lower.contains(word) {
                problems.push(Problem::new(number, format!("the glossary says `{better}` for `{word}`")));
            }
        }
    }
    problems
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(Error::file("list", dir))? {
        let path = entry.map_err(Error::file("list", dir))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // A link could lead out of the checkout or round in a circle.
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            if !SKIPPED_DIRS.contains(&name.as_str()) {
                collect(&path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "md") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Replaced words are found in any case, in code and in text.
    #[test]
    fn replaced_words_are_found() {
        let text = format!("fine\nThe {}List of hosts\n", "White");
        let problems = replaced_words(&text);
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].line, 2);
    }

    /// The glossary itself has to name the words it replaces.
    #[test]
    fn the_glossary_may_quote_them() {
        let text = format!("not {}list\n", "black");
        assert!(check(Path::new("docs/glossary.md"), &text, |_| true).is_empty());
        assert_eq!(check(Path::new("docs/operations.md"), &text, |_| true).len(), 1);
    }
}
