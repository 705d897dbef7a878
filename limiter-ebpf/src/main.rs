//! The packet path of limiter: its programs, and nothing but their entry points.
//!
//! | program | hook | what it does |
//! | --- | --- | --- |
//! | `ingress` | XDP | refuses SYNs, and completing ACKs of sources at their limit, early |
//! | `ingress_tc` | tc (TCX or clsact) | does the same where another XDP program owns the interface |
//! | `gate` | `cgroup_skb/ingress` | admits or refuses the segment that completes a handshake: exact |
//! | `charge` | `sock_ops` | counts a connection as it becomes established, takes it off as it ends |
//! | `release` | `tp_btf/tcp_destroy_sock` | takes it off when the kernel destroys the socket |
//! | `give_back` | `tp_btf/kfree_skb` | ends a reservation whose segment the kernel dropped |
//! | `adopt` | `iter/tcp` | counts connections from before |
//! | `rekey` | `iter/bpf_sk_storage_map` | charges connections to whom a changed policy says |
//! | `recount` | `iter/bpf_sk_storage_map` | counts every charged socket where its source is |
//! | `sources` | `iter/bpf_map_elem` | writes every known source, and what was counted, to its reader |
//! | `explain` | XDP, run by hand | says what `ingress` would say, and changes nothing |
//! | `amend` | XDP, run by hand | removes idle sources, corrects drifted counts |
#![no_std]
#![no_main]

mod account;
mod admission;
mod amend;
mod at_limit;
mod bounds;
mod claims;
mod classes;
mod endings;
mod explain;
mod facts;
mod gate;
mod globals;
mod handshake;
mod hook;
mod ingress;
mod iterators;
mod known;
mod maps;
mod netns;
mod packet;
mod recount;
mod rekey;
mod release;
mod reservation;
mod reset;
mod sockets;
mod source;
mod standing;
mod store;
mod syn;
mod tick;

use limiter_ebpf::{atomic, clock, context, tcp_events};

use aya_ebpf::{
    macros::{btf_tracepoint, cgroup_skb, classifier, sock_ops, xdp},
    programs::{BtfTracePointContext, SkBuffContext, SockOpsContext, TcContext, XdpContext},
};

/// Judges a frame as it arrives.
#[xdp(frags)]
pub fn ingress(ctx: XdpContext) -> u32 {
    ingress::run(&ctx)
}

/// Judges a frame as it arrives, after the socket buffer was made.
#[classifier]
pub fn ingress_tc(ctx: TcContext) -> i32 {
    ingress::run(&ctx) as i32
}

/// Judges a segment as it meets its socket.
#[cgroup_skb]
pub fn gate(ctx: SkBuffContext) -> i32 {
    gate::run(&ctx)
}

/// Counts a connection that has become established, and takes it off as it ends.
#[sock_ops]
pub fn charge(ctx: SockOpsContext) -> u32 {
    match ctx.op() {
        tcp_events::PASSIVE_ESTABLISHED => sockets::charge(&ctx),
        tcp_events::STATE => release::follow(&ctx),
        _ => {}
    }
    1
}

/// Takes a connection off the counts.
#[btf_tracepoint(function = "tcp_destroy_sock")]
pub fn release(ctx: BtfTracePointContext) -> i32 {
    release::run(ctx.arg(0));
    0
}

/// Ends the reservation of a segment that the kernel dropped.
#[btf_tracepoint(function = "kfree_skb")]
pub fn give_back(_ctx: BtfTracePointContext) -> i32 {
    reservation::give_back();
    0
}

/// Says what a frame would get.
#[xdp]
pub fn explain(ctx: XdpContext) -> u32 {
    explain::run(&ctx)
}

/// Carries out amendments of the daemon.
#[xdp]
pub fn amend(ctx: XdpContext) -> u32 {
    amend::run(&ctx)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier refuses an endless loop: a program that can panic does not load.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
