//! Values that the compiler must not reason about.

use core::arch::asm;

use limiter_common::{addr::Addr, names};

/// Returns the same address, of which the compiler knows nothing.
///
/// What it knows of an address after a look at the family it uses everywhere: two words that are
/// 0 become one store of eight bytes into a key on the stack, wherever that is, and the verifier
/// refuses it where that is not a multiple of eight.
#[inline(always)]
pub fn opaque(addr: Addr) -> Addr {
    Addr { words_be: addr.words_be.map(opaque_word) }
}

#[inline(always)]
fn opaque_word(word: u32) -> u32 {
    let mut word = u64::from(word);
    // SAFETY: it moves a register to itself; without any instruction line numbers would be ambiguous.
    unsafe { asm!("{0} = {0}", inout(reg) word, options(pure, nomem, nostack, preserves_flags)) };
    word as u32
}

/// Returns the same port, by an instruction that tells the verifier how large it is at most.
///
/// Kernels such as 6.1 know nothing of a value whose bytes were swapped, and the compiler leaves
/// out every mask that changes nothing: an array of all ports is then out of bounds to them.
#[inline(always)]
pub fn bounded(port: u16) -> u16 {
    masked::<{ u16::MAX as u64 }>(u64::from(port)) as u16
}

/// Returns the same class, in the same way: one that was told to be small by a comparison is small to
/// newer kernels only.
#[inline(always)]
pub fn bounded_class(class: u32) -> u32 {
    masked::<{ names::CLASSES as u64 - 1 }>(u64::from(class)) as u32
}

/// Returns the same cell of a service and class, in the same way: kernels such as 6.1 know no bound of
/// two values that were joined by an `or`.
#[inline(always)]
pub fn bounded_cell(cell: u32) -> u32 {
    masked::<{ (names::SERVICES * names::CLASSES) as u64 - 1 }>(u64::from(cell)) as u32
}

#[inline(always)]
fn masked<const MASK: u64>(mut value: u64) -> u64 {
    // SAFETY: it changes a register, and nothing of what is in it but bits that no caller's value has.
    unsafe {
        asm!("{0} &= {1}", inout(reg) value, const MASK, options(pure, nomem, nostack, preserves_flags))
    };
    value
}

/// Returns 0, of which the compiler knows nothing: zeroes that it knows become a call of `memset`,
/// whose frame takes 32 bytes of the stack on kernels before 6.8.
#[inline(always)]
pub fn zero() -> u64 {
    let zero: u64;
    // SAFETY: it sets a register.
    unsafe { asm!("{0} = 0", out(reg) zero, options(pure, nomem, nostack, preserves_flags)) };
    zero
}
