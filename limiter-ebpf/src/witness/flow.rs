//! Live connections: noted when they become established, whoever opened them,
//! and forgotten when TCP is done with them.
//!
//! From the state of the socket, not from its packets: a packet may meet a rule
//! that drops it before anybody knows which socket it is for. TCP tells of it by
//! `sock_ops`, which a kernel runs everywhere; connections from before the
//! witness are asked for nothing, and a tracepoint tells of their end.

use aya_ebpf::{
    helpers::generated::bpf_get_netns_cookie,
    programs::{BtfTracePointContext, SockOpsContext},
};
use limiter_common::witness::{Flow, FlowKey, IN, Lost, OUT, Tag};
use limiter_ebpf::{clock, context, tcp_events};

use crate::{
    globals, maps,
    socket::Socket,
    store::{self, NOEXIST},
};

/// Protocol number of TCP (IANA).
const TCP: u16 = 6;

/// Notes a connection that has become established, if it is one that the witness looks at, and
/// asks to be told of its end, and how long its server takes to speak.
#[inline(always)]
pub fn begin(ctx: &SockOpsContext) {
    if !is_ours(ctx) {
        return;
    }
    if let Some(direction) = keep(&key(ctx), clock::precise_ns(), false) {
        let first_byte = if direction == IN { tcp_events::ROUND_TRIP_FLAG } else { 0 };
        tcp_events::ask(ctx, tcp_events::STATE_FLAG | first_byte);
    }
}

/// Forgets a connection that is closed: one that waits for late segments is no connection any more.
#[inline(always)]
pub fn end(ctx: &SockOpsContext) {
    if tcp_events::is_close(ctx) && is_ours(ctx) {
        let _unknown = maps::FLOWS_LIVE.remove(key(ctx));
    }
}

/// Forgets a connection from before the witness: every socket is closed before it is destroyed.
#[inline(always)]
pub fn end_seeded(ctx: &BtfTracePointContext) {
    if ctx.arg::<u32>(2) != tcp_events::CLOSE {
        return;
    }
    let socket = Socket(ctx.arg(0));
    if socket.protocol() == TCP && socket.is_ours() {
        let _unknown = maps::FLOWS_LIVE.remove(socket.key());
    }
}

/// Keeps a connection, if it is one that the witness looks at; returns who opened it then. One from
/// before the witness was established at 0.
#[inline(always)]
pub fn keep(key: &FlowKey, established_ns: u64, has_spoken: bool) -> Option<u8> {
    let (tag, direction) = owner(key);
    if tag == Tag::NONE {
        return None;
    }
    let flow = Flow { established_ns, tag: tag.0, direction, spoken: u8::from(has_spoken), pad: [0; 5] };
    if maps::FLOWS_LIVE.insert(key, flow, NOEXIST).is_err() && maps::FLOWS_LIVE.get_ptr(key).is_none() {
        store::lose(Lost::Flows);
    }
    Some(direction)
}

/// Returns whose a connection is, and who opened it.
#[inline(always)]
pub fn owner(key: &FlowKey) -> (Tag, u8) {
    let tag = store::tag_of_client(key.local_port);
    if tag == Tag::NONE { (store::tag_of_peer(key.remote, key.remote_port), OUT) } else { (tag, IN) }
}

/// Returns whether an event is of the network namespace that limiter guards.
#[inline(always)]
pub fn is_ours(ctx: &SockOpsContext) -> bool {
    // SAFETY: the context is that of the running program.
    unsafe { bpf_get_netns_cookie(ctx.ops.cast()) == globals::netns_cookie() }
}

/// Returns between whom the connection of an event is.
#[inline(always)]
pub fn key(ctx: &SockOpsContext) -> FlowKey {
    // The port is in the upper half of its word.
    // SAFETY: a field of the context.
    let port = context::read(unsafe { &raw const (*ctx.ops).remote_port });
    FlowKey {
        local: context::local_addr(ctx),
        remote: context::remote_addr(ctx),
        local_port: ctx.local_port() as u16,
        remote_port: u16::from_be((port >> 16) as u16),
    }
}
