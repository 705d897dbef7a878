//! The flight recorder as it is meant.

use std::time::Duration;

use serde::Serialize;

/// What is recorded, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RecorderSettings {
    /// Whether anything is.
    pub enabled: bool,
    /// How long.
    pub keep: Duration,
    /// Bytes that the file and its log may take.
    pub size_max: u64,
    /// How often counters are.
    pub interval: Duration,
}

impl Default for RecorderSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            keep: Duration::from_hours(14 * 24),
            // A busy host writes 6 MiB a day: 14 days with room for an attack that lasts.
            size_max: 256 << 20,
            interval: Duration::from_secs(10),
        }
    }
}
