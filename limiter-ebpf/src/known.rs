//! A count of known sources per bucket, in front of `SOURCES`: an address that nobody
//! knows is told by one load, not by a walk through a table too large for any cache.
//!
//! A source is counted before its entry is there and until after it is gone, so
//! a count of 0 is proof; any other only says to go and look.

use limiter_common::names;

use crate::{atomic, maps};

/// One count. It never overflows its eight bits: with every source known a bucket has sixteen of them
/// on average, and a hash with a secret seed says which.
const COUNT_MASK: u32 = 0xff;

/// Returns whether the source with this hash may be known; false is certain.
#[inline(always)]
pub fn may_be(hash: u64) -> bool {
    let (word, shift) = place(hash);
    word.is_none_or(|word| atomic::load_u32(word) >> shift & COUNT_MASK != 0)
}

/// Counts a source whose entry is about to be there.
#[inline(always)]
pub fn add(hash: u64) {
    let (word, shift) = place(hash);
    if let Some(word) = word {
        atomic::add_u32(word, 1 << shift);
    }
}

/// Takes back the count of a source whose entry is gone.
#[inline(always)]
pub fn remove(hash: u64) {
    let (word, shift) = place(hash);
    if let Some(word) = word {
        atomic::add_u32(word, (1_u32 << shift).wrapping_neg());
    }
}

#[inline(always)]
fn place(hash: u64) -> (Option<*mut u32>, u32) {
    let (word, shift) = names::known_bucket(hash);
    (maps::KNOWN.get_ptr_mut(word), shift)
}
