//! What failed tests said, gathered so that a long run ends with it.

use crate::terminal::{Paint, line, paint};

/// Lines of a panic that are kept: what an assertion compares may be long.
const LINES_MAX: usize = 12;

/// The panics of one run of `cargo test`.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    panics: Vec<Vec<String>>,
    /// Whether the lines that come are part of the last panic.
    listening: bool,
}

impl Failures {
    /// Takes in one line of a test binary's output, without colours.
    pub(crate) fn hear(&mut self, plain: &str) {
        if plain.starts_with("thread '") && plain.contains(" panicked at ") {
            self.panics.push(vec![plain.to_owned()]);
            self.listening = true;
            return;
        }
        self.listening &= !plain.is_empty() && !plain.starts_with("stack backtrace:");
        if let Some(panic) = self.panics.last_mut().filter(|panic| self.listening && panic.len() < LINES_MAX)
        {
            panic.push(plain.to_owned());
        }
    }

    /// Prints what was said, under the name of the suite.
    pub(crate) fn print(&self, suite: &str) {
        for panic in &self.panics {
            line("");
            line(paint(Paint::Bad, format!("in {suite}:")));
            for said in panic {
                line(format!("    {said}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The place and the message are kept, the backtrace and what passed tests print are not.
    #[test]
    fn panics_are_kept_without_their_backtrace() {
        let mut failures = Failures::default();
        let said = "test gate::passes ... ok\nthread 'gate::refuses' (12) panicked at tests/gate.rs:3:5:\n\
                    assertion failed\n  left: 1\n right: 2\nstack backtrace:\n   0: std::panicking\n\nleft over";
        said.lines().for_each(|line| failures.hear(line));
        assert_eq!(
            failures.panics,
            [[
                "thread 'gate::refuses' (12) panicked at tests/gate.rs:3:5:",
                "assertion failed",
                "  left: 1",
                " right: 2"
            ]]
        );
    }
}
