//! Shortcuts around the trie of prefixes: a look-up there costs more than all other facts about
//! a SYN together, and the more prefixes there are the more it costs.
//!
//! Both are part of the policy that names the trie, and so of one switch: a class noted in the
//! entry of a known source, and for all sources a map of the blocks of addresses that any prefix meets.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    addr::{Addr, Family},
    names,
};

/// Blocks of IPv4 addresses are /20. A choice: with 100,000 prefixes all over the address space
/// three blocks of four have none, and the map takes 128 KiB.
const V4_BLOCK_BITS: u32 = 20;
/// Blocks of IPv6 addresses are /16: 8 KiB.
const V6_BLOCK_BITS: u32 = 16;
/// Bits of an address before those of IPv4.
const V4_OFFSET: u32 = 96;
/// The prefix of all IPv4 addresses.
const V4_MAPPED: Addr = Addr::from_v4_be(0);

/// What spares most sources the look-up in the trie.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Shortcuts {
    /// By family, what classes in entries of sources are noted by; 0 where none may be noted ([`ClassNote`]).
    stamps: [u64; names::FAMILIES],
    /// A bit per block of IPv4 addresses that a prefix meets.
    v4_blocks: [u64; 1 << (V4_BLOCK_BITS - 6)],
    /// The same for IPv6.
    v6_blocks: [u64; 1 << (V6_BLOCK_BITS - 6)],
}

/// How the class of one source is noted in its entry.
///
/// A note holds for one trie and one source: it is mixed with the stamp of the trie, so that a
/// switch of policies ends all notes at once, and with the hash of the source, so that one which
/// came into an entry just as it was recycled for another key is no note there. Nothing is noted
/// where the class does not follow from the source, since a prefix is longer than what makes up
/// a source: then two addresses of a source may be of two classes.
#[derive(Clone, Copy, Debug)]
pub struct ClassNote(u64);

impl ClassNote {
    /// Resolution of stamps: their lower bits are those of the class. No two tries are made so fast.
    const STAMP_NS: u64 = names::CLASSES as u64;

    /// Returns the note of a class.
    #[inline(always)]
    #[must_use]
    pub const fn of(self, class: u32) -> u64 {
        self.0 ^ class as u64
    }

    /// Returns the class in a note, if it is one of this trie and source.
    #[inline(always)]
    #[must_use]
    pub const fn class_in(self, note: u64) -> Option<u32> {
        let class = note ^ self.0;
        if class < Self::STAMP_NS { Some(class as u32) } else { None }
    }
}

const _: () = assert!(ClassNote::STAMP_NS.is_power_of_two());

impl Shortcuts {
    /// Returns what the class of the source with this hash, which `addr` is charged to, is noted by.
    #[inline(always)]
    #[must_use]
    pub const fn class_note(&self, addr: Addr, hash: u64) -> Option<ClassNote> {
        match self.stamps[addr.family() as usize] {
            0 => None,
            stamp => Some(ClassNote(stamp ^ hash)),
        }
    }

    /// Returns whether a prefix may have this address in it; if not, none has.
    #[inline(always)]
    #[must_use]
    pub const fn may_match(&self, addr: Addr) -> bool {
        let bits = match addr.family() {
            Family::V4 => {
                let block = v4_block(addr);
                self.v4_blocks[(block >> 6) as usize] >> (block & 63)
            }
            Family::V6 => {
                let block = v6_block(addr);
                self.v6_blocks[(block >> 6) as usize] >> (block & 63)
            }
        };
        bits & 1 != 0
    }

    /// Takes the shortcuts that these prefixes allow, with sources made up by these masks.
    pub(crate) fn take(
        &mut self,
        masks: [Addr; names::FAMILIES],
        made_at_ns: u64,
        prefixes: impl Iterator<Item = (Addr, u32)>,
    ) {
        let source_bits = masks.map(|mask| mask.words_be.iter().map(|word| word.count_ones()).sum::<u32>());
        self.stamps = [made_at_ns & !(ClassNote::STAMP_NS - 1); names::FAMILIES];
        self.v4_blocks.fill(0);
        self.v6_blocks.fill(0);
        for (addr, len) in prefixes {
            let family = addr.family();
            if len > source_bits[family as usize] {
                self.stamps[family as usize] = 0;
            }
            if family == Family::V4 {
                set(&mut self.v4_blocks, v4_block(addr), (V4_OFFSET + V4_BLOCK_BITS).saturating_sub(len));
                continue;
            }
            set(&mut self.v6_blocks, v6_block(addr), V6_BLOCK_BITS.saturating_sub(len));
            if len < V4_OFFSET && V4_MAPPED.masked(Addr::mask(len)) == addr {
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

    fn shortcuts(source_bits: [u32; 2], prefixes: &[(Addr, u32)]) -> Shortcuts {
        let mut shortcuts = Shortcuts::new_zeroed();
        shortcuts.take(source_bits.map(Addr::mask), 1_000_000, prefixes.iter().copied());
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

    /// A note is one of its own trie and source only, and an entry without a note has none.
    #[test]
    fn a_note_ends_with_its_trie() {
        let (addr, hash) = (V4_MAPPED, 0x1234_5678_9abc_def0);
        let mut shortcuts = shortcuts([128, 64], &[]);
        let note = shortcuts.class_note(addr, hash).unwrap();
        assert_eq!(note.class_in(note.of(9)), Some(9));
        assert_eq!(note.class_in(0), None);
        assert_eq!(shortcuts.class_note(addr, !hash).unwrap().class_in(note.of(9)), None);
        shortcuts.take([128, 64].map(Addr::mask), 1_000_000 + ClassNote::STAMP_NS, core::iter::empty());
        assert_eq!(shortcuts.class_note(addr, hash).unwrap().class_in(note.of(9)), None);
    }

    /// Without prefixes nothing is looked up; with one for everybody everything is.
    #[test]
    fn a_prefix_for_everybody_is_met_by_everybody() {
        let everybody = shortcuts([128, 64], &[(Addr::default(), 0)]);
        for addr in [V4_MAPPED, Addr::from_v4_be(u32::MAX), Addr::default(), Addr::mask(128)] {
            assert!(everybody.may_match(addr) && !shortcuts([128, 64], &[]).may_match(addr));
        }
    }

    proptest! {
        /// Where classes are noted, the longest prefix is the same for all addresses of a source.
        #[test]
        fn a_noted_class_follows_from_the_source(
            prefixes in prefixes(),
            one in addr(),
            two in addr(),
            v4_bits in 122_u32..=128,
            v6_bits in 122_u32..=128,
        ) {
            let shortcuts = shortcuts([v4_bits, v6_bits], &prefixes);
            let bits = if one.family() == Family::V4 { v4_bits } else { v6_bits };
            let is_one_source = one.masked(Addr::mask(bits)) == two.masked(Addr::mask(bits));
            if is_one_source && shortcuts.class_note(one, 0).is_some() {
                prop_assert_eq!(longest(&prefixes, one), longest(&prefixes, two));
            }
        }

        /// An address that no prefix may match is in none.
        #[test]
        fn no_prefix_is_passed_by(prefixes in prefixes(), addr in addr()) {
            let shortcuts = shortcuts([128, 64], &prefixes);
            prop_assert!(shortcuts.may_match(addr) || longest(&prefixes, addr).is_none());
        }
    }
}
