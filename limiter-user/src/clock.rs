//! The two clocks the daemon reads, always together.
//!
//! The packet path counts on `CLOCK_MONOTONIC`; people and rules that end count
//! on the calendar. Everything that needs the time is given a [`Now`], so that
//! tests make their own.

use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of a millisecond.
const MILLISECOND_NS: u64 = 1_000_000;
/// Nanoseconds of a second.
const SECOND_NS: u64 = 1_000_000_000;

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// `CLOCK_MONOTONIC`, the clock of the packet path.
    pub monotonic_ns: u64,
    /// Milliseconds since 1970.
    pub unix_ms: u64,
}

impl Now {
    /// Reads both clocks.
    #[must_use]
    pub fn read() -> Self {
        // CLOCK_MONOTONIC exists on every Linux; without it the packet path has no clock either.
        let monotonic = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            monotonic_ns: u64::try_from(monotonic.as_nanos()).unwrap_or(u64::MAX),
            unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Returns seconds since 1970.
    #[must_use]
    pub const fn unix_s(self) -> u64 {
        self.unix_ms / 1_000
    }

    /// Returns whole seconds of `CLOCK_MONOTONIC`.
    #[must_use]
    pub const fn monotonic_s(self) -> u64 {
        self.monotonic_ns / SECOND_NS
    }

    /// Returns the calendar time, in milliseconds since 1970, of a moment on the packet path's clock.
    #[must_use]
    pub const fn unix_ms_of(self, monotonic_ns: u64) -> u64 {
        let ago_ms = self.monotonic_ns.saturating_sub(monotonic_ns) / MILLISECOND_NS;
        self.unix_ms.saturating_sub(ago_ms)
    }

    /// Returns the moment that comes `seconds` later.
    #[must_use]
    pub const fn plus_s(self, seconds: u64) -> Self {
        Self {
            monotonic_ns: self.monotonic_ns.saturating_add(seconds * SECOND_NS),
            unix_ms: self.unix_ms.saturating_add(seconds * 1_000),
        }
    }
}

/// Returns a time on the calendar for people, in UTC.
#[must_use]
pub fn utc(unix_s: u64) -> String {
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + Duration::from_secs(unix_s)).to_string()
}

/// Returns a time in milliseconds since 1970 for people, in UTC, to the second.
#[must_use]
pub fn utc_ms(unix_ms: u64) -> String {
    utc(unix_ms / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A moment three seconds ago is three seconds ago on the calendar too.
    #[test]
    fn clocks_are_converted() {
        let now = Now { monotonic_ns: 10 * SECOND_NS, unix_ms: 1_700_000_000_000 };
        assert_eq!(now.unix_ms_of(7 * SECOND_NS), 1_699_999_997_000);
        assert_eq!(now.unix_ms_of(11 * SECOND_NS), now.unix_ms, "what lies ahead is now");
        assert_eq!(now.plus_s(2).unix_s(), 1_700_000_002);
    }

    /// Both clocks run.
    #[test]
    fn clocks_are_read() {
        let now = Now::read();
        assert!(now.monotonic_ns > 0 && now.unix_ms > 1_600_000_000_000);
    }
}
