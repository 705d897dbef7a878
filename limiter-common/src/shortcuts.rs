//! Shortcuts around the look-up of a prefix, which costs as much as all other facts about a SYN together.
//!
//! Both are part of the policy, and so of one switch: what classes of addresses are noted by, and a map of
//! the blocks of addresses that any prefix meets.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    addr::{Addr, Family, V4_OFFSET},
    note::ClassNote,
};

/// Blocks of IPv4 addresses are /20. A choice: with 100,000 prefixes all over the address space
/// three blocks of four have none, and the map takes 128 KiB.
const V4_BLOCK_BITS: u32 = 20;
/// Regions of IPv4 addresses are /12.
const V4_REGION_BITS: u32 = 12;
/// Blocks of IPv6 addresses are /16: 8 KiB.
const V6_BLOCK_BITS: u32 = 16;
/// The prefix of all IPv4 addresses.
const V4_MAPPED: Addr = Addr::from_v4_be(0);

/// What spares most sources the look-up of their prefix.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Shortcuts {
    /// What classes are noted by ([`ClassNote`]).
    stamp: u64,
    /// A bit per /12 of IPv4 addresses that a prefix meets: few prefixes are told apart in 512 bytes.
    v4_regions: [u64; 1 << (V4_REGION_BITS - 6)],
    /// A bit per block of IPv4 addresses that a prefix meets.
    v4_blocks: [u64; 1 << (V4_BLOCK_BITS - 6)],
    /// The same for IPv6.
    v6_blocks: [u64; 1 << (V6_BLOCK_BITS - 6)],
}

impl Shortcuts {
    /// Returns what the class of an address is noted by; `hash` is that of address and service.
    #[inline(always)]
    #[must_use]
    pub const fn class_note(&self, hash: u64) -> ClassNote {
        ClassNote::new(self.stamp, hash)
    }

    /// Returns whether a prefix may have this address in it; if not, none has.
    #[inline(always)]
    #[must_use]
    pub const fn may_match(&self, addr: Addr) -> bool {
        match addr.family() {
            Family::V4 => {
                let block = v4_block(addr);
                let region = block >> (V4_BLOCK_BITS - V4_REGION_BITS);
                is_set(&self.v4_regions, region) && is_set(&self.v4_blocks, block)
            }
            Family::V6 => is_set(&self.v6_blocks, v6_block(addr)),
        }
    }

    /// Takes the shortcuts that these prefixes allow.
    pub(crate) fn take(&mut self, made_at_ns: u64, prefixes: impl Iterator<Item = (Addr, u32)>) {
        self.stamp = ClassNote::stamp(made_at_ns);
        self.v4_regions.fill(0);
        self.v4_blocks.fill(0);
        self.v6_blocks.fill(0);
        for (addr, len) in prefixes {
            if addr.family() == Family::V4 {
                let (block, log2) = (v4_block(addr), |bits: u32| (V4_OFFSET + bits).saturating_sub(len));
                set(&mut self.v4_blocks, block, log2(V4_BLOCK_BITS));
                let region = block >> (V4_BLOCK_BITS - V4_REGION_BITS);
                set(&mut self.v4_regions, region, log2(V4_REGION_BITS));
                continue;
            }
            set(&mut self.v6_blocks, v6_block(addr), V6_BLOCK_BITS.saturating_sub(len));
            if len < V4_OFFSET && V4_MAPPED.masked(Addr::mask(len)) == addr {
                self.v4_regions.fill(u64::MAX);
                self.v4_blocks.fill(u64::MAX);
            }
        }
    }
}

#[inline(always)]
const fn v4_block(addr: Addr) -> u32 {
    u32::from_be(addr.words_be[3]) >> (32 - V4_BLOCK_BITS)
}

#[inline(always)]
const fn v6_block(addr: Addr) -> u32 {
    u32::from_be(addr.words_be[0]) >> (32 - V6_BLOCK_BITS)
}

#[inline(always)]
const fn is_set<const WORDS: usize>(blocks: &[u64; WORDS], block: u32) -> bool {
    blocks[(block >> 6) as usize] >> (block & 63) & 1 != 0
}

/// Sets the bits of two to the power of `log2` blocks.
fn set(blocks: &mut [u64], first: u32, log2: u32) {
    for block in first..first + (1 << log2) {
        blocks[(block >> 6) as usize] |= 1 << (block & 63);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::vec::Vec;
    use zerocopy::FromZeros as _;

    use super::*;

    fn shortcuts(prefixes: &[(Addr, u32)]) -> Shortcuts {
        let mut shortcuts = Shortcuts::new_zeroed();
        shortcuts.take(1_000_000, prefixes.iter().copied());
        shortcuts
    }

    /// Returns the length of the longest prefix with an address in it, the slow way.
    fn longest(prefixes: &[(Addr, u32)], addr: Addr) -> Option<u32> {
        let matching = prefixes.iter().filter(|(net, len)| addr.masked(Addr::mask(*len)) == *net);
        matching.map(|(_, len)| *len).max()
    }

    /// Addresses that lie close together, of either family, and prefixes around them.
    fn addr() -> impl Strategy<Value = Addr> {
        let v4 = (any::<u8>(), any::<u8>()).prop_map(|(a, d)| [10, a & 0x11, 0, d & 0x0f]);
        let v4 = v4.prop_map(|octets| Addr::from_v4_be(u32::from_ne_bytes(octets)));
        let v6 = (any::<u8>(), any::<u8>()).prop_map(|(a, p)| {
            Addr::from_octets([0x20, a & 0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, p & 0x0f])
        });
        prop_oneof![v4, v6]
    }

    fn prefixes() -> impl Strategy<Value = Vec<(Addr, u32)>> {
        let len = prop_oneof![0_u32..=128, 100_u32..=128];
        let prefix = (addr(), len).prop_map(|(addr, len)| (addr.masked(Addr::mask(len)), len));
        prop::collection::vec(prefix, 0..5)
    }

    /// Without prefixes nothing is looked up; with one for everybody everything is.
    #[test]
    fn a_prefix_for_everybody_is_met_by_everybody() {
        let everybody = shortcuts(&[(Addr::default(), 0)]);
        for addr in [V4_MAPPED, Addr::from_v4_be(u32::MAX), Addr::default(), Addr::mask(128)] {
            assert!(everybody.may_match(addr) && !shortcuts(&[]).may_match(addr));
        }
    }

    proptest! {
        /// An address that no prefix may match is in none.
        #[test]
        fn no_prefix_is_passed_by(prefixes in prefixes(), addr in addr()) {
            let shortcuts = shortcuts(&prefixes);
            prop_assert!(shortcuts.may_match(addr) || longest(&prefixes, addr).is_none());
        }
    }
}
