//! Which suites exist, found in the tree and never listed by hand.
//!
//! A suite in `tests/tests` needs the kernel unless its name says that it is a
//! model, drives the command line or is about alert rules. It runs on one thread unless its header
//! has the line `//! Runs in parallel.`, or `//! Runs in parallel, and mostly waits.`: then on more
//! threads than there are CPUs.

use std::fs;
use std::path::Path;

use crate::error::{Error, Result};
use crate::workspace::Workspace;

/// Packages whose own tests need no privileges.
const PACKAGES: [&str; 3] = ["limiter-common", "limiter-user", "xtask"];

/// How the names of suites begin that need no privileges either.
const PLAIN_PREFIXES: [&str; 3] = ["model", "cli", ALERTS];

/// The suite of the alert rules, which needs `promtool` and no privileges.
pub(crate) const ALERTS: &str = "alerts";

/// The header line of a suite whose tests do not get in each other's way.
const PARALLEL: &str = "//! Runs in parallel.";

/// The header line of one whose tests need hardly any CPU, either.
const WAITS: &str = "//! Runs in parallel, and mostly waits.";

/// How many tests of a suite may run at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Threads {
    One,
    /// As many as there are CPUs.
    Any,
    /// More than there are CPUs.
    Many,
}

impl Threads {
    /// Returns how many to ask libtest for, if it is to be told.
    pub(crate) const fn argument(self) -> Option<&'static str> {
        match self {
            Self::One => Some("--test-threads=1"),
            Self::Any => None,
            // As many acts as a replay has.
            Self::Many => Some("--test-threads=4"),
        }
    }
}

/// What one call of `cargo test` runs.
#[derive(Debug, PartialEq)]
pub(crate) struct Suite {
    pub(crate) name: String,
    pub(crate) cargo_args: Vec<String>,
    pub(crate) needs_kernel: bool,
    pub(crate) threads: Threads,
}

/// Lists the suites of this checkout, those without privileges first.
pub(crate) fn all(workspace: &Workspace) -> Result<Vec<Suite>> {
    let mut suites: Vec<Suite> = PACKAGES.iter().map(|name| package(name, &[])).collect();
    let tests = workspace.root().join("tests");
    if tests.join("src/lib.rs").is_file() {
        suites.push(package("limiter-tests", &["--lib", "--bins"]));
    }
    let mut files = suite_files(&tests.join("tests"))?;
    files.sort();
    suites.extend(files.iter().map(|(name, header)| suite(name, header)));
    suites.sort_by_key(|suite| suite.needs_kernel);
    Ok(suites)
}

/// Splits what the user typed into the suites to run and the filter inside them.
pub(crate) fn select(suites: Vec<Suite>, filter: Option<&str>) -> (Vec<Suite>, Option<&str>) {
    let is_suite = |name: &str| suites.iter().any(|suite| suite.name == name);
    match filter {
        Some(name) if is_suite(name) => {
            (suites.into_iter().filter(|suite| suite.name == name).collect(), None)
        }
        other => (suites, other),
    }
}

fn package(name: &str, targets: &[&str]) -> Suite {
    let args = ["--package", name].iter().chain(targets).map(|&arg| arg.to_owned()).collect();
    Suite { name: name.to_owned(), cargo_args: args, needs_kernel: false, threads: Threads::Any }
}

fn suite(name: &str, text: &str) -> Suite {
    let needs_kernel = !PLAIN_PREFIXES
        .iter()
        .any(|prefix| name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('_')));
    let header_says = |what| text.lines().take_while(|line| line.starts_with("//!")).any(|line| line == what);
    let threads = match needs_kernel {
        true if header_says(WAITS) => Threads::Many,
        true if !header_says(PARALLEL) => Threads::One,
        _ => Threads::Any,
    };
    Suite {
        name: name.to_owned(),
        cargo_args: ["--package", "limiter-tests", "--test", name].map(str::to_owned).to_vec(),
        needs_kernel,
        threads,
    }
}

/// Cargo makes a suite of every `NAME.rs` and every `NAME/main.rs`.
fn suite_files(dir: &Path) -> Result<Vec<(String, String)>> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::file("list", dir))?.flatten() {
        let path = entry.path();
        let file = if path.is_dir() { path.join("main.rs") } else { path.clone() };
        let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) else {
            continue;
        };
        if file.extension().is_some_and(|extension| extension == "rs") && file.is_file() {
            let text = fs::read_to_string(&file).map_err(Error::file("read", &file))?;
            files.push((name.to_owned(), text));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel suites share one kernel: alone unless the header allows more.
    #[test]
    fn kernel_suites_run_on_one_thread() {
        assert_eq!(suite("netns_limits", "//! Limits.\n").threads, Threads::One);
        assert_eq!(suite("progrun_syn", "//! SYNs.\n//!\n//! Runs in parallel.\n").threads, Threads::Any);
        assert_eq!(suite("progrun_syn", "//! SYNs.\n\n//! Runs in parallel.\n").threads, Threads::One);
        let waits = "//! Replay.\n//!\n//! Runs in parallel, and mostly waits.\n";
        assert_eq!(suite("netns_replay", waits).threads, Threads::Many);
    }

    /// A suite's name decides whether it needs root.
    #[test]
    fn models_and_command_line_suites_need_no_kernel() {
        assert!(!suite("model", "").needs_kernel);
        assert!(!suite("cli_check", "").needs_kernel);
        assert!(suite("client_storm", "").needs_kernel);
        assert!(suite("netns_gate", "").needs_kernel);
    }

    /// A suite's name picks the suite; anything else goes to the test binaries.
    #[test]
    fn a_filter_is_a_suite_or_a_part_of_test_names() {
        let both = || vec![suite("netns_gate", ""), suite("netns_limits", "")];
        let (suites, filter) = select(both(), Some("netns_gate"));
        assert_eq!((suites.len(), filter), (1, None));
        let (suites, filter) = select(both(), Some("syn"));
        assert_eq!((suites.len(), filter), (2, Some("syn")));
    }
}
