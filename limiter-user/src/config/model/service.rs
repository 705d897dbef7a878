//! Services as they are meant.

use std::fmt;

use limiter_common::gcra::Quota;
use serde::{Deserialize, Serialize};

/// Whether limits refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Count what would be refused, and pass it.
    Observe,
    /// Refuse.
    Enforce,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        })
    }
}

/// How a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefuseWith {
    /// By a TCP reset, which the client sees at once.
    Reset,
    /// By silence.
    Drop,
}

/// A named set of ports and its limits; 0 stands for no limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Service {
    /// Its name, which is its label in metrics.
    pub name: String,
    /// Its TCP ports.
    pub ports: Vec<u16>,
    /// Whether its limits refuse.
    pub mode: Mode,
    /// Connections of one source open at once.
    pub connections_per_source: u32,
    /// New connections of one source per time.
    pub new_connections_per_source: QuotaSetting,
    /// Connections of all sources open at once.
    pub connections_total: u32,
    /// SYNs of one unproven source per time, while the SYN queue overflows.
    pub syn_quota_per_source: QuotaSetting,
    /// Whether loopback and the host's own addresses count towards the ceiling.
    pub count_local: bool,
    /// How it refuses.
    pub refuse_with: RefuseWith,
}

/// So many per time; a count of 0 stands for no quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct QuotaSetting {
    /// How many in a period.
    pub count: u32,
    /// The period.
    pub period: Period,
    /// How many may come at once.
    pub burst: u32,
}

impl QuotaSetting {
    /// No quota.
    pub const NONE: Self = Self { count: 0, period: Period::Minute, burst: 0 };

    /// Returns the arithmetic form.
    #[must_use]
    pub const fn quota(self) -> Quota {
        Quota::per(self.count, self.period.nanoseconds(), self.burst)
    }
}

/// The time that a quota is stated for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Period {
    /// One second.
    Second,
    /// One minute.
    Minute,
}

impl Period {
    /// Returns its length.
    #[must_use]
    pub const fn nanoseconds(self) -> u64 {
        match self {
            Self::Second => 1_000_000_000,
            Self::Minute => 60_000_000_000,
        }
    }
}
