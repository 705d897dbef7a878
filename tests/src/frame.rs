//! Packets that read like packets.
//!
//! A [`Frame`] is Ethernet, any number of VLAN tags, IPv4 or IPv6 and a
//! transport; the family follows from the addresses. Lengths and checksums are
//! right unless a test breaks them. Nothing here knows what limiter does with
//! a packet, and nothing here is bounded by what limiter accepts.
//!
//! ```
//! use limiter_tests::frame::{Frame, Tcp};
//!
//! let ack = Frame::tcp("192.0.2.7:4000", "198.51.100.1:25", Tcp::acking(7).seq(1)).vlan(5).padded();
//! assert_eq!(ack.to_bytes().len(), 60);
//! ```

mod checksum;
mod endpoint;
mod ip;
mod reply;
mod tcp;

use std::net::{IpAddr, SocketAddr};

pub use checksum::{internet as checksum, transport as transport_checksum};
pub use endpoint::Endpoint;
pub use ip::{Extension, Fragment};
pub use reply::Reply;
pub use tcp::{Flags, Tcp};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Tag protocol of a customer tag, 802.1Q.
pub const TPID_8021Q: u16 = 0x8100;
/// Tag protocol of a service tag, 802.1ad.
pub const TPID_8021AD: u16 = 0x88a8;
/// Shortest Ethernet frame without its checksum (IEEE 802.3).
pub const ETHERNET_BYTES_MIN: usize = 60;
/// What fills the padding: not zero, so that a parser that reads it shows.
const PADDING: u8 = 0xa5;

/// What an IP packet carries.
#[derive(Clone, Debug)]
pub enum Transport {
    /// TCP, the case that matters.
    Tcp(Tcp),
    /// UDP with this payload, between the frame's ports.
    Udp(Vec<u8>),
    /// An ICMP or `ICMPv6` echo request, after the family.
    Echo,
    /// Any protocol number and bytes.
    Raw(u8, Vec<u8>),
}

/// One Ethernet frame in the making.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Sending and receiving station.
    pub macs: (Mac, Mac),
    /// Tag protocol and tag, outermost first.
    pub vlans: Vec<(u16, u16)>,
    /// Sending address and port.
    pub source: SocketAddr,
    /// Receiving address and port.
    pub destination: SocketAddr,
    /// What the IP packet carries.
    pub transport: Transport,
    ip: ip::Header,
    length_min: usize,
}

