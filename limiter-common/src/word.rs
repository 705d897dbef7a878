//! The word of a source: open and reserved connections in one `u64`, so that a
//! single compare-and-swap checks the limit and reserves.
//!
//! Layout, from the low end: 22 bits open, 10 bits reserved, 32 bits tag. The
//! tag is a hash of the key: an element that was freed and recycled for another
//! key under a CPU's pointer has another tag, so a compare-and-swap through the
//! stale pointer fails instead of charging the wrong source.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bits of the open count: 4 million connections.
const OPEN_BITS: u32 = 22;
/// Bits of the reserved count: at most one per CPU is in flight.
const RESERVED_BITS: u32 = 10;
/// Bits that the tag is shifted by.
const TAG_SHIFT: u32 = OPEN_BITS + RESERVED_BITS;
/// Both counts at their maximum: no state of a living entry.
const TOMBSTONE: u64 = (1 << TAG_SHIFT) - 1;

/// Adds one open connection when added to a word; take it away by [`u64::wrapping_neg`].
pub const ONE_OPEN: u64 = 1;
/// Adds one reserved connection when added to a word.
pub const ONE_RESERVED: u64 = 1 << OPEN_BITS;
/// Turns a reserved connection into an open one when added to a word.
pub const RESERVED_TO_OPEN: u64 = ONE_OPEN.wrapping_sub(ONE_RESERVED);

/// Open and reserved connections of one source, with the tag of its key.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Word(pub u64);

impl Word {
    /// Returns the word of a source without connections; `hash` is that of its key.
    #[inline(always)]
    #[must_use]
    pub const fn idle(hash: u64) -> Self {
        Self((hash >> 32) << TAG_SHIFT)
    }

    /// Returns how many connections are open.
    #[inline(always)]
    #[must_use]
    pub const fn open(self) -> u32 {
        (self.0 & ((1 << OPEN_BITS) - 1)) as u32
    }

    /// Returns how many connections are reserved: handshakes that a CPU is completing.
    #[inline(always)]
    #[must_use]
    pub const fn reserved(self) -> u32 {
        ((self.0 >> OPEN_BITS) & ((1 << RESERVED_BITS) - 1)) as u32
    }

    /// Returns what counts against a limit: open and reserved connections.
    #[inline(always)]
    #[must_use]
    pub const fn held(self) -> u32 {
        self.open() + self.reserved()
    }

    /// Returns whether the word belongs to the key with this hash and is alive.
    #[inline(always)]
    #[must_use]
    pub const fn belongs_to(self, hash: u64) -> bool {
        self.0 >> TAG_SHIFT == hash >> 32 && self.0 & TOMBSTONE != TOMBSTONE
    }

    /// Returns whether nothing is open or reserved.
    #[inline(always)]
    #[must_use]
    pub const fn is_idle(self) -> bool {
        self.0 & TOMBSTONE == 0
    }

    /// Returns the word that says: this entry is being removed.
    #[inline(always)]
    #[must_use]
    pub const fn tombstone(self) -> Self {
        Self(self.0 | TOMBSTONE)
    }

    /// Returns the word with one more connection reserved.
    #[inline(always)]
    #[must_use]
    pub const fn reserve(self) -> Self {
        Self(self.0.wrapping_add(ONE_RESERVED))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASH: u64 = 0xdead_beef_0123_4567;

    /// Reserve, open, release: each step moves one connection and leaves the tag.
    #[test]
    fn a_connection_goes_through_the_word() {
        let idle = Word::idle(HASH);
        assert!(idle.is_idle() && idle.belongs_to(HASH));
        let reserved = idle.reserve();
        assert_eq!((reserved.open(), reserved.reserved(), reserved.held()), (0, 1, 1));
        let open = Word(reserved.0.wrapping_add(RESERVED_TO_OPEN));
        assert_eq!((open.open(), open.reserved(), open.held()), (1, 0, 1));
        assert_eq!(Word(open.0.wrapping_add(ONE_OPEN.wrapping_neg())), idle);
    }

    /// A tombstone belongs to no key, and neither does a word recycled for another key.
    #[test]
    fn tombstones_and_strangers_belong_to_nobody() {
        assert!(!Word::idle(HASH).tombstone().belongs_to(HASH));
        assert!(!Word::idle(HASH ^ (1 << 40)).belongs_to(HASH));
    }

    proptest! {
        /// Any mix of open and reserved adds up, as long as the fields hold it.
        #[test]
        fn counts_do_not_leak_into_each_other(open in 0_u64..1 << OPEN_BITS, reserved in 0_u64..(1 << RESERVED_BITS) - 1, hash: u64) {
            let word = Word(Word::idle(hash).0 + open * ONE_OPEN + reserved * ONE_RESERVED);
            prop_assert_eq!((u64::from(word.open()), u64::from(word.reserved())), (open, reserved));
            prop_assert!(word.belongs_to(hash));
        }
    }
}
