//! The circuit breaker as it is meant.

use std::time::Duration;

use serde::Serialize;

/// When the limits of single sources are suspended, and when they are tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BreakerSettings {
    /// Whether they are at all.
    pub enabled: bool,
    /// How far back sources count as seen.
    pub window: Duration,
    /// More than this share of the sources seen must be over their limits.
    pub share_percent: u32,
    /// And at least so many.
    pub min_sources: u32,
    /// When limits are tried again after the first opening; each opening in a row doubles it.
    pub retry_after: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            window: Duration::from_secs(30),
            share_percent: 50,
            // Two are a coincidence; a balancer that is worth the name probes from more addresses.
            min_sources: 3,
            retry_after: Duration::from_mins(1),
        }
    }
}
