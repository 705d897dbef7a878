//! How long a server takes from handshake to first byte.
//!
//! TCP itself tells, once per connection: by its first measurement of a round
//! trip, which is the first acknowledgement of data. The time of the round trip
//! is taken off. After that the connection costs nothing any more.

use aya_ebpf::{helpers::generated::bpf_get_netns_cookie, programs::SockOpsContext};
use limiter_common::{
    addr::Addr,
    witness::{FIRST_BYTE_BUCKETS, Flow, FlowKey, Tag, first_byte_bucket},
};
use limiter_ebpf::{atomic, clock, context};

use crate::{globals, maps, store};

/// Events of `sock_ops` (`include/uapi/linux/bpf.h`).
const PASSIVE_ESTABLISHED: u32 = 5;
const ROUND_TRIP: u32 = 12;
/// Asks for [`ROUND_TRIP`].
const ROUND_TRIP_FLAG: u32 = 1 << 3;

/// Follows a connection to its first byte.
#[inline(always)]
pub fn run(ctx: &SockOpsContext) {
    match ctx.op() {
        PASSIVE_ESTABLISHED => ask(ctx),
        ROUND_TRIP => measure(ctx),
        _ => {}
    }
}

/// Asks to be told of the first round trip.
#[inline(always)]
fn ask(ctx: &SockOpsContext) {
    // SAFETY: the context is that of the running program.
    let cookie = unsafe { bpf_get_netns_cookie(ctx.ops.cast()) };
    if cookie == globals::netns_cookie() && store::tag_of_client(ctx.local_port() as u16) != Tag::NONE {
        let _unsupported = ctx.set_cb_flags((ctx.cb_flags() | ROUND_TRIP_FLAG) as i32);
    }
}

/// Notes the first round trip, and asks for no further ones.
#[inline(always)]
fn measure(ctx: &SockOpsContext) {
    let now_ns = clock::precise_ns();
    let _unsupported = ctx.set_cb_flags((ctx.cb_flags() & !ROUND_TRIP_FLAG) as i32);
    let Some(flow) = maps::FLOWS_LIVE.get_ptr_mut(key(ctx)) else {
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

/// Returns between whom the connection is.
#[inline(always)]
fn key(ctx: &SockOpsContext) -> FlowKey {
    // The verifier admits word by word only, and the port is in the upper half of its word.
    // SAFETY: a field of the context.
    let port = context::read(unsafe { &raw const (*ctx.ops).remote_port });
    // SAFETY: a field of the context.
    let local = unsafe { (&raw const (*ctx.ops).local_ip6).cast::<u32>() };
    // SAFETY: a field of the context.
    let remote = unsafe { (&raw const (*ctx.ops).remote_ip6).cast::<u32>() };
    FlowKey {
        local: words(local),
        remote: words(remote),
        local_port: ctx.local_port() as u16,
        remote_port: u16::from_be((port >> 16) as u16),
    }
}

#[inline(always)]
fn words(at: *const u32) -> Addr {
    let word = |index: usize| context::read(at.wrapping_add(index));
    Addr { words_be: [word(0), word(1), word(2), word(3)] }
}