impl Frame {
    /// A frame from `source` to `destination`, both `address:port`.
    pub fn new(source: impl Endpoint, destination: impl Endpoint, transport: Transport) -> Self {
        let (source, destination) = (source.endpoint(), destination.endpoint());
        assert_eq!(source.is_ipv4(), destination.is_ipv4(), "one packet has one address family");
        Self {
            macs: ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]),
            vlans: Vec::new(),
            source,
            destination,
            transport,
            ip: ip::Header::default(),
            length_min: 0,
        }
    }

    /// A TCP segment.
    pub fn tcp(source: impl Endpoint, destination: impl Endpoint, tcp: Tcp) -> Self {
        Self::new(source, destination, Transport::Tcp(tcp))
    }

    /// A plain SYN.
    pub fn syn(source: impl Endpoint, destination: impl Endpoint) -> Self {
        Self::tcp(source, destination, Tcp::syn())
    }

    /// From one station to another.
    #[must_use]
    pub fn between(mut self, source: Mac, destination: Mac) -> Self {
        self.macs = (source, destination);
        self
    }

    /// Adds an 802.1Q tag inside the tags so far.
    #[must_use]
    pub fn vlan(self, id: u16) -> Self {
        self.tag(TPID_8021Q, id)
    }

    /// Adds a tag of any protocol inside the tags so far.
    #[must_use]
    pub fn tag(mut self, tpid: u16, tci: u16) -> Self {
        self.vlans.push((tpid, tci));
        self
    }

    /// Makes the IPv4 header `ihl` words long (5 to 15) with no-operation options.
    #[must_use]
    pub fn ihl(mut self, ihl: u8) -> Self {
        assert!((5..=15).contains(&ihl), "an IPv4 header has 5 to 15 words");
        self.ip.options = vec![1; usize::from(ihl - 5) * 4];
        self
    }

    /// Sets the time to live, or the hop limit.
    #[must_use]
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ip.ttl = ttl;
        self
    }

    /// Sets the identification, of the packet and of its fragments.
    #[must_use]
    pub fn id(mut self, id: u16) -> Self {
        self.ip.id = id;
        self
    }

    /// Sets "don't fragment".
    #[must_use]
    pub fn dont_fragment(mut self) -> Self {
        self.ip.dont_fragment = true;
        self
    }

    /// Appends an IPv6 extension header.
    #[must_use]
    pub fn extension(mut self, extension: Extension) -> Self {
        assert!(self.source.is_ipv6(), "extension headers are IPv6's");
        self.ip.extensions.push(extension);
        self
    }

    /// Marks the packet as a fragment at `offset_bytes`, its transport as it is.
    #[must_use]
    pub fn fragment(mut self, offset_bytes: u16, more: bool) -> Self {
        assert_eq!(offset_bytes % 8, 0, "fragments start at multiples of 8");
        self.ip.fragment = Some(Fragment { offset_bytes, more });
        self
    }

    /// Leaves a wrong IPv4 header checksum.
    #[must_use]
    pub fn broken_ip_checksum(mut self) -> Self {
        self.ip.broken_checksum = true;
        self
    }

    /// Pads to the shortest Ethernet frame, with bytes that are not zero.
    #[must_use]
    pub fn padded(mut self) -> Self {
        self.length_min = ETHERNET_BYTES_MIN;
        self
    }

    /// Writes the frame.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let (protocol, payload) = self.transport_bytes();
        self.around(self.ip.fragment, protocol, &payload)
    }

    /// Writes the packet as fragments of `chunk` bytes of payload each.
    #[must_use]
    pub fn to_fragments(&self, chunk: usize) -> Vec<Vec<u8>> {
        assert!(chunk > 0 && chunk.is_multiple_of(8), "fragments hold multiples of 8 bytes");
        let (protocol, payload) = self.transport_bytes();
        let last = payload.len().div_ceil(chunk) - 1;
        let fragment = |(n, part): (usize, &[u8])| {
            let offset_bytes = u16::try_from(n * chunk).expect("an IP packet has less than 64 KiB");
            self.around(Some(Fragment { offset_bytes, more: n < last }), protocol, part)
        };
        payload.chunks(chunk).enumerate().map(fragment).collect()
    }

    fn transport_bytes(&self) -> (u8, Vec<u8>) {
        let (source, destination) = (self.source, self.destination);
        match &self.transport {
            Transport::Tcp(tcp) => (6, tcp.to_bytes(source, destination)),
            Transport::Udp(payload) => (17, tcp::udp(source, destination, payload)),
            Transport::Echo => ip::echo(source.ip(), destination.ip()),
            Transport::Raw(protocol, payload) => (*protocol, payload.clone()),
        }
    }

    fn around(&self, fragment: Option<Fragment>, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(128 + payload.len());
        bytes.extend(self.macs.1);
        bytes.extend(self.macs.0);
        for (tpid, tci) in &self.vlans {
            bytes.extend(tpid.to_be_bytes());
            bytes.extend(tci.to_be_bytes());
        }
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                bytes.extend(ip::ETHERTYPE_IPV4.to_be_bytes());
                self.ip.write_v4(&mut bytes, (source, destination), fragment, protocol, payload);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                bytes.extend(ip::ETHERTYPE_IPV6.to_be_bytes());
                self.ip.write_v6(&mut bytes, (source, destination), fragment, protocol, payload);
            }
            _ => unreachable!("checked in Frame::new"),
        }
        bytes.resize(bytes.len().max(self.length_min), PADDING);
        bytes
    }
}

#[cfg(test)]
mod tests;
