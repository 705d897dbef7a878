//! The flight recorder: how long, how large, how often.

use std::{ops::RangeInclusive, time::Duration};

use super::{model::RecorderSettings, problem::Problems, raw::RawRecorder, read::At, resolve::within};

/// What `keep` may be: from a night shift to what an audit asks for.
const KEEP: RangeInclusive<Duration> = Duration::from_hours(1)..=Duration::from_hours(400 * 24);
/// What `interval` may be: from the daemon's own beat to what no longer shows a spike.
const INTERVAL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_mins(5);
/// What `size_max` may be: below, a day does not fit; above, nobody waits for an answer.
const SIZE: RangeInclusive<u64> = 16 << 20..=64 << 30;
/// Units of a size.
const UNITS: [(&str, u64); 3] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Resolves `[recorder]`.
pub(super) fn recorder(raw: &RawRecorder, problems: &mut Problems) -> RecorderSettings {
    let default = RecorderSettings::default();
    let keep = raw.keep.as_ref().and_then(|at| within("keep", at, KEEP, "1h to 400d", problems));
    let interval =
        raw.interval.as_ref().and_then(|at| within("interval", at, INTERVAL, "1s to 5m", problems));
    RecorderSettings {
        enabled: raw.enabled.as_ref().map_or(default.enabled, |at| at.value),
        keep: keep.unwrap_or(default.keep),
        size_max: raw.size_max.as_ref().and_then(|at| size(at, problems)).unwrap_or(default.size_max),
        interval: interval.unwrap_or(default.interval),
    }
}

fn size(At { value, span, .. }: &At<String>, problems: &mut Problems) -> Option<u64> {
    match bytes(value) {
        Some(bytes) if SIZE.contains(&bytes) => return Some(bytes),
        Some(_) => {
            problems.add(span.clone(), format!("`size_max` is {value}"), "expected 16MiB to 64GiB");
        }
        None => problems.add(
            span.clone(),
            format!("`{value}` is no size"),
            "write a whole number with its unit, such as \"256MiB\" or \"1GiB\"",
        ),
    }
    None
}

/// Returns how many bytes a size such as `256MiB` is.
fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = UNITS.iter().find_map(|(word, unit)| Some((text.strip_suffix(word)?, unit)))?;
    number.trim_end().parse::<u64>().ok()?.checked_mul(*unit)
}
