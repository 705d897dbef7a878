//! tc (TCX or clsact): the frame is a socket buffer, and goes back by a
//! redirect to the interface it came from.
//!
//! A socket buffer need not hold its headers in one piece, may be shared, may
//! have a VLAN tag beside it, and its checksum may be one that is still to be
//! computed (`CHECKSUM_PARTIAL`: veth and virtio, from a sender on the same
//! machine) or one that the card computed over everything (`CHECKSUM_COMPLETE`).
//! Hence every write goes through a helper that knows about all of this.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{__sk_buff, BPF_F_RECOMPUTE_CSUM, TC_ACT_SHOT, TC_ACT_UNSPEC},
    helpers::generated::{
        bpf_l4_csum_replace, bpf_redirect, bpf_skb_change_tail, bpf_skb_pull_data, bpf_skb_store_bytes,
    },
    programs::TcContext,
};
use limiter_common::{
    packet::{Bytes as _, Tcp},
    reply::{self, Reset},
};

use super::Hook;
use crate::{ingress, packet::Frame};

/// Bytes that are brought into one piece if the socket buffer is in several. A
/// choice: Ethernet, IPv6, four extension headers of usual size and TCP fit in twice.
const HEADERS_LEN: u32 = 512;
/// Bytes that the checksum of a card (`skb->csum`) does not cover: the Ethernet header.
const UNSUMMED_LEN: u32 = 14;
/// Offset of the checksum in a TCP header, and its length as a flag of the helper.
const CHECKSUM: u32 = 16;
const CHECKSUM_LEN: u64 = 2;

/// Judges a SYN to a guarded port; see the function of XDP for why it is one of its own.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_syn_of_buffer(skb: *mut __sk_buff, segment: u64) -> u32 {
    ingress::judge_syn(&TcContext::new(skb), segment)
}

/// Judges an ACK from a source that is marked as being at its limit.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_completing_of_buffer(skb: *mut __sk_buff, segment: u64) -> u32 {
    ingress::judge_completing(&TcContext::new(skb), segment)
}

impl Hook for TcContext {
    /// Not `TC_ACT_OK`: that would end the chain, and others have programs in it.
    const PASS: u32 = TC_ACT_UNSPEC as u32;
    const DROP: u32 = TC_ACT_SHOT as u32;

    #[inline(always)]
    fn prepare(&self) {
        let linear = self.data_end() - self.data();
        let wanted = self.skb.len().min(HEADERS_LEN);
        if linear < wanted as usize {
            // SAFETY: the context is that of the running program; nobody holds a
            // pointer into the packet yet. If it fails, the headers are found truncated.
            unsafe { bpf_skb_pull_data(self.skb.skb, wanted) };
        }
    }

    #[inline(always)]
    fn data(&self) -> usize {
        TcContext::data(self)
    }

    #[inline(always)]
    fn data_end(&self) -> usize {
        TcContext::data_end(self)
    }

    #[inline(always)]
    fn judge_syn(&self, segment: u64) -> u32 {
        judge_syn_of_buffer(self.skb.skb, segment)
    }

    #[inline(always)]
    fn judge_completing(&self, segment: u64) -> u32 {
        judge_completing_of_buffer(self.skb.skb, segment)
    }

    #[inline(always)]
    fn overwrite<const N: usize>(&self, offset: u32, bytes: [u8; N]) -> Option<()> {
        let flags = if offset < UNSUMMED_LEN { 0 } else { u64::from(BPF_F_RECOMPUTE_CSUM) };
        store(self, offset, bytes, flags)
    }

    /// The head stays where it is: what a checksum is still to be computed over
    /// is known by its place. With IP options such a buffer cannot be cut, and the SYN is lost.
    #[inline(always)]
    fn cut(&self, _excess: u32, len: u32) -> Option<()> {
        // SAFETY: the context is that of the running program; every pointer into the packet is taken anew.
        (unsafe { bpf_skb_change_tail(self.skb.skb, len, 0) } == 0).then_some(())
    }

    #[inline(always)]
    fn store_reset(&self, offset: u32, reset: &Reset) -> Option<()> {
        let header = reset.tcp();
        self.overwrite(offset, header)?;
        let whole = [header[CHECKSUM as usize], header[CHECKSUM as usize + 1]];
        // No program can see whether the checksum is still to be computed, but
        // this helper leaves it alone if so.
        replace_checksum(self, offset, [0, 0], [0, 1])?;
        let frame = Frame::new(self);
        let is_pending = frame.load::<2>(offset + CHECKSUM)? == whole;
        store(self, offset + CHECKSUM, if is_pending { reset.pseudo_sum() } else { whole }, 0)
    }

    #[inline(always)]
    fn send_back(&self) -> u32 {
        // SAFETY: a field of the context.
        let index = unsafe { (*self.skb.skb).ifindex };
        // SAFETY: takes plain numbers.
        unsafe { bpf_redirect(index, 0) as u32 }
    }

    /// The sum over everything stays what it is: the checksum makes up for the flags.
    #[inline(always)]
    fn spoil(&self, offset: u32, tcp: &Tcp) -> Option<()> {
        let before = [tcp.0[12], tcp.0[13]];
        let [b12, b13, ..] = reply::spoil(tcp);
        store(self, offset + 12, [b12, b13], 0)?;
        replace_checksum(self, offset, before, [b12, b13])
    }
}

#[inline(always)]
fn store<const N: usize>(ctx: &TcContext, offset: u32, bytes: [u8; N], flags: u64) -> Option<()> {
    // SAFETY: the source is `N` bytes of this frame's stack; the helper checks the packet.
    let failed =
        unsafe { bpf_skb_store_bytes(ctx.as_ptr().cast(), offset, bytes.as_ptr().cast(), N as u32, flags) };
    (failed == 0).then_some(())
}

/// Corrects the checksum of the TCP header at `offset` for two bytes that changed.
#[inline(always)]
fn replace_checksum(ctx: &TcContext, offset: u32, from: [u8; 2], to: [u8; 2]) -> Option<()> {
    let (from, to) = (u64::from(u16::from_ne_bytes(from)), u64::from(u16::from_ne_bytes(to)));
    // SAFETY: the context is that of the running program; the helper checks the packet.
    let failed =
        unsafe { bpf_l4_csum_replace(ctx.as_ptr().cast(), offset + CHECKSUM, from, to, CHECKSUM_LEN) };
    (failed == 0).then_some(())
}
