//! How long a server takes from handshake to first byte.
//!
//! TCP itself tells, once per connection: by its first measurement of a round
//! trip, which is the first acknowledgement of data. The time of the round trip
//! is taken off. After that the connection costs nothing any more.

use aya_ebpf::programs::SockOpsContext;
use limiter_common::witness::{FIRST_BYTE_BUCKETS, Flow, first_byte_bucket};
use limiter_ebpf::{atomic, clock, context, tcp_events};

use crate::{flow, maps};

/// Notes the first round trip, and asks for no further ones.
#[inline(always)]
pub fn measure(ctx: &SockOpsContext) {
    // The witness of another namespace may have asked: the flags of a socket are everybody's.
    if !flow::is_ours(ctx) {
        return;
    }
    let now_ns = clock::precise_ns();
    tcp_events::ask_no_more(ctx, tcp_events::ROUND_TRIP_FLAG);
    let Some(flow) = maps::FLOWS_LIVE.get_ptr_mut(flow::key(ctx)) else {
        return;
    };
    // SAFETY: a copy of a live entry.
    let Flow { established_ns, tag, spoken, .. } = unsafe { flow.read_volatile() };
    // SAFETY: a field of a live entry; should it be recycled at this moment, one connection more
    // counts as one whose server has spoken.
    let has_spoken = unsafe { &raw mut (*flow).spoken };
    // SAFETY: as above.
    unsafe { has_spoken.write_volatile(1) };
    if established_ns == 0 || spoken != 0 {
        return;
    }
    // Newer kernels say what this measurement was, older ones only the smoothed time, times eight.
    let measured_us = ctx.arg(0);
    let round_trip_us = if measured_us == 0 { smoothed_us(ctx) } else { measured_us };
    let elapsed_us = now_ns.wrapping_sub(established_ns) / 1_000;
    note(tag, elapsed_us.saturating_sub(u64::from(round_trip_us)));
}

#[inline(always)]
fn note(tag: u8, elapsed_us: u64) {
    let Some(times) = maps::FIRST_BYTES.get_ptr_mut(u32::from(tag)) else {
        return;
    };
    let bucket = first_byte_bucket(elapsed_us);
    if bucket < FIRST_BYTE_BUCKETS {
        // SAFETY: an element of the value; no access happens here.
        let buckets = unsafe { &raw mut (*times).buckets };
        atomic::add(buckets.cast::<u64>().wrapping_add(bucket), 1);
    }
    // SAFETY: a field of the value; no access happens here.
    atomic::add(unsafe { &raw mut (*times).sum_us }, elapsed_us);
}

#[inline(always)]
fn smoothed_us(ctx: &SockOpsContext) -> u32 {
    // SAFETY: a field of the context.
    context::read(unsafe { &raw const (*ctx.ops).srtt_us }) >> 3
}
