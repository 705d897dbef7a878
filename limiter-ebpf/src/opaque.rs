//! Values that the compiler must not reason about.

use core::arch::asm;

use limiter_common::addr::Addr;

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
