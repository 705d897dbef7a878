//! Counting what the test binaries report, and the table at the end.
//!
//! Output is passed on line by line as it comes; nothing is held back and
//! nothing of it is changed.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::failures::Failures;
use crate::error::{Error, Result};
use crate::process::shown;
use crate::terminal::{Paint, line, paint, seconds};

/// How one suite ended.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    passed: u64,
    failed: u64,
    skipped: u64,
    succeeded: bool,
    ran: bool,
    elapsed: Duration,
}

impl Outcome {
    /// A suite that was not started.
    pub(crate) fn left_out() -> Self {
        Self::default()
    }

    pub(crate) fn took(self, elapsed: Duration) -> Self {
        Self { elapsed, ..self }
    }

    /// Adds what one line of a test binary's output says, without colours.
    fn count(&mut self, plain: &str) {
        if plain.starts_with("SKIP ") {
            self.skipped += 1;
        }
        let Some(result) = plain.strip_prefix("test result: ") else {
            return;
        };
        for part in result.split(['.', ';']) {
            match part.trim().split_once(' ') {
                Some((number, "passed")) => self.passed += number.parse::<u64>().unwrap_or_default(),
                Some((number, "failed")) => self.failed += number.parse::<u64>().unwrap_or_default(),
                _ => {}
            }
        }
    }
}

/// All suites so far, in the order in which they ran.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<(String, Outcome)>,
    failures: Vec<(String, Failures)>,
}

impl Report {
    pub(crate) fn add(&mut self, suite: &str, outcome: Outcome) {
        self.rows.push((suite.to_owned(), outcome));
    }

    /// Keeps what failed tests of a suite said for the end.
    pub(crate) fn keep(&mut self, suite: &str, failures: Failures) {
        self.failures.push((suite.to_owned(), failures));
    }

    pub(crate) fn passed(&self) -> u64 {
        self.rows.iter().map(|(_, outcome)| outcome.passed).sum()
    }

    /// Names the suites that ran and did not succeed, for whatever reason.
    pub(crate) fn failed(&self) -> Vec<&str> {
        self.names(|outcome| outcome.ran && !outcome.succeeded)
    }

    /// Names the suites that did not run.
    pub(crate) fn left_out(&self) -> Vec<&str> {
        self.names(|outcome| !outcome.ran)
    }

    fn names(&self, wanted: impl Fn(&Outcome) -> bool) -> Vec<&str> {
        self.rows.iter().filter(|(_, outcome)| wanted(outcome)).map(|(name, _)| name.as_str()).collect()
    }

    pub(crate) fn print(&self) {
        let width = self.rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        line("");
        line(paint(
            Paint::Bold,
            format!("{:width$}  {:>6}  {:>6}  {:>7}  {:>8}", "suite", "passed", "failed", "skipped", "time"),
        ));
        for (name, outcome) in &self.rows {
            line(row(name, width, outcome));
        }
        let mut total = Outcome { ran: true, succeeded: self.failed().is_empty(), ..Outcome::default() };
        for (_, outcome) in &self.rows {
            total.passed += outcome.passed;
            total.failed += outcome.failed;
            total.skipped += outcome.skipped;
            total.elapsed += outcome.elapsed;
        }
        line(row("total", width, &total));
        for (name, failures) in &self.failures {
            failures.print(name);
        }
    }
}

fn row(name: &str, width: usize, outcome: &Outcome) -> String {
    if !outcome.ran {
        return format!("{name:width$}  {}", paint(Paint::Caution, "left out"));
    }
    let numbers = format!("{:>6}  {:>6}  {:>7}", outcome.passed, outcome.failed, outcome.skipped);
    let verdict = match (outcome.succeeded, outcome.failed) {
        (true, _) => paint(Paint::Good, "ok"),
        (false, 0) => paint(Paint::Bad, "did not finish"),
        (false, _) => paint(Paint::Bad, "FAILED"),
    };
    format!("{name:width$}  {numbers}  {:>8}  {verdict}", seconds(outcome.elapsed))
}

/// Runs one `cargo test`; counts the tests it reports, and keeps what failed ones say.
pub(crate) fn run_and_count(command: &mut Command) -> Result<(Outcome, Failures)> {
    let start = |source| Error::Start { command: "cargo test".to_owned(), source };
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(start)?;
    let mut outcome = Outcome { ran: true, ..Outcome::default() };
    let mut failures = Failures::default();
    if let Some(stdout) = child.stdout.take() {
        let mut reader = BufReader::new(stdout);
        let mut bytes = Vec::new();
        while reader.read_until(b'\n', &mut bytes).map_err(start)? > 0 {
            std::io::stdout().write_all(&bytes).ok();
            let plain = without_colour(String::from_utf8_lossy(&bytes).trim_end());
            outcome.count(&plain);
            failures.hear(&plain);
            bytes.clear();
        }
    }
    let status = child.wait().map_err(start)?;
    outcome.succeeded = status.success();
    if outcome.succeeded {
        // A thread may panic on purpose.
        failures = Failures::default();
    } else {
        line(format!("{} {}", paint(Paint::Bad, "failed:"), shown(command)));
    }
    Ok((outcome, failures))
}

/// Drops terminal escape sequences such as `ESC [ 3 2 m`.
fn without_colour(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        if char == '\x1b' {
            chars.by_ref().find(|&end| end == 'm');
        } else {
            plain.push(char);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers come from the closing line of each test binary, coloured or not.
    #[test]
    fn closing_lines_are_added_up() {
        let mut outcome = Outcome::default();
        outcome.count(
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out; finished in 0.02s",
        );
        outcome.count(&without_colour(
            "test result: \x1b[31mFAILED\x1b[0m. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out",
        ));
        outcome.count("test gate::passes ... ok");
        outcome.count("SKIP gate::redirects: no veth (needs 5.9)");
        assert_eq!((outcome.passed, outcome.failed, outcome.skipped), (5, 1, 1));
    }

    /// A suite that was left out is neither passed nor failed.
    #[test]
    fn left_out_is_not_failed() {
        let mut report = Report::default();
        report.add("netns_gate", Outcome::left_out());
        report.add("xtask", Outcome { ran: true, succeeded: true, passed: 4, ..Outcome::default() });
        assert_eq!(report.left_out(), ["netns_gate"]);
        assert!(report.failed().is_empty());
        assert_eq!(report.passed(), 4);
    }

    /// A suite that does not compile has failed although no test did.
    #[test]
    fn a_suite_that_does_not_finish_has_failed() {
        let mut report = Report::default();
        report.add("limiter-user", Outcome { ran: true, ..Outcome::default() });
        assert_eq!(report.failed(), ["limiter-user"]);
    }
}
