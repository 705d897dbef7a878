//! An error and its causes in one line, for logs and answers.

use std::error::Error;

/// Returns the message of an error followed by those of its causes, separated by colons.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every cause is named, outermost first.
    #[test]
    fn causes_are_named_in_order() {
        let error = anyhow::anyhow!("no such device").context("attach failed").context("cannot start");
        assert_eq!(chain(error.as_ref()), "cannot start: attach failed: no such device");
    }
}
