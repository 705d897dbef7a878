//! Prefixes made ranges of addresses, for the packet path and for questions about many sources at once.
//!
//! A single address is explained by [`Table::winner`](super::Table::winner), which also names the rule.

use limiter_common::{
    addr::Addr,
    map::ClassOf,
    names,
    policy::CLASS_DEFAULT,
    ranges::{RangeIndex, RangePage},
};
use zerocopy::FromZeros as _;

use super::{CompileError, CompiledPrefix};

/// Ranges of addresses by where they begin; each goes on until the next one begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<(u128, ClassOf)>);

impl Ranges {
    /// Returns the ranges that prefixes make, in whatever order these are.
    #[must_use]
    pub fn of(prefixes: &[CompiledPrefix]) -> Self {
        // Sorted so, a prefix comes right after those that cover it.
        let mut sorted: Vec<_> = prefixes.iter().map(Extent::of).collect();
        sorted.sort_by_key(|extent| (extent.first, std::cmp::Reverse(extent.last)));
        let mut ranges = Self(Vec::with_capacity(2 * sorted.len()));
        let mut covering: Vec<Extent> = Vec::new();
        for extent in sorted {
            ranges.end(&mut covering, |wider| wider.last < extent.first);
            ranges.begin(extent.first, extent.class_of);
            covering.push(extent);
        }
        ranges.end(&mut covering, |_| true);
        ranges
    }

    /// Ends the innermost prefixes for as long as they are to be ended: what covers them goes on.
    fn end(&mut self, covering: &mut Vec<Extent>, is_over: impl Fn(&Extent) -> bool) {
        while let Some(ended) = covering.pop_if(|innermost| is_over(innermost)) {
            if let Some(next) = ended.last.checked_add(1) {
                self.begin(next, covering.last().map_or_else(ClassOf::default, |wider| wider.class_of));
            }
        }
    }

    fn begin(&mut self, at: u128, class_of: ClassOf) {
        // What begins at the same address is within what was to begin there.
        self.0.pop_if(|(begin, _)| *begin == at);
        if self.0.last().map_or_else(ClassOf::default, |(_, before)| *before) != class_of {
            self.0.push((at, class_of));
        }
    }

    /// Returns the class of an address in a service.
    #[must_use]
    pub fn class_of(&self, addr: Addr, service: u32) -> u32 {
        let position = position(addr);
        let begun = self.0.partition_point(|(begin, _)| *begin <= position);
        let range = begun.checked_sub(1).and_then(|last| self.0.get(last));
        range
            .and_then(|(_, class_of)| class_of.class.get(service as usize))
            .map_or(CLASS_DEFAULT, |class| (*class).into())
    }

    /// Says where the ranges are.
    pub fn note_in(&self, index: &mut RangeIndex) {
        index.take(self.0.iter().map(|(begin, _)| addr(*begin)));
    }

    /// Returns how many pages they take: one at least, since no map is empty.
    #[must_use]
    pub fn page_count(&self) -> usize {
        self.0.len().div_ceil(names::RANGES_PER_PAGE).max(1)
    }

    /// Returns the pages.
    pub fn pages(&self) -> impl Iterator<Item = Result<Box<RangePage>, CompileError>> {
        self.0.chunks(names::RANGES_PER_PAGE).map(|ranges| {
            let mut page = RangePage::new_box_zeroed().map_err(|_| CompileError::OutOfMemory)?;
            for (n, (begin, class_of)) in ranges.iter().enumerate() {
                page.set(n, addr(*begin), *class_of);
            }
            Ok(page)
        })
    }
}

/// The addresses of a prefix.
#[derive(Clone, Copy)]
struct Extent {
    first: u128,
    last: u128,
    class_of: ClassOf,
}

impl Extent {
    fn of(prefix: &CompiledPrefix) -> Self {
        let first = position(prefix.addr);
        let last = first | !position(Addr::mask(prefix.prefix_len));
        Self { first, last, class_of: prefix.class_of }
    }
}

fn position(addr: Addr) -> u128 {
    u128::from_be_bytes(addr.octets())
}

fn addr(position: u128) -> Addr {
    Addr::from_octets(position.to_be_bytes())
}
