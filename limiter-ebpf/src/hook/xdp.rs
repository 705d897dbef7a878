//! XDP: the frame is memory, and goes back by `XDP_TX`.

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    helpers::generated::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len},
    programs::XdpContext,
};
use limiter_common::{
    packet::Tcp,
    reply::{self, Reset},
};

use super::Hook;
use crate::{ingress, packet::Frame};

/// Judges a SYN to a guarded port.
///
/// Like [`judge_completing`] a function of its own to the verifier, which so
/// looks at it once, not once for every way through the headers.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_syn(ctx: *mut xdp_md, segment: u64) -> u32 {
    ingress::judge_syn(&XdpContext::new(ctx), segment)
}

/// Judges an ACK from a source that is marked as being at its limit.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_completing(ctx: *mut xdp_md, segment: u64) -> u32 {
    ingress::judge_completing(&XdpContext::new(ctx), segment)
}

impl Hook for XdpContext {
    const PASS: u32 = xdp_action::XDP_PASS;
    const DROP: u32 = xdp_action::XDP_DROP;

    #[inline(always)]
    fn prepare(&self) {}

    #[inline(always)]
    fn data(&self) -> usize {
        XdpContext::data(self)
    }

    #[inline(always)]
    fn data_end(&self) -> usize {
        XdpContext::data_end(self)
    }

    #[inline(always)]
    fn judge_syn(&self, segment: u64) -> u32 {
        judge_syn(self.ctx, segment)
    }

    #[inline(always)]
    fn judge_completing(&self, segment: u64) -> u32 {
        judge_completing(self.ctx, segment)
    }

    #[inline(always)]
    fn overwrite<const N: usize>(&self, offset: u32, bytes: [u8; N]) -> Option<()> {
        let at = Frame::new(self).at::<N>(offset)?;
        // SAFETY: `at` checked that the `N` bytes lie inside the frame; packets promise no alignment.
        unsafe { at.write_unaligned(bytes) };
        Some(())
    }

    #[inline(always)]
    fn cut(&self, excess: u32, len: u32) -> Option<()> {
        // SAFETY: the context is that of the running program. Shrinks only: the TCP
        // header lies at or behind where the headers that follow will put it.
        if excess != 0 && unsafe { bpf_xdp_adjust_head(self.ctx, excess as i32) } != 0 {
            return None;
        }
        // SAFETY: as above.
        let before = unsafe { bpf_xdp_get_buff_len(self.ctx) };
        // SAFETY: as above.
        let failed = unsafe { bpf_xdp_adjust_tail(self.ctx, (len as i32).wrapping_sub(before as i32)) };
        (failed == 0).then_some(())
    }

    #[inline(always)]
    fn store_reset(&self, offset: u32, reset: &Reset) -> Option<()> {
        self.overwrite(offset, reset.tcp())
    }

    #[inline(always)]
    fn send_back(&self) -> u32 {
        xdp_action::XDP_TX
    }

    #[inline(always)]
    fn spoil(&self, offset: u32, tcp: &Tcp) -> Option<()> {
        self.overwrite(offset + 12, reply::spoil(tcp))
    }
}
