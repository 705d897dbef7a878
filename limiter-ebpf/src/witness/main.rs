//! The witness in the kernel: its programs, and nothing but their entry points.
//! They watch; no packet fares differently for them.
//!
//! | program | hook | what it does |
//! | --- | --- | --- |
//! | `drops` | `tp_btf/kfree_skb` | counts packets that the kernel dropped, by reason |
//! | `states` | `tp_btf/inet_sock_set_state` | keeps the connections that are live |
//! | `retransmits` | `tp_btf/tcp_retransmit_skb` | counts retransmissions |
//! | `first_byte` | `sock_ops` | times servers from handshake to first byte |
//! | `seed` | `iter/tcp` | notes connections from before |
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

/// Counts a packet that the kernel dropped.
#[btf_tracepoint(function = "kfree_skb")]
pub fn drops(ctx: BtfTracePointContext) -> i32 {
    drops::count(&ctx);
    0
}

/// Notes connections that become established, and forgets those that are closed.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn states(ctx: BtfTracePointContext) -> i32 {
    flow::follow(&ctx);
    0
}

/// Counts a retransmission.
#[btf_tracepoint(function = "tcp_retransmit_skb")]
pub fn retransmits(ctx: BtfTracePointContext) -> i32 {
    retransmits::count(&ctx);
    0
}

/// Times a server from handshake to first byte.
#[sock_ops]
pub fn first_byte(ctx: SockOpsContext) -> u32 {
    first_byte::run(&ctx);
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
