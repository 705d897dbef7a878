//! The witness in the kernel: its programs, and nothing but their entry points.
//! They watch; no packet fares differently for them.
//!
//! | program | hook | what it does |
//! | --- | --- | --- |
//! | `drops` | `tp_btf/kfree_skb` | counts packets that the kernel dropped, by reason |
//! | `connections` | `sock_ops` | keeps the connections that are live, times servers to their first byte |
//! | `retransmits` | `tp_btf/tcp_retransmit_skb` | counts retransmissions |
//! | `seed` | `iter/tcp` | notes connections from before |
//! | `seeded_ends` | `tp_btf/inet_sock_set_state` | forgets those as they close |
//! | `flows` | `iter/bpf_map_elem` | writes every live connection to its reader |
#![no_std]
#![no_main]

mod drops;
mod first_byte;
mod flow;
mod globals;
mod iterators;
mod maps;
mod retransmits;
mod skb;
mod socket;
mod store;

use aya_ebpf::{
    macros::{btf_tracepoint, sock_ops},
    programs::{BtfTracePointContext, SockOpsContext},
};
use limiter_ebpf::tcp_events;

/// Counts a packet that the kernel dropped.
#[btf_tracepoint(function = "kfree_skb")]
pub fn drops(ctx: BtfTracePointContext) -> i32 {
    drops::count(&ctx);
    0
}

/// Forgets a connection from before the witness.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn seeded_ends(ctx: BtfTracePointContext) -> i32 {
    flow::end_seeded(&ctx);
    0
}

/// Counts a retransmission.
#[btf_tracepoint(function = "tcp_retransmit_skb")]
pub fn retransmits(ctx: BtfTracePointContext) -> i32 {
    retransmits::count(&ctx);
    0
}

/// Follows a connection from its handshake to its end.
#[sock_ops]
pub fn connections(ctx: SockOpsContext) -> u32 {
    match ctx.op() {
        tcp_events::ACTIVE_ESTABLISHED | tcp_events::PASSIVE_ESTABLISHED => flow::begin(&ctx),
        tcp_events::ROUND_TRIP => first_byte::measure(&ctx),
        tcp_events::STATE => flow::end(&ctx),
        _ => {}
    }
    1
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses an endless loop: a program that can panic does not load.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
