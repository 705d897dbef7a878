//! A compiled policy: the value that one map update switches.
//!
//! It names the slot of the ranges that belong to it, so that a packet which
//! has read one policy never meets the prefixes of another.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    addr::Addr,
    limits::{Limits, Service},
    names,
    ranges::RangeIndex,
    shortcuts::Shortcuts,
};

/// No service: the port is not guarded.
pub const UNGUARDED: u32 = 0;

/// The class of sources that no prefix matches.
pub const CLASS_DEFAULT: u32 = 0;
/// The class of loopback, link-local and the host's own addresses.
pub const CLASS_LOCAL: u32 = 1;
/// The class of prefixes exempted at run time.
pub const CLASS_ALLOW: u32 = 2;
/// The class of prefixes denied at run time.
pub const CLASS_DENY: u32 = 3;
/// The first class id of a configuration.
pub const CLASS_FIRST: u32 = 4;

/// Everything about a packet's fate that does not change from packet to packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Policy {
    /// The number of this policy.
    pub revision: u32,
    /// The slot of its ranges.
    pub range_slot: u32,
    /// What of an IPv4 source makes up its key.
    pub ipv4_mask: Addr,
    /// What of an IPv6 source makes up its key.
    pub ipv6_mask: Addr,
    /// How long without a daemon until per-source limits only observe; 0 for ever.
    pub observe_after_ns: u64,
    /// Services by id; id 0 is none.
    pub services: [Service; names::SERVICES],
    /// Limits by service id and class id.
    pub limits: [[Limits; names::CLASSES]; names::SERVICES],
    /// Service id by port; [`UNGUARDED`] for none.
    pub service_of_port: [u8; 1 << 16],
    /// What spares most sources the look-up of their prefix.
    pub shortcuts: Shortcuts,
    /// Where its ranges are.
    pub ranges: RangeIndex,
}

impl Policy {
    /// Returns the service id of a port, or [`UNGUARDED`].
    #[inline(always)]
    #[must_use]
    pub const fn service_of(&self, port: u16) -> u32 {
        self.service_of_port[port as usize] as u32 & (names::SERVICES as u32 - 1)
    }

    /// Returns how a service enforces.
    #[inline(always)]
    #[must_use]
    pub const fn service(&self, service: u32) -> &Service {
        &self.services[service as usize & (names::SERVICES - 1)]
    }

    /// Returns the limits of a class in a service.
    #[inline(always)]
    #[must_use]
    pub const fn limits_of(&self, service: u32, class: u32) -> &Limits {
        &self.limits[service as usize & (names::SERVICES - 1)][class as usize & (names::CLASSES - 1)]
    }

    /// Returns whether a class has a lower limit on open connections than another; none is the highest.
    #[inline(always)]
    #[must_use]
    pub const fn is_tighter(&self, service: u32, class: u32, other: u32) -> bool {
        // One less, so that no limit, which is 0, is the most.
        self.limits_of(service, class).connections.wrapping_sub(1)
            < self.limits_of(service, other).connections.wrapping_sub(1)
    }

    /// Returns the address that a connection from `addr` is charged to.
    #[inline(always)]
    #[must_use]
    pub const fn source_of(&self, addr: Addr) -> Addr {
        match addr.family() {
            crate::addr::Family::V4 => addr.masked(self.ipv4_mask),
            crate::addr::Family::V6 => addr.masked(self.ipv6_mask),
        }
    }

    /// Takes the shortcuts that these prefixes allow. `made_at_ns` is when the policy was made.
    pub fn index(&mut self, made_at_ns: u64, prefixes: impl Iterator<Item = (Addr, u32)>) {
        self.shortcuts.take(made_at_ns, prefixes);
    }

    /// Returns whether connections of this class count towards the ceiling of the service.
    #[inline(always)]
    #[must_use]
    pub const fn counts_in_total(&self, service: u32, class: u32) -> bool {
        class != CLASS_LOCAL || self.service(service).has(Service::COUNT_LOCAL)
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros as _;

    use super::*;
    use crate::gcra::Quota;

    /// A lower limit is tighter, and no limit is looser than any.
    #[test]
    fn no_limit_is_the_loosest() {
        let mut policy = Policy::new_zeroed();
        for (class, connections) in [(3, 20), (4, 5), (5, 0)] {
            policy.limits[1][class] = Limits::limited(connections, Quota::NONE);
        }
        let tighter = |class, other| policy.is_tighter(1, class, other);
        assert!(tighter(4, 3) && tighter(3, 5) && tighter(4, 5));
        assert!(!tighter(3, 4) && !tighter(5, 3) && !tighter(5, 5) && !tighter(4, 4));
    }
}
