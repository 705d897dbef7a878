//! What differs between the places where frames are judged as they arrive: XDP,
//! and tc where another XDP program owns the interface.
//!
//! The judgement itself is the same code for both, compiled once for each; here
//! is only how bytes are reached and what becomes of the frame.

mod tc;
mod xdp;

use aya_ebpf::EbpfContext;
use limiter_common::{packet::Tcp, reply::Reset};

/// A frame under judgement, at one of the places.
pub trait Hook: EbpfContext + Sized {
    /// The frame goes on, to other programs too.
    const PASS: u32;
    /// The frame is lost.
    const DROP: u32;

    /// Makes sure that the headers of an unusual frame can be read, as far as that is possible.
    fn prepare(&self);

    /// Returns the address of the first byte.
    fn data(&self) -> usize;

    /// Returns the address behind the last byte that can be reached.
    fn data_end(&self) -> usize;

    /// Judges a SYN, in a function of its own to the verifier.
    fn judge_syn(&self, segment: u64) -> u32;

    /// Judges an ACK of a source at its limit, in a function of its own to the verifier.
    fn judge_completing(&self, segment: u64) -> u32;

    /// Overwrites `N` bytes at `offset`, if the frame has them.
    fn overwrite<const N: usize>(&self, offset: u32, bytes: [u8; N]) -> Option<()>;

    /// Cuts the frame to `len` bytes, of which none keeps its meaning; `excess` is how much shorter
    /// the headers before TCP become.
    fn cut(&self, excess: u32, len: u32) -> Option<()>;

    /// Writes the TCP header of a reset, with the checksum that its receiver will see.
    fn store_reset(&self, offset: u32, reset: &Reset) -> Option<()>;

    /// Sends the frame back where it came from.
    fn send_back(&self) -> u32;

    /// Turns the segment with this header at `offset` into one that the kernel answers by a reset.
    fn spoil(&self, offset: u32, tcp: &Tcp) -> Option<()>;
}
