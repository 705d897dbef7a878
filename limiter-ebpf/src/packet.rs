//! The only code that turns an offset into a pointer: bytes of a frame in XDP,
//! bytes of a socket buffer at the gate.
//!
//! Both hand out copies, so nothing above them can hold on to packet memory
//! longer than the check that covers it.

use core::mem::MaybeUninit;

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::bpf_skb_load_bytes,
    programs::{SkBuffContext, XdpContext},
};
use limiter_common::packet::Bytes;

/// The frame under XDP.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    ctx: &'a XdpContext,
}

impl<'a> Frame<'a> {
    /// Wraps the frame of an XDP program.
    #[inline(always)]
    pub fn new(ctx: &'a XdpContext) -> Self {
        Self { ctx }
    }

    /// Returns a pointer to `N` bytes at `offset`, if the frame has them.
    #[inline(always)]
    pub fn at<const N: usize>(&self, offset: u32) -> Option<*mut [u8; N]> {
        let start = self.ctx.data() + offset as usize;
        if start + N > self.ctx.data_end() {
            return None;
        }
        Some(start as *mut [u8; N])
    }

    /// Overwrites `N` bytes at `offset`, if the frame has them.
    #[inline(always)]
    pub fn store<const N: usize>(&self, offset: u32, bytes: [u8; N]) -> Option<()> {
        let at = self.at::<N>(offset)?;
        // SAFETY: `at` checked that the `N` bytes lie inside the frame; packets promise no alignment.
        unsafe { at.write_unaligned(bytes) };
        Some(())
    }
}

impl Bytes for Frame<'_> {
    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let at = self.at::<N>(offset)?;
        // SAFETY: `at` checked that the `N` bytes lie inside the frame; packets promise no alignment.
        Some(unsafe { at.read_unaligned() })
    }
}

/// The IP packet in a socket buffer; offset 0 is its network header.
#[derive(Clone, Copy)]
pub struct Buffer<'a> {
    ctx: &'a SkBuffContext,
}

impl<'a> Buffer<'a> {
    /// Wraps the socket buffer of a `cgroup_skb` program.
    #[inline(always)]
    pub fn new(ctx: &'a SkBuffContext) -> Self {
        Self { ctx }
    }
}

impl Bytes for Buffer<'_> {
    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        // SAFETY: the destination is `N` bytes of this frame's stack; the
        // helper fills all of them or fails.
        let failed = unsafe {
            bpf_skb_load_bytes(self.ctx.as_ptr().cast(), offset, bytes.as_mut_ptr().cast(), N as u32)
        };
        // SAFETY: the helper has succeeded, so every byte was written.
        (failed == 0).then(|| unsafe { bytes.assume_init() })
    }
}
