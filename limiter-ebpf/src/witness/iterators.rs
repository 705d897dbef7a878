//! Iterators that the daemon reads: `seed` notes connections from before the
//! witness, `flows` writes those that are live.

use core::ffi::c_void;

use limiter_common::witness::{Flow, FlowKey, FlowRecord};
use limiter_ebpf::{
    context,
    seq::{self, Meta},
};

use crate::{flow, globals, socket::Socket};

/// States of a connection that is live: established, or closed by one side or by both
/// (`include/net/tcp_states.h`: `ESTABLISHED`, `FIN_WAIT1`, `FIN_WAIT2`, `CLOSE_WAIT`, `LAST_ACK`, `CLOSING`).
const LIVE: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << 11;

/// Context of `iter/tcp`.
#[repr(C)]
pub struct TcpContext {
    meta: *mut Meta,
    sk: *const u8,
}

/// Context of `iter/bpf_map_elem`.
#[repr(C)]
pub struct ElementContext {
    meta: *mut Meta,
    map: *mut c_void,
    key: *const FlowKey,
    value: *const Flow,
}

/// Notes the connections of mail that are live already.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/tcp")]
pub fn seed(ctx: *mut TcpContext) -> i32 {
    // SAFETY: a field of the context.
    let sk = context::read(unsafe { &raw const (*ctx).sk });
    let socket = Socket(sk);
    if !sk.is_null() && 1 << u32::from(socket.state() & 31) & LIVE != 0 {
        let acknowledged: u64 = socket.member(globals::bytes_acked_offset());
        flow::keep(&socket.key(), 0, acknowledged > BYTES_OF_A_SYN);
    }
    0
}

/// `tcp_sock.bytes_acked` counts the SYN of a connection that this host opened as one.
const BYTES_OF_A_SYN: u64 = 1;

/// Writes every live connection.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/bpf_map_elem")]
pub fn flows(ctx: *mut ElementContext) -> i32 {
    // SAFETY: a field of the context.
    let key = context::read(unsafe { &raw const (*ctx).key });
    // SAFETY: a field of the context.
    let value = context::read(unsafe { &raw const (*ctx).value });
    if key.is_null() || value.is_null() {
        return 0;
    }
    // SAFETY: a live key of the map, as large as the map says.
    let key = unsafe { key.read_volatile() };
    // SAFETY: a live value of the map, as above.
    let flow = unsafe { value.read_volatile() };
    // SAFETY: a field of the context.
    seq::write(context::read(unsafe { &raw const (*ctx).meta }), &FlowRecord { key, pad: 0, flow })
}
