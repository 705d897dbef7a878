//! Limits of a class in a service, and how a service enforces its verdicts.
//!
//! These are values of the compiled policy; what a user may write in a
//! configuration is the daemon's matter.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::gcra::Quota;

/// How a class is treated in a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// Limits apply.
    Limited,
    /// Never refused, still counted.
    Exempt,
    /// Always refused.
    Denied,
}

/// What a source of one class may do in one service; all zero is: limited by nothing.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Limits {
    /// New connections per time.
    pub quota: Quota,
    /// Connections open at once; 0 stands for no limit.
    pub connections: u32,
    /// Raw [`Treatment`]: 1 exempt, 2 denied, anything else limited.
    treatment: u32,
}

impl Limits {
    /// Limits of a class that is never refused.
    pub const EXEMPT: Self = Self { quota: Quota::NONE, connections: 0, treatment: 1 };
    /// Limits of a class that is always refused.
    pub const DENIED: Self = Self { quota: Quota::NONE, connections: 0, treatment: 2 };

    /// Returns limits for open connections (0: none) and new connections.
    #[must_use]
    pub const fn limited(connections: u32, quota: Quota) -> Self {
        Self { quota, connections, treatment: 0 }
    }

    /// Returns how the class is treated.
    #[inline(always)]
    #[must_use]
    pub const fn treatment(&self) -> Treatment {
        match self.treatment {
            1 => Treatment::Exempt,
            2 => Treatment::Denied,
            _ => Treatment::Limited,
        }
    }
}

/// How one service treats what is over its limits.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Service {
    /// SYNs per time and source while the listener's queue overflows.
    pub syn_quota: Quota,
    /// Ceiling on the connections of the whole service; 0 stands for none.
    pub ceiling: u32,
    /// Sum of the `ENFORCE`, `RESET`, `COUNT_LOCAL` and `SUSPENDED` bits.
    pub flags: u32,
}

impl Service {
    /// Refuse; without it, count what would be refused.
    pub const ENFORCE: u32 = 1;
    /// Refuse by a reset; without it, in silence.
    pub const RESET: u32 = 2;
    /// Loopback and the host's own addresses count towards the ceiling.
    pub const COUNT_LOCAL: u32 = 4;
    /// Per-source limits only observe (the circuit breaker is open).
    pub const SUSPENDED: u32 = 8;

    /// Returns whether all these flags are set.
    #[inline(always)]
    #[must_use]
    pub const fn has(&self, flags: u32) -> bool {
        self.flags & flags == flags
    }
}
