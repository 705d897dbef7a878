//! From frame to TCP segment: where the headers are, and what stops the walk.
//!
//! Works on anything that can copy bytes out by offset: the packet in XDP, the
//! socket buffer at the gate, a slice in tests. Lengths come from the IP
//! header, never from the end of the frame (Ethernet pads short ones).

mod ethernet;
mod ip;
mod plain;
mod tcp;

pub use ethernet::{Link, VLAN_TAGS_MAX, link};
pub use ip::{PROTO_TCP, segment};
pub use plain::plain;
pub use tcp::{Tcp, flags};

use crate::addr::{Addr, Family};

/// Copies bytes out of a packet.
pub trait Bytes {
    /// Returns the `N` bytes at `offset`, or `None` if the packet ends before them.
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;
}

impl Bytes for &[u8] {
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let start = usize::try_from(offset).ok()?;
        self.get(start..start.checked_add(N)?)?.try_into().ok()
    }
}

/// Why the walk through the headers ended before a TCP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Not TCP over IP, so not limiter's matter.
    NotTcp,
    /// A fragment: its ports, if it has any, belong to something larger.
    Fragment,
    /// Truncated, malformed, or longer than limiter walks.
    Unparseable,
}

/// Where the headers of a TCP segment are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The IP version.
    pub family: Family,
    /// Offset of the IP header.
    pub ip: u32,
    /// Offset of the TCP header.
    pub tcp: u32,
    /// Offset of the end of the IP packet, as its header says.
    pub end: u32,
}

/// Offsets are kept to 14 bits: a chain of headers that ends later is not walked.
const OFFSET_MASK: u32 = (1 << 14) - 1;

impl Segment {
    /// Returns the segment in one register, for a call that takes it by value.
    #[inline(always)]
    #[must_use]
    pub const fn pack(&self) -> u64 {
        let offsets = (self.ip as u64 & 0xffff) | (self.tcp as u64 & 0xffff) << 16 | (self.end as u64) << 32;
        offsets | (self.family as u64) << 63
    }

    /// Returns the segment that [`pack`](Self::pack) packed.
    #[inline(always)]
    #[must_use]
    pub const fn unpack(packed: u64) -> Self {
        let family = if packed >> 63 == 0 { Family::V4 } else { Family::V6 };
        let end = (packed >> 32) as u32 & 0x7fff_ffff;
        Self { family, ip: packed as u32 & OFFSET_MASK, tcp: (packed >> 16) as u32 & OFFSET_MASK, end }
    }

    /// Returns the TCP header.
    ///
    /// # Errors
    ///
    /// [`Stop::Unparseable`] if it is truncated or its length impossible.
    #[inline(always)]
    pub fn header(&self, bytes: &impl Bytes) -> Result<Tcp, Stop> {
        let tcp = Tcp(bytes.load(self.tcp).ok_or(Stop::Unparseable)?);
        if self.holds(&tcp) { Ok(tcp) } else { Err(Stop::Unparseable) }
    }

    /// Returns whether the length in a TCP header is possible here.
    #[inline(always)]
    const fn holds(&self, tcp: &Tcp) -> bool {
        tcp.header_len() >= Tcp::LEN && self.tcp + tcp.header_len() <= self.end
    }

    /// Returns the source address.
    #[inline(always)]
    pub fn source(&self, bytes: &impl Bytes) -> Option<Addr> {
        match self.family {
            Family::V4 => Some(Addr::from_v4_be(u32::from_ne_bytes(bytes.load(self.ip + 12)?))),
            Family::V6 => Some(Addr::from_octets(bytes.load(self.ip + 8)?)),
        }
    }

    /// Returns the destination address.
    #[inline(always)]
    pub fn destination(&self, bytes: &impl Bytes) -> Option<Addr> {
        match self.family {
            Family::V4 => Some(Addr::from_v4_be(u32::from_ne_bytes(bytes.load(self.ip + 16)?))),
            Family::V6 => Some(Addr::from_octets(bytes.load(self.ip + 24)?)),
        }
    }
}
