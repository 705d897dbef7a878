//! Atomic operations on map values.
//!
//! `core::sync::atomic` has no read-modify-write operations on the BPF target;
//! these intrinsics compile to `lock` instructions. Every caller brings a
//! pointer that came from a map, a socket storage or a static: the verifier
//! checks each one, so a wrong pointer does not load.

use core::intrinsics::{
    AtomicOrdering::{Relaxed, SeqCst},
    atomic_cxchg, atomic_xadd,
};

/// Compare-and-swaps on one word before giving up: more CPUs than can fight for one source.
pub const ATTEMPTS: u32 = 32;

/// Adds `delta`, wrapping.
#[inline(always)]
pub fn add(at: *mut u64, delta: u64) {
    // SAFETY: the verifier admits only pointers into live map memory, aligned to 8.
    unsafe { atomic_xadd::<u64, u64, { Relaxed }>(at, delta) };
}

/// Adds `delta` to a 32-bit value, wrapping.
#[inline(always)]
pub fn add_u32(at: *mut u32, delta: u32) {
    // SAFETY: the verifier admits only pointers into live map memory, aligned to 4.
    unsafe { atomic_xadd::<u32, u32, { Relaxed }>(at, delta) };
}

/// Replaces `expected` by `new`; returns whether it did.
#[inline(always)]
pub fn swap(at: *mut u64, expected: u64, new: u64) -> bool {
    // SAFETY: the verifier admits only pointers into live map memory, aligned to 8.
    unsafe { atomic_cxchg::<u64, { SeqCst }, { SeqCst }>(at, expected, new).1 }
}

/// Reads a value that other CPUs write.
#[inline(always)]
pub fn load(at: *const u64) -> u64 {
    // SAFETY: the verifier admits only pointers into live map memory; aligned
    // 64-bit loads do not tear, and volatile keeps the compiler from repeating or reusing them.
    unsafe { core::ptr::read_volatile(at) }
}

/// Writes a value that other CPUs read.
#[inline(always)]
pub fn store(at: *mut u64, value: u64) {
    // SAFETY: as for `load`.
    unsafe { core::ptr::write_volatile(at, value) };
}

/// Reads a byte that the daemon writes.
#[inline(always)]
pub fn load_u8(at: *const u8) -> u8 {
    // SAFETY: as for `load`.
    unsafe { core::ptr::read_volatile(at) }
}

/// Reads a 32-bit value that other CPUs write.
#[inline(always)]
pub fn load_u32(at: *const u32) -> u32 {
    // SAFETY: as for `load`, aligned to 4.
    unsafe { core::ptr::read_volatile(at) }
}

/// Writes a 32-bit value that other CPUs read; the last writer wins.
#[inline(always)]
pub fn store_u32(at: *mut u32, value: u32) {
    // SAFETY: as for `load_u32`.
    unsafe { core::ptr::write_volatile(at, value) };
}
