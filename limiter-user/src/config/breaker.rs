//! The circuit breaker: thresholds within which it can neither be the outage nor be useless.

use std::{ops::RangeInclusive, time::Duration};

use super::{model::BreakerSettings, problem::Problems, raw::RawBreaker, resolve::within, value};

/// What `window` may be: from a few probes of a balancer to what is no longer the present.
const WINDOW: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_mins(10);
/// What `retry_after` may be.
const RETRY: RangeInclusive<Duration> = Duration::from_secs(5)..=Duration::from_hours(1);
/// What `min_sources` may be. One loud source alone must never open the breaker, whatever is configured.
const SOURCES: RangeInclusive<i64> = 2..=100_000;

/// Resolves `[breaker]`.
pub(super) fn breaker(raw: &RawBreaker, problems: &mut Problems) -> BreakerSettings {
    let default = BreakerSettings::default();
    let window = raw.window.as_ref().and_then(|at| within("window", at, WINDOW, "5s to 10m", problems));
    let retry_after =
        raw.retry_after.as_ref().and_then(|at| within("retry_after", at, RETRY, "5s to 1h", problems));
    let share = raw.share_percent.as_ref();
    let share = share.and_then(|at| value::number("share_percent", at, 1..=99, problems));
    let min_sources = raw.min_sources.as_ref().and_then(|at| {
        if at.value == 1 {
            let help =
                "expected 2 or more; for a balancer with one address make a [[class]] with `critical = true`";
            problems.add(at.span.clone(), "`min_sources` is 1: one loud source would open the breaker", help);
            return None;
        }
        value::number("min_sources", at, SOURCES, problems)
    });
    BreakerSettings {
        enabled: raw.enabled.as_ref().map_or(default.enabled, |at| at.value),
        window: window.unwrap_or(default.window),
        share_percent: share.unwrap_or(default.share_percent),
        min_sources: min_sources.unwrap_or(default.min_sources),
        retry_after: retry_after.unwrap_or(default.retry_after),
    }
}
