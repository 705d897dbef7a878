//! Prefixes as the packet path looks them up: ranges of addresses, each with a class in every service.
//!
//! Prefixes lie within each other, ranges do not: sorted by where they begin, each goes on until the
//! next one begins, and has the classes of the longest prefix there. So the classes of an address are
//! those of the last range that begins at or before it. Ranges lie in pages, and where each page begins
//! is in the policy: one search there, one look-up of a page, one search in it, however long prefixes
//! are and however many.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{addr::Addr, map::ClassOf, names};

/// `BPF_F_INNER_MAP`: such an array may take the place of one of another length (`array_map_meta_equal`,
/// `kernel/bpf/arraymap.c`, since Linux 5.10). Both sides make the arrays of pages with it.
pub const ANY_LENGTH: u32 = 1 << 12;

/// Where an address lies in the order of all of them.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Position {
    high: u64,
    low: u64,
}

impl Position {
    #[inline(always)]
    const fn of(addr: Addr) -> Self {
        let [a, b, c, d] = addr.words_be;
        Self { high: joined(a, b), low: joined(c, d) }
    }

    /// Returns whether this is that of the other one, or before it.
    #[inline(always)]
    const fn is_until(self, other: Self) -> bool {
        self.high < other.high || (self.high == other.high && self.low <= other.low)
    }
}

#[inline(always)]
const fn joined(high_be: u32, low_be: u32) -> u64 {
    (u32::from_be(high_be) as u64) << 32 | u32::from_be(low_be) as u64
}

/// Where the pages of ranges begin; part of a policy.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RangeIndex {
    /// How many ranges there are.
    ranges: u32,
    /// Where a search begins: always 0, and read from here, so that the kernel's verifier does not know it. What
    /// begins at a known place is at another known place after each path, and there are too many to follow.
    origin: u32,
    /// Where each page begins.
    pages: [Position; names::RANGE_PAGES],
}

/// An address on its way to its range.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// The page that its range is in.
    pub page: u32,
    ranges: u32,
    origin: u32,
    position: Position,
}

impl RangeIndex {
    /// Takes ranges, given by where they begin, in order.
    ///
    /// # Panics
    ///
    /// When there are more than [`names::RANGES`].
    pub fn take(&mut self, begins: impl Iterator<Item = Addr>) {
        (self.ranges, self.origin) = (0, 0);
        for begin in begins {
            let (page, place) = (self.ranges / PER_PAGE, self.ranges % PER_PAGE);
            if place == 0 {
                self.pages[page as usize] = Position::of(begin);
            }
            self.ranges += 1;
        }
    }

    /// Begins the search for the range of an address; `None` if it lies before all of them.
    #[inline(always)]
    #[must_use]
    pub const fn search(&self, addr: Addr) -> Option<Search> {
        let position = Position::of(addr);
        if self.ranges == 0 || !self.pages[0].is_until(position) {
            return None;
        }
        let page = last_until(&self.pages, self.origin, self.ranges.div_ceil(PER_PAGE), position);
        let ranges = self.ranges - page * PER_PAGE;
        let ranges = if ranges > PER_PAGE { PER_PAGE } else { ranges };
        Some(Search { page, ranges, origin: self.origin, position })
    }
}

/// Some ranges, in order; value of the arrays in `RANGES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RangePage {
    begins: [Position; names::RANGES_PER_PAGE],
    class_of: [ClassOf; names::RANGES_PER_PAGE],
}

impl RangePage {
    /// Sets a range of this page.
    ///
    /// # Panics
    ///
    /// When it is none of its [`names::RANGES_PER_PAGE`].
    pub fn set(&mut self, range: usize, begin: Addr, class_of: ClassOf) {
        self.begins[range] = Position::of(begin);
        self.class_of[range] = class_of;
    }

    /// Returns the classes of an address that is searched for; this is the page that it lies in.
    #[inline(always)]
    #[must_use]
    pub const fn class_of(&self, search: &Search) -> &ClassOf {
        let range = last_until(&self.begins, search.origin, search.ranges, search.position);
        &self.class_of[range as usize & (names::RANGES_PER_PAGE - 1)]
    }
}

/// Returns the last of `len` positions from `at` on that is at or before `wanted`, given that the first one is.
///
/// A table is as large as a power of two: a mask tells the verifier that an index is within it.
#[inline(always)]
const fn last_until<const N: usize>(
    positions: &[Position; N],
    mut at: u32,
    mut len: u32,
    wanted: Position,
) -> u32 {
    const { assert!(N.is_power_of_two()) };
    at &= N as u32 - 1;
    let mut step = 0;
    while step < N.ilog2() && len > 1 {
        step += 1;
        let half = len / 2;
        let next = (at + half) & (N as u32 - 1);
        if positions[next as usize].is_until(wanted) {
            at = next;
        }
        len -= half;
    }
    at
}

const PER_PAGE: u32 = names::RANGES_PER_PAGE as u32;
const _: () = assert!(names::RANGES == names::RANGE_PAGES * names::RANGES_PER_PAGE);
