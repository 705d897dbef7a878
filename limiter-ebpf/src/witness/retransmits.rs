//! Retransmissions on guarded ports, of mail that this host sends, and to upstreams.

use aya_ebpf::programs::BtfTracePointContext;
use limiter_common::witness::{RetransmitKey, Tag};
use limiter_ebpf::atomic;

use crate::{flow, globals, maps, socket::Socket, store::NOEXIST};

/// `TCP_SYN_SENT` (`include/net/tcp_states.h`).
const SYN_SENT: u8 = 2;

/// Counts a retransmission.
#[inline(always)]
pub fn count(ctx: &BtfTracePointContext) {
    let socket = Socket(ctx.arg(0));
    if !socket.is_ours() {
        return;
    }
    let (tag, direction) = flow::owner(&socket.key());
    if tag == Tag::NONE {
        return;
    }
    // The timer counts how often it ran out since the last progress.
    let timeouts: u8 = socket.member(globals::icsk_retransmits_offset());
    let key = RetransmitKey {
        tag: tag.0,
        direction,
        syn: u8::from(socket.state() == SYN_SENT),
        timeout: u8::from(timeouts > 0),
    };
    if maps::RETRANSMITS.get_ptr_mut(key).is_none() {
        let _there = maps::RETRANSMITS.insert(key, 0, NOEXIST);
    }
    if let Some(count) = maps::RETRANSMITS.get_ptr_mut(key) {
        atomic::add(count, 1);
    }
}
