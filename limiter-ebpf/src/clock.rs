//! The clock.

use aya_ebpf::helpers::generated::{bpf_ktime_get_coarse_ns, bpf_ktime_get_ns};

/// A second.
pub const SECOND_NS: u64 = 1_000_000_000;

/// Returns `CLOCK_MONOTONIC`, at the resolution of a timer tick: quotas and
/// samples need no better, and it costs no read of the hardware clock.
#[inline(always)]
pub fn now_ns() -> u64 {
    // SAFETY: the helper takes nothing and has no preconditions (since 5.11).
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// Returns `CLOCK_MONOTONIC` where the coarse clock is not to be had: in tracing programs and iterators.
#[inline(always)]
pub fn precise_ns() -> u64 {
    // SAFETY: the helper takes nothing and has no preconditions.
    unsafe { bpf_ktime_get_ns() }
}

/// Returns whole seconds of [`now_ns`].
#[inline(always)]
pub fn seconds(now_ns: u64) -> u32 {
    (now_ns / SECOND_NS) as u32
}

/// Returns whether `now_ns` is in another second than this one, without a division.
#[inline(always)]
pub fn is_past(second: u32, now_ns: u64) -> bool {
    now_ns.wrapping_sub(u64::from(second) * SECOND_NS) >= SECOND_NS
}
