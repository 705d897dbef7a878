//! The reset that answers a refused SYN, and the SYN flag that makes the kernel
//! itself reset a completing ACK: header bytes and checksums, nothing else.
//!
//! Where the bytes go is the kernel half's matter.

use crate::{
    addr::Addr,
    packet::{Tcp, flags},
};

/// Hop limit of a reset, as Linux sends its own.
const TTL: u8 = 64;
/// A TCP header without options: five words.
const DATA_OFFSET: u8 = 5 << 4;

/// What a reset to a refused SYN says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    /// Who refuses: the destination of the SYN.
    pub from: Addr,
    /// Who is refused: the source of the SYN.
    pub to: Addr,
    /// The port that was asked for.
    pub from_port: u16,
    /// The port that asked.
    pub to_port: u16,
    /// The number that follows everything the SYN carried: a wrong one leaves the client hanging.
    pub ack: u32,
}

impl Reset {
    /// Returns the reset to a SYN whose TCP segment, header and data, is `segment_len` long.
    #[inline(always)]
    #[must_use]
    pub const fn answering(syn: &Tcp, from: Addr, to: Addr, segment_len: u32) -> Self {
        let data_len = segment_len.saturating_sub(syn.header_len());
        let fin = (syn.flags() & flags::FIN != 0) as u32;
        Self {
            from,
            to,
            from_port: syn.destination_port(),
            to_port: syn.source_port(),
            ack: syn.seq().wrapping_add(1).wrapping_add(data_len).wrapping_add(fin),
        }
    }

    /// Returns the TCP header, checksum included.
    #[inline(always)]
    #[must_use]
    pub fn tcp(&self) -> [u8; 20] {
        let [fp0, fp1] = self.from_port.to_be_bytes();
        let [tp0, tp1] = self.to_port.to_be_bytes();
        let [a0, a1, a2, a3] = self.ack.to_be_bytes();
        let flags = flags::RST | flags::ACK;
        let sum = self.pseudo_header_sum()
            + u64::from(self.from_port)
            + u64::from(self.to_port)
            + u64::from(self.ack >> 16)
            + u64::from(self.ack & 0xffff)
            + u64::from(u16::from_be_bytes([DATA_OFFSET, flags]));
        let [c0, c1] = (!fold(sum)).to_be_bytes();
        [fp0, fp1, tp0, tp1, 0, 0, 0, 0, a0, a1, a2, a3, DATA_OFFSET, flags, 0, 0, c0, c1, 0, 0]
    }

    /// Returns what stands in the place of the checksum while that is still to be computed.
    #[inline(always)]
    #[must_use]
    pub const fn pseudo_sum(&self) -> [u8; 2] {
        fold(self.pseudo_header_sum()).to_be_bytes()
    }

    #[inline(always)]
    const fn pseudo_header_sum(&self) -> u64 {
        word_sum(self.from) + word_sum(self.to) + crate::packet::PROTO_TCP as u64 + Tcp::LEN as u64
    }

    /// Returns the IPv4 header, checksum included; both addresses must be IPv4.
    #[inline(always)]
    #[must_use]
    pub fn ipv4(&self) -> [u8; 20] {
        const LEN: u16 = 40;
        const DONT_FRAGMENT: u16 = 0x4000;
        let [f0, f1, f2, f3] = self.from.words_be[3].to_ne_bytes();
        let [t0, t1, t2, t3] = self.to.words_be[3].to_ne_bytes();
        let ttl_proto = u16::from_be_bytes([TTL, crate::packet::PROTO_TCP]);
        let sum = 0x4500 + u64::from(LEN) + u64::from(DONT_FRAGMENT) + u64::from(ttl_proto);
        let sum = sum + half_sum(self.from.words_be[3]) + half_sum(self.to.words_be[3]);
        let [c0, c1] = (!fold(sum)).to_be_bytes();
        let [l0, l1] = LEN.to_be_bytes();
        let [d0, d1] = DONT_FRAGMENT.to_be_bytes();
        let proto = crate::packet::PROTO_TCP;
        [0x45, 0, l0, l1, 0, 0, d0, d1, TTL, proto, c0, c1, f0, f1, f2, f3, t0, t1, t2, t3]
    }

    /// Returns the first eight bytes of the IPv6 header; the addresses follow.
    #[inline(always)]
    #[must_use]
    pub const fn ipv6_start(&self) -> [u8; 8] {
        [0x60, 0, 0, 0, 0, Tcp::LEN as u8, crate::packet::PROTO_TCP, TTL]
    }
}

