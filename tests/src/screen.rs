//! What the demonstration and the replays print: lines with the time, and a table at the end.
//!
//! Colour appears on a terminal only, and never where `NO_COLOR` is set.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Width of the column that says who does something.
const WHO_WIDTH: usize = 12;

/// The few looks a text can have.
#[derive(Clone, Copy, Debug)]
pub enum Look {
    /// As the terminal writes.
    Plain,
    /// A heading.
    Bold,
    /// Of less weight.
    Dim,
    /// As it should be.
    Good,
    /// Not as it should be.
    Bad,
}

impl Look {
    const fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Bold => Some("1"),
            Self::Dim => Some("2"),
            Self::Good => Some("32"),
            Self::Bad => Some("1;31"),
        }
    }
}

/// Standard output, and when the demonstration began.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    started: Instant,
    colour: bool,
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

impl Screen {
    /// Starts the clock.
    #[must_use]
    pub fn new() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { started: Instant::now(), colour: wanted && io::stdout().is_terminal() }
    }

    /// Prints what somebody does, with the time.
    pub fn say(&self, who: &str, look: Look, text: impl Display) {
        self.say_at(self.started.elapsed(), who, look, text);
    }

    /// Prints what somebody does, at a time of the caller's.
    pub fn say_at(&self, at: Duration, who: &str, look: Look, text: impl Display) {
        let time = format!("{:6.2} s", at.as_secs_f64());
        let (time, who) = (self.paint(Look::Dim, time), self.paint(Look::Bold, padded(who, WHO_WIDTH)));
        write(&format!("{time}  {who} "));
        self.end(look, text);
    }

    /// Prints the time and who is about to do something; [`Self::go_on`] and [`Self::end`] follow.
    pub fn begin(&self, who: &str) {
        let time = format!("{:6.2} s", self.started.elapsed().as_secs_f64());
        write(&format!(
            "{}  {} ",
            self.paint(Look::Dim, time),
            self.paint(Look::Bold, padded(who, WHO_WIDTH))
        ));
    }

    /// Goes on with the line.
    pub fn go_on(&self, look: Look, text: impl Display) {
        write(&self.paint(look, text));
    }

    /// Ends the line.
    pub fn end(&self, look: Look, text: impl Display) {
        write(&format!("{}\n", self.paint(look, text)));
    }

    /// Prints a line that belongs to the one before.
    pub fn more(&self, look: Look, text: impl Display) {
        let indent = " ".repeat("  0.00 s   ".len() + WHO_WIDTH);
        write(&format!("{indent}{}\n", self.paint(look, text)));
    }

    /// Prints the heading of a part.
    pub fn heading(&self, text: impl Display) {
        write(&format!("\n{}\n", self.paint(Look::Bold, text)));
    }

    /// Prints rows under a header, as wide as their widest cells.
    pub fn table<const N: usize>(&self, header: [&str; N], rows: &[([String; N], Look)]) {
        let width = |column: usize| {
            let cells = rows.iter().map(|(row, _)| row[column].chars().count());
            cells.chain([header[column].len()]).max().unwrap_or(0)
        };
        let line = |cells: [&str; N]| {
            let cells = cells.iter().enumerate().map(|(column, cell)| padded(cell, width(column)));
            format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end().to_owned()
        };
        write(&format!("{}\n", self.paint(Look::Dim, line(header))));
        for (row, look) in rows {
            write(&format!("{}\n", self.paint(*look, line(row.each_ref().map(String::as_str)))));
        }
    }

    fn paint(&self, look: Look, text: impl Display) -> String {
        match look.code().filter(|_| self.colour) {
            Some(code) => format!("\x1b[{code}m{text}\x1b[0m"),
            None => text.to_string(),
        }
    }
}

fn padded(text: &str, width: usize) -> String {
    format!("{text:<width$}")
}

/// Writes at once; a reader that has gone away is no reason to stop halfway.
fn write(text: &str) {
    let mut out = io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}
