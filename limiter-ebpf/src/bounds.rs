//! Upper bounds on what sources hold and owe, by bucket: most SYNs are told to be within their limits by
//! one load.
//!
//! What sources hold is summed. The sum grows before the word of a source and shrinks after it, so that no
//! source ever holds more. The same word counts how often something was given up, for refusals that stand.
//! Of arrival times the latest is kept: time alone makes up for it.

use limiter_common::{held, map::Bounds, names};

use crate::{atomic, maps};

/// Returns the most that the source with this hash can hold, open and reserved, and the latest that its
/// arrival time can be.
#[inline(always)]
pub fn of(hash: u64) -> (u32, u64) {
    let Some(at) = place(names::bounds_bucket(hash)) else {
        return (u32::MAX, u64::MAX);
    };
    (held::at_most(atomic::load(held_in(at))), atomic::load(tat_in(at)))
}

/// Returns the cell of the latest arrival time in the bucket of a source with this hash.
#[inline(always)]
pub fn tat(hash: u64) -> Option<*mut u64> {
    place(names::bounds_bucket(hash)).map(tat_in)
}

/// Returns how often a source of the bucket came to hold less.
#[inline(always)]
pub fn room(bucket: u32) -> u32 {
    place(bucket).map_or(0, |at| held::room(atomic::load(held_in(at))))
}

/// Counts one more connection, before the source's word does.
#[inline(always)]
pub fn add_held(hash: u64) {
    change_held(hash, held::ONE_MORE);
}

/// Takes back an [`add_held`] whose word did not move.
#[inline(always)]
pub fn take_back_held(hash: u64) {
    change_held(hash, held::ONE_MORE.wrapping_neg());
}

/// Counts one connection less, after the source's word does.
#[inline(always)]
pub fn take_off_held(hash: u64) {
    change_held(hash, held::ONE_LESS);
}

/// Counts what a recount changed, after the word: a SYN that passes XDP in between meets the gate.
#[inline(always)]
pub fn correct_held(hash: u64, delta: i32) {
    change_held(hash, held::corrected(delta));
}

#[inline(always)]
fn change_held(hash: u64, delta: u64) {
    if let Some(at) = place(names::bounds_bucket(hash)) {
        atomic::add(held_in(at), delta);
    }
}

/// The first field.
#[inline(always)]
const fn held_in(at: *mut Bounds) -> *mut u64 {
    at.cast()
}

/// The second field.
#[inline(always)]
const fn tat_in(at: *mut Bounds) -> *mut u64 {
    at.cast::<u64>().wrapping_add(1)
}

#[inline(always)]
fn place(bucket: u32) -> Option<*mut Bounds> {
    maps::BOUNDS.get_ptr_mut(bucket & (names::BOUND_BUCKETS as u32 - 1))
}
