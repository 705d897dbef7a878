//! TCP segments, and UDP datagrams for the negatives.

use std::net::SocketAddr;
use std::ops::BitOr;

use super::checksum;

/// The flags of a TCP segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// No flag at all.
    pub const NONE: Self = Self(0);
    /// The sender is done.
    pub const FIN: Self = Self(0x01);
    /// Opens a connection.
    pub const SYN: Self = Self(0x02);
    /// Ends a connection at once.
    pub const RST: Self = Self(0x04);
    /// Hand the data over.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement number is valid.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer is valid.
    pub const URG: Self = Self(0x20);
    /// ECN echo.
    pub const ECE: Self = Self(0x40);
    /// Congestion window reduced.
    pub const CWR: Self = Self(0x80);

    /// Whether all of `flags` are set.
    #[must_use]
    pub fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A TCP segment without its ports, which belong to the frame.
#[derive(Clone, Debug)]
pub struct Tcp {
    /// All eight flags.
    pub flags: Flags,
    /// Sequence number of the first byte, or of the SYN.
    pub seq: u32,
    /// Acknowledgement number, written whatever the flags say.
    pub ack: u32,
    /// Receive window as on the wire.
    pub window: u16,
    /// Options, padded to words with end-of-list.
    pub options: Vec<u8>,
    /// What follows the header.
    pub payload: Vec<u8>,
    data_offset: Option<u8>,
    broken_checksum: bool,
}

impl Tcp {
    /// A segment with these flags and nothing else.
    #[must_use]
    pub fn new(flags: Flags) -> Self {
        let (options, payload) = (Vec::new(), Vec::new());
        Self {
            flags,
            seq: 0,
            ack: 0,
            window: 0xffff,
            options,
            payload,
            data_offset: None,
            broken_checksum: false,
        }
    }

    /// A SYN with a maximum segment size of 1400, as SYNs carry one.
    #[must_use]
    pub fn syn() -> Self {
        Self::new(Flags::SYN).options(&[2, 4, 0x05, 0x78])
    }

    /// A bare acknowledgement of everything before `ack`.
    #[must_use]
    pub fn acking(ack: u32) -> Self {
        Self { ack, ..Self::new(Flags::ACK) }
    }

    /// Sets the sequence number.
    #[must_use]
    pub fn seq(mut self, seq: u32) -> Self {
        self.seq = seq;
        self
    }

    /// Sets the acknowledgement number and leaves the flags alone.
    #[must_use]
    pub fn ack(mut self, ack: u32) -> Self {
        self.ack = ack;
        self
    }

    /// Sets the window.
    #[must_use]
    pub fn window(mut self, window: u16) -> Self {
        self.window = window;
        self
    }

    /// Adds flags.
    #[must_use]
    pub fn with(mut self, flags: Flags) -> Self {
        self.flags = self.flags | flags;
        self
    }

    /// Sets the options; the header grows to the next word.
    #[must_use]
    pub fn options(mut self, options: &[u8]) -> Self {
        assert!(options.len() <= 40, "a TCP header has at most 40 bytes of options");
        self.options = options.to_vec();
        self
    }

    /// Sets the payload.
    #[must_use]
    pub fn payload(mut self, payload: impl Into<Vec<u8>>) -> Self {
        self.payload = payload.into();
        self
    }

    /// Claims a header of `words` words, true or not.
    #[must_use]
    pub fn data_offset(mut self, words: u8) -> Self {
        self.data_offset = Some(words);
        self
    }

    /// Leaves a wrong checksum.
    #[must_use]
    pub fn broken_checksum(mut self) -> Self {
        self.broken_checksum = true;
        self
    }

    /// How much of the sequence space the segment takes.
    #[must_use]
    pub fn sequence_len(&self) -> u32 {
        let payload = u32::try_from(self.payload.len()).expect("a segment has less than 64 KiB");
        payload + u32::from(self.flags.has(Flags::SYN)) + u32::from(self.flags.has(Flags::FIN))
    }

    pub(super) fn to_bytes(&self, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
        let options = self.options.len().next_multiple_of(4);
        let words = u8::try_from(5 + options / 4).expect("at most 15 words");
        let mut bytes = Vec::with_capacity(20 + options + self.payload.len());
        bytes.extend(source.port().to_be_bytes());
        bytes.extend(destination.port().to_be_bytes());
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.ack.to_be_bytes());
        bytes.extend([self.data_offset.unwrap_or(words) << 4, self.flags.0]);
        bytes.extend(self.window.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(&self.options);
        bytes.resize(20 + options, 0);
        bytes.extend(&self.payload);
        let mut sum = checksum::transport(source.ip(), destination.ip(), 6, &bytes);
        if self.broken_checksum {
            sum ^= 0x5555;
        }
        bytes[16..18].copy_from_slice(&sum.to_be_bytes());
        bytes
    }
}

pub(super) fn udp(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).expect("a datagram has less than 64 KiB");
    let mut bytes = Vec::with_capacity(8 + payload.len());
    for field in [source.port(), destination.port(), length, 0] {
        bytes.extend(field.to_be_bytes());
    }
    bytes.extend(payload);
    let sum = checksum::transport(source.ip(), destination.ip(), 17, &bytes);
    bytes[6..8].copy_from_slice(&sum.to_be_bytes());
    bytes
}
