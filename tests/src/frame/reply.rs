//! Reads the TCP segments that come back.
//!
//! Enough for what a server or limiter answers: no fragments, no extension
//! headers. Anything else is `None`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Flags, Mac, TPID_8021AD, TPID_8021Q, Tcp, checksum, ip, transport_checksum};

/// A TCP segment read from the wire.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Sending and receiving station.
    pub macs: (Mac, Mac),
    /// Tag protocol and tag, outermost first.
    pub vlans: Vec<(u16, u16)>,
    /// Sending address and port.
    pub source: SocketAddr,
    /// Receiving address and port.
    pub destination: SocketAddr,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// The segment.
    pub tcp: Tcp,
    /// Whether the IPv4 header checksum is right; true for IPv6.
    pub ip_checksum_ok: bool,
    /// Whether the TCP checksum is right.
    pub checksum_ok: bool,
}

impl Reply {
    /// Reads a frame, or returns `None` if it is not an unfragmented TCP segment.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let macs = (array(bytes, 6)?, array(bytes, 0)?);
        let mut vlans = Vec::new();
        let mut at = 12;
        let mut kind = u16::from_be_bytes(array(bytes, at)?);
        while kind == TPID_8021Q || kind == TPID_8021AD {
            vlans.push((kind, u16::from_be_bytes(array(bytes, at + 2)?)));
            at += 4;
            kind = u16::from_be_bytes(array(bytes, at)?);
        }
        let packet = bytes.get(at + 2..)?;
        let (addresses, ttl, ip_checksum_ok, segment) = match kind {
            ip::ETHERTYPE_IPV4 => ipv4(packet)?,
            ip::ETHERTYPE_IPV6 => ipv6(packet)?,
            _ => return None,
        };
        let tcp = segment_of(segment)?;
        let port = |at| Some(u16::from_be_bytes(array(segment, at)?));
        let source = SocketAddr::new(addresses.0, port(0)?);
        let destination = SocketAddr::new(addresses.1, port(2)?);
        let checksum_ok = transport_checksum(addresses.0, addresses.1, 6, segment) == 0;
        Some(Self { macs, vlans, source, destination, ttl, tcp, ip_checksum_ok, checksum_ok })
    }

    /// Whether this is a well-formed `RST|ACK` that refuses the SYN `syn_seq` of `client`.
    #[must_use]
    pub fn refuses(&self, client: SocketAddr, server: SocketAddr, syn_seq: u32) -> bool {
        self.tcp.flags == Flags::RST | Flags::ACK
            && self.tcp.ack == syn_seq.wrapping_add(1)
            && (self.source, self.destination) == (server, client)
            && self.checksum_ok
            && self.ip_checksum_ok
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

type Packet<'a> = ((IpAddr, IpAddr), u8, bool, &'a [u8]);

fn ipv4(packet: &[u8]) -> Option<Packet<'_>> {
    let header = packet.get(..usize::from(packet.first()? & 0xf) * 4)?;
    let total = usize::from(u16::from_be_bytes(array(header, 2)?));
    let fragment = u16::from_be_bytes(array(header, 6)?) & 0x3fff;
    if *header.get(9)? != 6 || fragment != 0 {
        return None;
    }
    let address = |at| Some(IpAddr::V4(Ipv4Addr::from(array::<4>(header, at)?)));
    let addresses = (address(12)?, address(16)?);
    Some((addresses, header[8], checksum(header) == 0, packet.get(header.len()..total)?))
}

fn ipv6(packet: &[u8]) -> Option<Packet<'_>> {
    let length = usize::from(u16::from_be_bytes(array(packet, 4)?));
    if *packet.get(6)? != 6 {
        return None;
    }
    let address = |at| Some(IpAddr::V6(Ipv6Addr::from(array::<16>(packet, at)?)));
    let addresses = (address(8)?, address(24)?);
    Some((addresses, packet[7], true, packet.get(40..40 + length)?))
}

fn segment_of(segment: &[u8]) -> Option<Tcp> {
    let header_len = usize::from(segment.get(12)? >> 4) * 4;
    let mut tcp = Tcp::new(Flags(segment[13]))
        .seq(u32::from_be_bytes(array(segment, 4)?))
        .ack(u32::from_be_bytes(array(segment, 8)?))
        .options(segment.get(20..header_len)?)
        .payload(segment.get(header_len..)?);
    tcp.window = u16::from_be_bytes(array(segment, 14)?);
    Some(tcp)
}
