//! What is absent from a table, and what could not be read.
//!
//! A key that is misspelt is not absent as well: one mistake is one error.

use super::problem::{Problems, Span};

/// Where a table begins, and whether all of it could be read.
#[derive(Clone, Debug, Default)]
pub(super) struct Head {
    pub(super) span: Span,
    /// Whether some of its keys are unknown or of the wrong type.
    is_torn: bool,
}

impl Head {
    /// Returns the head of a table, given how many mistakes there were before it was read.
    pub(super) fn read(span: Span, before: usize, problems: &Problems) -> Self {
        Self { span, is_torn: problems.count() > before }
    }

    /// Returns the head of a file that is no TOML.
    pub(super) fn torn() -> Self {
        Self { span: 0..0, is_torn: true }
    }

    /// Notes that something is absent, unless it may be among what could not be read.
    pub(super) fn absent(
        &self,
        message: impl Into<String>,
        help: impl Into<String>,
        problems: &mut Problems,
    ) {
        self.absent_at(&self.span, message, help, problems);
    }

    /// Notes that something is absent from this place in the table.
    pub(super) fn absent_at(
        &self,
        span: &Span,
        message: impl Into<String>,
        help: impl Into<String>,
        problems: &mut Problems,
    ) {
        if !self.is_torn {
            problems.add(span.clone(), message, help);
        }
    }
}
