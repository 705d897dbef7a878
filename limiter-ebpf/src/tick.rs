//! The timer tick that a CPU is in, and what it found out once for all packets of it.
//!
//! The kernel puts the number of the tick in line, one load; whatever else it
//! knows of time is a call, which costs as much as a look-up. Only for the packet
//! path: nothing but softirq code may use it.

use aya_ebpf::helpers::generated::bpf_jiffies64;
use limiter_common::map::Tick;

use crate::{clock, maps};

/// Refusals in a tick that are looked at for a sample. A choice: whoever is refused more often is a flood,
/// which more samples do not tell more of.
const LOOKS: u64 = 64;

/// Returns the number of this tick (`jiffies`).
#[inline(always)]
pub fn number() -> u64 {
    // SAFETY: the helper takes nothing and has no preconditions.
    unsafe { bpf_jiffies64() }
}

/// Returns [`clock::now_ns`], asked for once per tick.
#[inline(always)]
pub fn now_ns() -> u64 {
    let Some(tick) = this() else { return clock::now_ns() };
    let number = number();
    if tick.read_in != number {
        tick.now_ns = clock::now_ns();
        tick.read_in = number;
        tick.looks = 0;
    }
    tick.now_ns
}

/// Takes one of the looks for samples that this CPU has in a tick; returns whether there was one left.
#[inline(always)]
pub fn may_look() -> bool {
    this().is_some_and(|tick| {
        tick.looks += 1;
        tick.looks <= LOOKS
    })
}

/// Notes that a refusal was noted in a tick that stands.
#[inline(always)]
pub fn note_standing(number: u64) {
    if let Some(tick) = this() {
        tick.noted_in = number;
    }
}

/// Returns whether any refusal stands on this CPU in a tick.
#[inline(always)]
pub fn has_standing(number: u64) -> bool {
    this().is_some_and(|tick| tick.noted_in == number)
}

#[inline(always)]
fn this<'a>() -> Option<&'a mut Tick> {
    let tick = maps::TICKS.get_ptr_mut(0)?;
    // SAFETY: this CPU's value of a live map; only softirq code uses it, and a softirq does not
    // interrupt another one on its CPU.
    Some(unsafe { &mut *tick })
}
