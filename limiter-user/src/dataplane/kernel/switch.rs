//! Policies made beside those that packets go by: what one switch puts in force.

use aya::maps::{Array, MapData};
use limiter_common::{names, policy::Policy, ranges::RangePage};

use super::{
    ranges,
    tables::{Owned, capacity},
};
use crate::{clock::Now, dataplane::DataplaneError, policy::Compiled};

/// Which slots of `RANGES` packets may go by.
#[derive(Debug, Default)]
pub(super) struct RangeSlots {
    pub(super) in_use: Vec<u32>,
}

impl RangeSlots {
    /// Returns the slots that no packet goes by: an update of `POLICIES` waits for those that did.
    pub(super) fn free(&self) -> impl Iterator<Item = u32> {
        (0..capacity(names::RANGE_SLOTS)).filter(|slot| !self.in_use.contains(slot))
    }
}

/// A policy with its ranges, not in force yet.
pub(super) struct Placed {
    pub(super) policy: Box<Policy>,
    pub(super) pages: Array<MapData, RangePage>,
}

impl Placed {
    /// Makes it; `slot` is the one that its ranges are for.
    pub(super) fn make(compiled: &Compiled, slot: Option<u32>) -> Owned<Self> {
        let mut policy = compiled.policy.clone();
        let pages =
            ranges::make(&compiled.ranges, &compiled.prefixes, Now::read().monotonic_ns, &mut policy)?;
        policy.range_slot = slot.ok_or_else(|| DataplaneError::Map {
            map: "RANGES",
            operation: "finding a free slot",
            source: anyhow::anyhow!("all {} are in use", names::RANGE_SLOTS),
        })?;
        Ok(Self { policy, pages })
    }
}

/// What one switch puts in force.
pub(super) struct Prepared {
    pub(super) policy: Placed,
    pub(super) fallback: Option<(Placed, u64)>,
}

impl Prepared {
    /// Returns the slots of their ranges.
    pub(super) fn slots(&self) -> impl Iterator<Item = u32> {
        let fallback = self.fallback.iter().map(|(placed, _)| placed.policy.range_slot);
        std::iter::once(self.policy.policy.range_slot).chain(fallback)
    }

    /// Returns the revision, the higher one of the two.
    pub(super) fn revision(&self) -> u32 {
        let fallback = self.fallback.as_ref().map_or(0, |(placed, _)| placed.policy.revision);
        self.policy.policy.revision.max(fallback)
    }
}
