//! The host's own addresses: a table of fixed buckets, so that a frame for the host is
//! recognised by reading a cache line, without a call into the kernel.
//!
//! An address may be in either of two buckets. Nobody but the host chooses its
//! addresses, so the hash needs no seed.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{addr::Addr, names};

/// Addresses in one bucket: a cache line.
const WAYS: usize = 4;
/// Marks a free place: `::` is nobody's address.
const FREE: [u64; 2] = [0, 0];

/// Own addresses that hash alike.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct LocalBucket {
    halves: [[u64; 2]; WAYS],
}

const _: () = assert!(size_of::<LocalBucket>() == 64);

/// Returns the two buckets that an address may be in.
#[inline(always)]
#[must_use]
pub const fn buckets_of(addr: Addr) -> [u32; 2] {
    let hash = addr.hash(0);
    let mask = names::LOCAL_BUCKETS as u32 - 1;
    [(hash >> 48) as u32 & mask, (hash >> 24) as u32 & mask]
}

impl LocalBucket {
    /// Returns whether the bucket has this address.
    #[inline(always)]
    #[must_use]
    pub fn holds(&self, addr: Addr) -> bool {
        let [high, low] = addr.halves();
        let [first, second, third, fourth] = self.halves;
        // One number that is 0 or not: the verifier looks at one way, not at two.
        let differs = |at: [u64; 2]| (at[0] ^ high) | (at[1] ^ low);
        let is_there =
            differs(first) == 0 || differs(second) == 0 || differs(third) == 0 || differs(fourth) == 0;
        (high | low) != 0 && is_there
    }

    /// Returns how many places are free.
    #[must_use]
    pub fn free(&self) -> usize {
        self.halves.iter().filter(|halves| **halves == FREE).count()
    }

    /// Returns the bucket with this address in it, unless it is full.
    #[must_use]
    pub fn with(mut self, addr: Addr) -> Option<Self> {
        *self.halves.iter_mut().find(|halves| **halves == FREE)? = addr.halves();
        Some(self)
    }

    /// Returns the bucket without this address.
    #[must_use]
    pub fn without(mut self, addr: Addr) -> Self {
        for halves in self.halves.iter_mut().filter(|halves| **halves == addr.halves()) {
            *halves = FREE;
        }
        self
    }

    /// Returns the addresses in the bucket.
    pub fn addrs(&self) -> impl Iterator<Item = Addr> {
        self.halves.into_iter().filter(|halves| *halves != FREE).map(Addr::from_halves)
    }
}

#[cfg(test)]
mod tests {
    use std::{vec, vec::Vec};

    use super::*;

    fn addr(octets: [u8; 4]) -> Addr {
        Addr::from_v4_be(u32::from_ne_bytes(octets))
    }

    /// A bucket has what was put into it, until it is taken out; the others stay.
    #[test]
    fn a_bucket_keeps_what_it_was_given() {
        let [one, other] = [addr([192, 0, 2, 1]), addr([192, 0, 2, 2])];
        let bucket = LocalBucket::default().with(one).unwrap().with(other).unwrap();
        assert!(bucket.holds(one) && bucket.holds(other) && bucket.free() == 2);
        let bucket = bucket.without(one);
        assert!(!bucket.holds(one) && bucket.holds(other));
        assert_eq!(bucket.addrs().collect::<Vec<_>>(), [other]);
    }

    /// A full bucket takes no more, and a free place is nobody's address.
    #[test]
    fn a_bucket_has_four_places() {
        let full = (1..=4).fold(LocalBucket::default(), |b, n| b.with(addr([10, 0, 0, n])).unwrap());
        assert_eq!((full.free(), full.with(addr([10, 0, 0, 5]))), (0, None));
        assert!(!LocalBucket::default().holds(Addr::default()));
    }

    /// As many addresses as a host may have find a place each, though none ever moves.
    #[test]
    fn every_address_finds_a_place() {
        let mut table = vec![LocalBucket::default(); names::LOCAL_BUCKETS];
        let capacity = u32::try_from(names::LOCAL_ADDRESSES).unwrap();
        for n in 0..capacity {
            let addr = addr((0x0a00_0000 + n).to_be_bytes());
            let roomier = |b: &u32| table[*b as usize].free();
            let bucket = buckets_of(addr).into_iter().max_by_key(roomier).unwrap() as usize;
            table[bucket] = table[bucket].with(addr).unwrap_or_else(|| panic!("no place for address {n}"));
        }
    }
}