/// Returns bytes 12 to 17 of the TCP header (offset, flags, window, checksum)
/// with the SYN flag set, FIN and PSH cleared, and the checksum corrected.
///
/// The kernel answers such a segment in a half-open connection by a reset and
/// frees the request socket (`tcp_check_req`, "in-window SYN").
#[inline(always)]
#[must_use]
pub const fn spoil(tcp: &Tcp) -> [u8; 6] {
    let [.., b12, b13, b14, b15, b16, b17, _, _] = tcp.0;
    let spoiled = (b13 | flags::SYN) & !(flags::FIN | flags::PSH);
    let before = u16::from_be_bytes([b12, b13]);
    let after = u16::from_be_bytes([b12, spoiled]);
    // RFC 1624, equation 3: HC' = ~(~HC + ~m + m').
    let sum = !u16::from_be_bytes([b16, b17]) as u64 + !before as u64 + after as u64;
    let [c0, c1] = (!fold(sum)).to_be_bytes();
    [b12, spoiled, b14, b15, c0, c1]
}

/// Returns the sum of the 16-bit words of an address; the v4-mapped prefix of an
/// IPv4 address adds 0xffff, which is zero in one's complement.
#[inline(always)]
const fn word_sum(addr: Addr) -> u64 {
    let [a, b, c, d] = addr.words_be;
    half_sum(a) + half_sum(b) + half_sum(c) + half_sum(d)
}

#[inline(always)]
const fn half_sum(word_be: u32) -> u64 {
    let word = u32::from_be(word_be);
    (word >> 16) as u64 + (word & 0xffff) as u64
}

/// Folds a sum into 16 bits, in one's complement.
#[inline(always)]
const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, vec::Vec};

    use proptest::prelude::*;

    use super::*;

    /// The slow, obvious checksum over a byte string.
    fn checksum(bytes: &[u8]) -> u16 {
        let mut sum = bytes
            .chunks(2)
            .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
            .sum::<u32>();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).unwrap()
    }

    fn pseudo_header(from: IpAddr, to: IpAddr, tcp: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for ip in [from, to] {
            match ip {
                IpAddr::V4(v4) => bytes.extend(v4.octets()),
                IpAddr::V6(v6) => bytes.extend(v6.octets()),
            }
        }
        bytes.extend([0, 6]);
        bytes.extend(u16::try_from(tcp.len()).unwrap().to_be_bytes());
        bytes.extend(tcp);
        bytes
    }

    proptest! {
        /// A receiver finds every checksum of a reset right, in both families, and also if the network card completes it.
        #[test]
        fn resets_have_right_checksums(v6: bool, a: [u8; 16], b: [u8; 16], ports: (u16, u16), ack: u32) {
            let ip = |octets: [u8; 16]| {
                if v6 { IpAddr::from(octets) } else { IpAddr::from([octets[0], octets[1], octets[2], octets[3]]) }
            };
            let (from, to) = (ip(a), ip(b));
            let reset = Reset { from: from.into(), to: to.into(), from_port: ports.0, to_port: ports.1, ack };
            prop_assert_eq!(checksum(&pseudo_header(from, to, &reset.tcp())), 0);
            // Who completes a checksum sums the segment with the pseudo header's sum in its place.
            let mut pending = reset.tcp();
            pending[16..18].copy_from_slice(&reset.pseudo_sum());
            let completed = checksum(&pending);
            pending[16..18].copy_from_slice(&completed.to_be_bytes());
            prop_assert_eq!(checksum(&pseudo_header(from, to, &pending)), 0);
            if !v6 {
                prop_assert_eq!(checksum(&reset.ipv4()), 0);
            }
        }

        /// Spoiling a valid segment keeps its checksum valid, and sets SYN without FIN or PSH.
        #[test]
        fn spoiled_segments_have_right_checksums(mut header: [u8; 20], a: [u8; 4], b: [u8; 4]) {
            header[16..18].fill(0);
            let (from, to) = (IpAddr::from(a), IpAddr::from(b));
            let sum = checksum(&pseudo_header(from, to, &header));
            header[16..18].copy_from_slice(&sum.to_be_bytes());
            let spoiled = spoil(&Tcp(header));
            header[12..18].copy_from_slice(&spoiled);
            prop_assert_eq!(checksum(&pseudo_header(from, to, &header)), 0);
            prop_assert_eq!(header[13] & (flags::SYN | flags::FIN | flags::PSH), flags::SYN);
        }
    }
}
