//! Mistakes while they are being collected: their places are still ranges of bytes.

use std::{ops::Range, path::Path};

use super::error::{ConfigError, ConfigErrors, Place};

/// A range of bytes in the text.
pub(super) type Span = Range<usize>;

/// Mistakes that are shown of one file. A choice: nobody reads more, and a list
/// of 100,000 bad prefixes would take minutes to excerpt.
const SHOWN_MAX: usize = 100;
/// Bytes of a line that is shown. A choice: longer ones wrap in every terminal.
const EXCERPT_LEN_MAX: usize = 200;

/// A mistake whose place is still a range of bytes.
struct Problem {
    span: Span,
    message: String,
    help: String,
    related: Option<(Span, String)>,
}

/// Mistakes found so far.
#[derive(Default)]
pub(super) struct Problems {
    found: Vec<Problem>,
}

impl Problems {
    /// Notes a mistake and what helps.
    pub(super) fn add(&mut self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.found.push(Problem { span, message: message.into(), help: help.into(), related: None });
    }

    /// Notes a mistake that has to do with another place.
    pub(super) fn add_related(
        &mut self,
        span: Span,
        message: impl Into<String>,
        help: impl Into<String>,
        related: (Span, impl Into<String>),
    ) {
        let related = Some((related.0, related.1.into()));
        self.found.push(Problem { span, message: message.into(), help: help.into(), related });
    }

    /// Returns how many there are.
    pub(super) fn count(&self) -> usize {
        self.found.len()
    }

    /// Turns the mistakes into errors, if there are any.
    pub(super) fn finish(mut self, file: &Path, text: &str) -> Result<(), ConfigErrors> {
        if self.found.is_empty() {
            return Ok(());
        }
        self.found.sort_by_key(|problem| problem.span.start);
        // A bracket that is missing a thousand times over is one mistake.
        self.found.dedup_by(|next, first| next.span == first.span && next.message == first.message);
        let omitted = self.found.len().saturating_sub(SHOWN_MAX);
        let shown = self.found.into_iter().take(SHOWN_MAX);
        Err(ConfigErrors { errors: shown.map(|problem| problem.locate(file, text)).collect(), omitted })
    }
}

impl Problem {
    fn locate(self, file: &Path, text: &str) -> ConfigError {
        let place = place(text, self.span.start);
        let line = text.lines().nth(place.line - 1).unwrap_or_default().trim_end();
        let excerpt = if line.len() > EXCERPT_LEN_MAX { "" } else { line };
        let meant = text.get(self.span.clone()).unwrap_or_default().lines().next().unwrap_or_default();
        ConfigError {
            file: file.to_owned(),
            place: Some(place),
            message: self.message,
            help: self.help,
            related: self.related.map(|(span, what)| (self::place(text, span.start), what)),
            excerpt: excerpt.to_owned(),
            width: meant.chars().count(),
        }
    }
}

/// Returns the place of a byte.
fn place(text: &str, offset: usize) -> Place {
    let before = text.get(..offset.min(text.len())).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Place {
        line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
        column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
    }
}
