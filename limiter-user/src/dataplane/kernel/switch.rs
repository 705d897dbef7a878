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
    /// Those of the policies before a switch that is under way, or else in force.
    settled: Vec<u32>,
    /// Those of the policies that the switch has put in, by their slot in `POLICIES`; they stay if it fails.
    placed: [Option<u32>; names::POLICY_SLOTS],
}

impl RangeSlots {
    /// Takes note of a switch that is done, or was found.
    pub(super) fn settle(&mut self, slots: Vec<u32>) {
        *self = Self { settled: slots, placed: Default::default() };
    }

    /// Takes note of a policy that was put into a slot of `POLICIES`: packets may go by it from here on.
    pub(super) fn place(&mut self, policy_slot: u32, slot: u32) {
        if let Some(placed) = self.placed.get_mut(policy_slot as usize) {
            *placed = Some(slot);
        }
    }

    /// Returns the slots that packets may go by.
    pub(super) fn in_use(&self) -> impl Iterator<Item = u32> {
        self.settled.iter().copied().chain(self.placed.iter().copied().flatten())
    }

    /// Returns the slots that no packet goes by: an update of `POLICIES` waits for those that did.
    pub(super) fn free(&self) -> impl Iterator<Item = u32> {
        (0..capacity(names::RANGE_SLOTS)).filter(|slot| self.in_use().all(|used| used != *slot))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// However often a switch fails in the middle, slots are left for the next one.
    #[test]
    fn a_switch_that_fails_keeps_its_slots() {
        let mut slots = RangeSlots::default();
        slots.settle(vec![0, 1]);
        for _ in 0..20 {
            let next = slots.free().next().expect("there is a free slot");
            // The fallback is in, the policy is not.
            slots.place(1, next);
            assert!(slots.free().all(|slot| ![0, 1, next].contains(&slot)), "packets may go by {next}");
            assert!(slots.free().count() >= 2, "both policies of a switch find one");
        }
        slots.settle(vec![3, 4]);
        assert_eq!(slots.free().count(), names::RANGE_SLOTS - 2);
    }
}
