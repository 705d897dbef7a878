//! Single values: what was typed, checked and converted.
//!
//! Every function notes what is wrong and returns nothing then; the caller goes
//! on with a default, since the result is thrown away anyway.

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    head::Head,
    model::{ControlGroup, Period, QuotaSetting},
    problem::{Problems, Span},
    raw::{RawLimit, RawQuota},
    read::{At, OrWord},
    schema::{listed, nearest},
};

/// The word for no limit.
const UNLIMITED: &str = "unlimited";
/// Connections that a limit may allow; the kernel side counts them in 22 bits.
const CONNECTIONS: RangeInclusive<i64> = 1..=4_000_000;
/// Connections that a quota may allow per period or at once: a connection costs at least a microsecond then.
const QUOTA: RangeInclusive<i64> = 1..=1_000_000;
/// Letters of a name: it is a label of metrics and an argument of commands.
const NAME_LEN_MAX: usize = 32;
/// Names that mean something else: built-in classes, and no service.
const RESERVED: [&str; 6] = ["default", "local", "allow", "deny", "none", "outbound"];

/// Reads a duration such as `300s`, `5m` or `2h`.
///
/// # Errors
///
/// When the text is none.
pub fn duration(text: &str) -> Result<Duration, humantime::DurationError> {
    humantime::parse_duration(text)
}

/// Returns what one of a few words stands for.
pub(super) fn choice<T: Copy>(
    key: &str,
    at: Option<&At<String>>,
    options: &[(&str, T)],
    problems: &mut Problems,
) -> Option<T> {
    let at = at?;
    let found = options.iter().find(|(word, _)| *word == at.value).map(|(_, value)| *value);
    if found.is_none() {
        let words = || options.iter().map(|(word, _)| *word);
        let message = format!("unknown {key} `{}`", at.value);
        problems.add(at.span.clone(), message, help_with_words(&at.value, words));
    }
    found
}

/// Returns what helps somebody who wrote none of these words.
pub(super) fn help_with_words<'a, I: Iterator<Item = &'a str>>(word: &str, words: impl Fn() -> I) -> String {
    let all = listed(words());
    nearest(word, words()).map_or_else(
        || format!("expected one of {all}"),
        |meant| format!("did you mean `{meant}`? expected one of {all}"),
    )
}

/// Returns a number within a range.
pub(super) fn number(
    key: &str,
    at: &At<i64>,
    range: RangeInclusive<i64>,
    problems: &mut Problems,
) -> Option<u32> {
    if range.contains(&at.value) {
        return u32::try_from(at.value).ok();
    }
    let message = format!("`{key}` is {}", at.value);
    problems.add(at.span.clone(), message, format!("expected {} to {}", range.start(), range.end()));
    None
}

/// Returns a limit, 0 for `unlimited`.
pub(super) fn limit(key: &str, at: Option<&RawLimit>, problems: &mut Problems) -> Option<u32> {
    let At { value, span, .. } = at?;
    match value {
        OrWord::Word(word) => unlimited(key, word, span, problems).then_some(0),
        OrWord::Value(0) => {
            let help =
                "to refuse everybody make a [[class]] with `deny = true`; for no limit write \"unlimited\"";
            problems.add(span.clone(), format!("`{key}` is 0, which would refuse every connection"), help);
            None
        }
        OrWord::Value(count) => {
            let at = At { value: *count, span: span.clone(), key: span.clone() };
            number(key, &at, CONNECTIONS, problems)
        }
    }
}

