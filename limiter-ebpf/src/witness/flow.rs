//! Live connections: noted when they become established, whoever opened them,
//! and forgotten when TCP is done with them.
//!
//! From the state of the socket, not from its packets: a packet may meet a rule
//! that drops it before anybody knows which socket it is for.

use aya_ebpf::programs::BtfTracePointContext;
use limiter_common::witness::{Flow, FlowKey, IN, Lost, OUT, Tag};
use limiter_ebpf::clock;

use crate::{
    maps,
    socket::Socket,
    store::{self, NOEXIST},
};

/// `TCP_ESTABLISHED` and `TCP_CLOSE` (`include/net/tcp_states.h`).
const ESTABLISHED: i32 = 1;
const CLOSE: i32 = 7;
/// Protocol number of TCP (IANA).
const TCP: u16 = 6;

/// Notes a connection that becomes established, and forgets one that is closed: every socket
/// goes through that state before it is destroyed, and one that waits for late segments is another one.
#[inline(always)]
pub fn follow(ctx: &BtfTracePointContext) {
    let state: i32 = ctx.arg(2);
    if state != ESTABLISHED && state != CLOSE {
        return;
    }
    let socket = Socket(ctx.arg(0));
    if socket.protocol() != TCP || !socket.is_ours() {
        return;
    }
    if state == ESTABLISHED {
        keep(&socket.key(), clock::precise_ns(), false);
    } else {
        let _unknown = maps::FLOWS_LIVE.remove(socket.key());
    }
}

/// Keeps a connection, if it is one that the witness looks at.
#[inline(always)]
pub fn keep(key: &FlowKey, established_ns: u64, has_spoken: bool) {
    let (tag, direction) = owner(key);
    if tag == Tag::NONE {
        return;
    }
    let flow = Flow { established_ns, tag: tag.0, direction, spoken: u8::from(has_spoken), pad: [0; 5] };
    if maps::FLOWS_LIVE.insert(key, flow, NOEXIST).is_err() && maps::FLOWS_LIVE.get_ptr(key).is_none() {
        store::lose(Lost::Flows);
    }
}

/// Returns whose a connection is, and who opened it.
#[inline(always)]
pub fn owner(key: &FlowKey) -> (Tag, u8) {
    let tag = store::tag_of_client(key.local_port);
    if tag == Tag::NONE { (store::tag_of_peer(key.remote, key.remote_port), OUT) } else { (tag, IN) }
}
