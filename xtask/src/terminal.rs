//! What the tasks show of themselves: steps, notes, elapsed time.
//!
//! All of it goes to standard error, which leaves standard output to the
//! programs that the tasks run. Colour appears on a terminal only, and never
//! where `NO_COLOR` is set.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Steps shorter than this need no line that says how long they took.
const WORTH_TELLING: Duration = Duration::from_secs(1);

/// The few looks a text can have.
#[derive(Clone, Copy)]
pub(crate) enum Paint {
    Bold,
    Dim,
    Good,
    Bad,
    Caution,
}

impl Paint {
    fn code(self) -> &'static str {
        match self {
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Bad => "1;31",
            Self::Caution => "33",
        }
    }
}

/// Returns whether colour is wanted on standard error.
pub(crate) fn colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && io::stderr().is_terminal()
}

/// Wraps a text in the escape codes of a look, where colour is wanted.
pub(crate) fn paint(look: Paint, text: impl Display) -> String {
    if colour() { format!("\x1b[{}m{text}\x1b[0m", look.code()) } else { text.to_string() }
}

/// Writes one line to standard error; a closed terminal is no reason to stop.
pub(crate) fn line(text: impl Display) {
    writeln!(io::stderr(), "{text}").ok();
}

/// Writes a line that says what was found, done or left out within a step.
pub(crate) fn note(text: impl Display) {
    line(format!("    {text}"));
}

/// Writes a note that the reader should not miss.
pub(crate) fn caution(text: impl Display) {
    line(format!("    {} {text}", paint(Paint::Caution, "note:")));
}

/// A named piece of work; says how long it took when it is done.
pub(crate) struct Step {
    name: String,
    started: Instant,
}

impl Step {
    /// Announces a piece of work.
    pub(crate) fn start(name: impl Into<String>) -> Self {
        let name = name.into();
        line(format!("{} {}", paint(Paint::Good, "==>"), paint(Paint::Bold, &name)));
        Self { name, started: Instant::now() }
    }

    /// Ends the step and returns the time it took.
    pub(crate) fn done(self) -> Duration {
        let elapsed = self.started.elapsed();
        if elapsed >= WORTH_TELLING {
            note(paint(Paint::Dim, format!("{}: {}", self.name, seconds(elapsed))));
        }
        elapsed
    }
}

/// Prints a duration as the tables and notes show it.
pub(crate) fn seconds(elapsed: Duration) -> String {
    format!("{:.1} s", elapsed.as_secs_f64())
}

/// A line that shows the time running while a program works in silence.
///
/// On a terminal the line is rewritten and wiped in the end; elsewhere a line
/// appears every half minute, so that a log shows the task is alive.
pub(crate) struct Ticker {
    label: String,
    started: Instant,
    shown_s: u64,
    terminal: bool,
}

impl Ticker {
    const EVERY_S_IN_LOGS: u64 = 30;

    /// Starts the clock.
    pub(crate) fn start(label: impl Into<String>) -> Self {
        let terminal = io::stderr().is_terminal();
        Self { label: label.into(), started: Instant::now(), shown_s: 0, terminal }
    }

    /// Shows the time when it has moved far enough since the last call.
    pub(crate) fn tick(&mut self) {
        let elapsed_s = self.started.elapsed().as_secs();
        let every_s = if self.terminal { 1 } else { Self::EVERY_S_IN_LOGS };
        if elapsed_s < self.shown_s + every_s {
            return;
        }
        self.shown_s = elapsed_s;
        if self.terminal {
            write!(io::stderr(), "\r\x1b[2K    {}: {elapsed_s} s", self.label).ok();
        } else {
            note(format!("{}: {elapsed_s} s", self.label));
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        if self.terminal && self.shown_s > 0 {
            write!(io::stderr(), "\r\x1b[2K").ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times are short enough for a table and say their unit.
    #[test]
    fn seconds_has_one_decimal() {
        assert_eq!(seconds(Duration::from_millis(12_345)), "12.3 s");
        assert_eq!(seconds(Duration::ZERO), "0.0 s");
    }
}
