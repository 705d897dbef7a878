//! The fixed part of a TCP header.

/// TCP flags (RFC 9293, 3.1).
pub mod flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgment number counts.
    pub const ACK: u8 = 0x10;
}

/// The first 20 bytes of a TCP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp(pub [u8; 20]);

impl Tcp {
    /// Length of a header without options.
    pub const LEN: u32 = 20;

    /// Returns the source port.
    #[inline(always)]
    #[must_use]
    pub const fn source_port(&self) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]])
    }

    /// Returns the destination port.
    #[inline(always)]
    #[must_use]
    pub const fn destination_port(&self) -> u16 {
        u16::from_be_bytes([self.0[2], self.0[3]])
    }

    /// Returns the sequence number.
    #[inline(always)]
    #[must_use]
    pub const fn seq(&self) -> u32 {
        u32::from_be_bytes([self.0[4], self.0[5], self.0[6], self.0[7]])
    }

    /// Returns the acknowledgment number.
    #[inline(always)]
    #[must_use]
    pub const fn ack(&self) -> u32 {
        u32::from_be_bytes([self.0[8], self.0[9], self.0[10], self.0[11]])
    }

    /// Returns the length of the header with its options.
    #[inline(always)]
    #[must_use]
    pub const fn header_len(&self) -> u32 {
        (self.0[12] >> 4) as u32 * 4
    }

    /// Returns the flags.
    #[inline(always)]
    #[must_use]
    pub const fn flags(&self) -> u8 {
        self.0[13]
    }

    /// Returns whether this opens a connection.
    #[inline(always)]
    #[must_use]
    pub const fn is_syn(&self) -> bool {
        self.flags() & (flags::SYN | flags::ACK | flags::RST) == flags::SYN
    }

    /// Returns whether this can complete a handshake: an ACK, with whatever else but SYN and RST.
    #[inline(always)]
    #[must_use]
    pub const fn is_ack(&self) -> bool {
        self.flags() & (flags::SYN | flags::ACK | flags::RST) == flags::ACK
    }
}
