//! Addresses: one key space of 16 bytes, IPv4 as v4-mapped IPv6.
//!
//! Words are kept as they lie in the packet (big-endian), so that the kernel
//! half masks and compares them without turning them around.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The third word of a v4-mapped address, `::ffff:0:0/96`, as it lies in memory.
const V4_MAPPED_BE: u32 = 0xffff_u32.to_be();

/// Bits that an IPv4 prefix has before its own in the common key space.
pub const V4_OFFSET: u32 = 96;

/// An odd constant with well mixed bits (the golden ratio in 64 bits), for hashing.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// The IP version of a packet; its value is the `family` index of the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Family {
    /// IPv4.
    V4 = 0,
    /// IPv6.
    V6 = 1,
}

impl Family {
    /// Every family, in the order of its values.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// Returns the `family` label of the metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }
}

/// An address: IPv6, or IPv4 as v4-mapped IPv6.
#[repr(C)]
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
pub struct Addr {
    /// The 16 bytes of the address as four big-endian words.
    pub words_be: [u32; 4],
}

impl Addr {
    /// Returns the v4-mapped form of an IPv4 address, given as it lies in the packet.
    #[inline(always)]
    #[must_use]
    pub const fn from_v4_be(v4_be: u32) -> Self {
        Self { words_be: [0, 0, V4_MAPPED_BE, v4_be] }
    }

    /// Returns the address with these 16 bytes, in network order.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::many_single_char_names, reason = "sixteen bytes, in order")]
    pub const fn from_octets(octets: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = octets;
        Self {
            words_be: [
                u32::from_ne_bytes([a, b, c, d]),
                u32::from_ne_bytes([e, f, g, h]),
                u32::from_ne_bytes([i, j, k, l]),
                u32::from_ne_bytes([m, n, o, p]),
            ],
        }
    }

    /// Returns the 16 bytes of the address, in network order.
    #[must_use]
    pub fn octets(self) -> [u8; 16] {
        let mut octets = [0; 16];
        octets.copy_from_slice(self.as_bytes());
        octets
    }

    /// Returns the family this address stands for.
    #[inline(always)]
    #[must_use]
    pub const fn family(self) -> Family {
        let [a, b, c, _] = self.words_be;
        if (a | b | (c ^ V4_MAPPED_BE)) == 0 { Family::V4 } else { Family::V6 }
    }

    /// Returns the address with the bits outside `mask` cleared.
    #[inline(always)]
    #[must_use]
    pub const fn masked(self, mask: Self) -> Self {
        let [a, b, c, d] = self.words_be;
        let [ma, mb, mc, md] = mask.words_be;
        Self { words_be: [a & ma, b & mb, c & mc, d & md] }
    }

    /// Returns the mask of the first `len` bits (of 128; an IPv4 length is that plus 96).
    #[must_use]
    pub const fn mask(len: u32) -> Self {
        let bits = if len == 0 {
            0
        } else if len >= 128 {
            u128::MAX
        } else {
            u128::MAX << (128 - len)
        };
        Self::from_octets(bits.to_be_bytes())
    }

    /// Returns the words two by two, the first of each in the upper half.
    #[inline(always)]
    #[must_use]
    pub const fn halves(self) -> [u64; 2] {
        let [a, b, c, d] = self.words_be;
        [(a as u64) << 32 | b as u64, (c as u64) << 32 | d as u64]
    }

    /// Returns the address that [`halves`](Self::halves) came from.
    #[must_use]
    pub const fn from_halves([high, low]: [u64; 2]) -> Self {
        Self { words_be: [(high >> 32) as u32, high as u32, (low >> 32) as u32, low as u32] }
    }

    /// Returns a hash in which every bit of the address counts; `seed` keeps
    /// outsiders from choosing addresses that collide.
    #[inline(always)]
    #[must_use]
    pub const fn hash(self, seed: u64) -> u64 {
        let [high, low] = self.halves();
        let mixed = ((high ^ seed).wrapping_mul(MIX) ^ low).wrapping_mul(MIX);
        // The best bits of a product are its upper ones; fold them down.
        (mixed ^ (mixed >> 29)).wrapping_mul(MIX)
    }
}

impl From<core::net::IpAddr> for Addr {
    fn from(ip: core::net::IpAddr) -> Self {
        match ip {
            core::net::IpAddr::V4(v4) => Self::from_octets(v4.to_ipv6_mapped().octets()),
            core::net::IpAddr::V6(v6) => Self::from_octets(v6.octets()),
        }
    }
}

impl From<Addr> for core::net::IpAddr {
    fn from(addr: Addr) -> Self {
        core::net::Ipv6Addr::from(addr.octets()).to_canonical()
    }
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    /// An IPv4 address and its v4-mapped IPv6 form are one key.
    #[test]
    fn v4_and_v4_mapped_are_one_address() {
        let v4: IpAddr = "192.0.2.7".parse().unwrap();
        let mapped: IpAddr = "::ffff:192.0.2.7".parse().unwrap();
        assert_eq!(Addr::from(v4), Addr::from(mapped));
        assert_eq!(Addr::from(v4), Addr::from_v4_be(u32::from_ne_bytes([192, 0, 2, 7])));
        assert_eq!(Addr::from(v4).family(), Family::V4);
        assert_eq!(IpAddr::from(Addr::from(mapped)), v4);
    }

    /// Masks cut where the prefix length says, byte-aligned or not.
    #[test]
    fn masks_cut_at_the_prefix_length() {
        let ip: IpAddr = "2001:db8:1:2:ffff:ffff:ffff:ffff".parse().unwrap();
        let cut = |len| IpAddr::from(Addr::from(ip).masked(Addr::mask(len)));
        assert_eq!(cut(64), "2001:db8:1:2::".parse::<IpAddr>().unwrap());
        assert_eq!(cut(63), "2001:db8:1:2::".parse::<IpAddr>().unwrap());
        assert_eq!(cut(128), ip);
        assert_eq!(cut(0), "::".parse::<IpAddr>().unwrap());
    }

    proptest! {
        /// Addresses that differ in one bit have different hashes.
        #[test]
        fn one_bit_changes_the_hash(octets: [u8; 16], bit in 0_usize..128, seed: u64) {
            let mut other = octets;
            other[bit / 8] ^= 1 << (bit % 8);
            prop_assert_ne!(Addr::from_octets(octets).hash(seed), Addr::from_octets(other).hash(seed));
        }

        /// Octets survive the way into words and back, and words that into halves.
        #[test]
        fn octets_round_trip(octets: [u8; 16]) {
            prop_assert_eq!(Addr::from_octets(octets).octets(), octets);
            let addr = Addr::from_octets(octets);
            prop_assert_eq!(Addr::from_halves(addr.halves()), addr);
        }
    }
}
