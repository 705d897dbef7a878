//! The only code that turns an offset into a pointer: bytes of a frame as it
//! arrives, bytes of a socket buffer at the gate.
//!
//! Both hand out copies, so nothing above them can hold on to packet memory
//! longer than the check that covers it.

use core::mem::MaybeUninit;

use aya_ebpf::{EbpfContext as _, helpers::generated::bpf_skb_load_bytes, programs::SkBuffContext};
use limiter_common::packet::Bytes;

use crate::hook::Hook;

/// A frame as it arrives.
pub struct Frame<'a, H> {
    hook: &'a H,
}

impl<'a, H: Hook> Frame<'a, H> {
    /// Wraps the frame of a program.
    #[inline(always)]
    pub fn new(hook: &'a H) -> Self {
        Self { hook }
    }

    /// Returns a pointer to `N` bytes at `offset`, if the frame has them.
    #[inline(always)]
    pub fn at<const N: usize>(&self, offset: u32) -> Option<*mut [u8; N]> {
        // SAFETY: offsets are those of headers, and no frame lies at the end of the address space.
        // Told so, the compiler makes one comparison for reads before one another.
        let start = unsafe { self.hook.data().unchecked_add(offset as usize) };
        // SAFETY: as above.
        let end = unsafe { start.unchecked_add(N) };
        (end <= self.hook.data_end()).then_some(start as *mut [u8; N])
    }

    /// Overwrites `N` bytes at `offset`, if the frame has them.
    #[inline(always)]
    pub fn store<const N: usize>(&self, offset: u32, bytes: [u8; N]) -> Option<()> {
        self.hook.overwrite(offset, bytes)
    }
}

impl<H: Hook> Bytes for Frame<'_, H> {
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
