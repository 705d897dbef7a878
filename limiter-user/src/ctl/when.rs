//! Times as people type them, in UTC: as everything that limiterctl prints.

use std::time::{Duration, SystemTime};

use crate::config::duration;

/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 3_600 * 1_000;

/// Returns the moment that a text means, in milliseconds since 1970: `now`, `2h` for two hours ago,
/// `14:30` of today, or a date as in RFC 3339.
///
/// # Errors
///
/// A sentence when it means none, or one that lies ahead.
pub(super) fn moment(text: &str, now_ms: u64) -> Result<u64, String> {
    let text = text.trim();
    let found = if text == "now" {
        Some(now_ms)
    } else if let Ok(ago) = duration(text.strip_suffix("ago").unwrap_or(text)) {
        Some(now_ms.saturating_sub(millis(ago)))
    } else {
        of_today(text, now_ms).or_else(|| of_date(text))
    };
    let Some(found) = found else {
        return Err(format!("`{text}` is no time"));
    };
    if found > now_ms { Err(format!("`{text}` lies ahead")) } else { Ok(found) }
}

/// Returns the moment of a time of day.
fn of_today(text: &str, now_ms: u64) -> Option<u64> {
    let mut parts = text.split(':').map(|part| {
        let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| part.parse::<u64>().ok()).flatten()
    });
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().unwrap_or(Some(0))?;
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(now_ms - now_ms % DAY_MS + ((hour * 60 + minute) * 60 + second) * 1_000)
}

fn of_date(text: &str) -> Option<u64> {
    let time = humantime::parse_rfc3339_weak(text).ok()?;
    time.duration_since(SystemTime::UNIX_EPOCH).ok().map(millis)
}

/// Returns milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2023-11-14T22:13:20Z.
    const NOW_MS: u64 = 1_700_000_000_000;

    /// Every way to say it.
    #[test]
    fn times_are_what_people_type() {
        for (text, expected) in [
            ("now", NOW_MS),
            ("2h", NOW_MS - 7_200_000),
            ("2h ago", NOW_MS - 7_200_000),
            ("1h 30m", NOW_MS - 5_400_000),
            ("22:13", NOW_MS - 20_000),
            ("22:13:19", NOW_MS - 1_000),
            ("00:00", NOW_MS - 80_000_000),
            ("2023-11-14T22:13:20Z", NOW_MS),
            ("2023-11-14 22:13:20", NOW_MS),
        ] {
            assert_eq!(moment(text, NOW_MS), Ok(expected), "{text}");
        }
    }

    /// What is no time, or not yet, is said.
    #[test]
    fn what_is_no_time_is_said() {
        for text in
            ["", "yesterday", "25:00", "12:60", "1:00", "12:00:00:00", "2023-11-14", "12:0x", "2 parsecs"]
        {
            assert_eq!(moment(text, NOW_MS), Err(format!("`{text}` is no time")), "{text}");
        }
        assert_eq!(moment("23:00", NOW_MS), Err("`23:00` lies ahead".to_owned()));
    }
}