/// Returns a quota, [`QuotaSetting::NONE`] for `unlimited`.
pub(super) fn quota(key: &str, at: Option<&RawQuota>, problems: &mut Problems) -> Option<QuotaSetting> {
    let At { value, span, .. } = at?;
    let table = match value {
        OrWord::Word(word) => return unlimited(key, word, span, problems).then_some(QuotaSetting::NONE),
        OrWord::Value(table) => table,
    };
    let head = &table.head;
    let burst = if let Some(burst) = &table.burst {
        number("burst", burst, QUOTA, problems)
    } else {
        let help = "add `burst = N`: how many connections may come at once";
        head.absent(format!("`{key}` has no `burst`"), help, problems);
        None
    };
    let (rate, period) = match (&table.per_minute, &table.per_second) {
        (Some(rate), None) => (number("per_minute", rate, QUOTA, problems), Period::Minute),
        (None, Some(rate)) => (number("per_second", rate, QUOTA, problems), Period::Second),
        (Some(_), Some(second)) => {
            let message = format!("`{key}` has both `per_minute` and `per_second`");
            problems.add(second.key.clone(), message, "keep one of the two");
            return None;
        }
        (None, None) => {
            let help = "add `per_minute = N` or `per_second = N`";
            head.absent(format!("`{key}` has no rate"), help, problems);
            return None;
        }
    };
    Some(QuotaSetting { count: rate?, period, burst: burst? })
}

/// Returns whether a word says that there is no limit.
fn unlimited(key: &str, word: &str, span: &Span, problems: &mut Problems) -> bool {
    let is_unlimited = word == UNLIMITED;
    if !is_unlimited {
        let message = format!("`{key}` is `{word}`");
        problems.add(span.clone(), message, "expected a number without quotes, or \"unlimited\"");
    }
    is_unlimited
}

/// Returns a name that can be a label and an argument.
pub(super) fn name(
    kind: &str,
    at: Option<&At<String>>,
    head: &Head,
    problems: &mut Problems,
) -> Option<String> {
    let Some(At { value, span, .. }) = at else {
        let article = if kind.starts_with('u') { "an" } else { "a" };
        head.absent(format!("{article} {kind} without a name"), "add `name = \"...\"`", problems);
        return None;
    };
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let problem = if value.is_empty() {
        "is empty"
    } else if value.len() > NAME_LEN_MAX {
        "is longer than 32 characters"
    } else if !value.bytes().all(is_letter) {
        "has characters that a name may not have"
    } else if RESERVED.contains(&value.as_str()) {
        "is reserved"
    } else {
        return Some(value.clone());
    };
    let help = if problem == "is reserved" {
        format!("choose another name; reserved are {}", listed(RESERVED.into_iter()))
    } else {
        "a name has 1 to 32 of the characters a-z, 0-9 and -".to_owned()
    };
    problems.add(span.clone(), format!("the {kind} name `{value}` {problem}"), help);
    None
}

/// Returns a group of the host, by name or number; whether it exists is found out at start.
pub(super) fn group(key: &str, at: &At<OrWord<i64>>, problems: &mut Problems) -> Option<ControlGroup> {
    const HELP: &str = "expected the name of a group such as \"limiter\", or its number";
    let At { value, span, .. } = at;
    let (shown, found) = match value {
        // 2^32 - 1 means no group (`setgroups(2)`).
        OrWord::Value(id) => {
            (id.to_string(), u32::try_from(*id).ok().filter(|id| *id != u32::MAX).map(ControlGroup::Id))
        }
        OrWord::Word(name) => {
            let is_name =
                !name.is_empty() && !name.contains([':', '/']) && !name.contains(char::is_whitespace);
            (format!("`{name}`"), is_name.then(|| ControlGroup::Name(name.clone())))
        }
    };
    if found.is_none() {
        problems.add(span.clone(), format!("`{key}` is {shown}, which is no group"), HELP);
    }
    found
}

/// Returns an absolute path.
pub(super) fn path(key: &str, at: Option<&At<String>>, problems: &mut Problems) -> Option<PathBuf> {
    let at = at?;
    if Path::new(&at.value).is_absolute() {
        return Some(at.value.clone().into());
    }
    let message = format!("`{key}` is `{}`, which is no absolute path", at.value);
    problems.add(at.span.clone(), message, "write the whole path, beginning with /");
    None
}
