//! IPv4 and IPv6 headers, fragments and extension headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum;

pub(super) const ETHERTYPE_IPV4: u16 = 0x0800;
pub(super) const ETHERTYPE_IPV6: u16 = 0x86dd;

const NEXT_FRAGMENT: u8 = 44;
/// Padding option that fills the six bytes of a shortest options header.
const PAD_SIX: [u8; 6] = [1, 4, 0, 0, 0, 0];
/// An experimental option that may be skipped (RFC 4727): a run of padding
/// longer than seven bytes is dropped (`ip6_parse_tlv`, `net/ipv6/exthdrs.c`).
const SKIPPED_OPTION: [u8; 8] = [0x1e, 6, 0, 0, 0, 0, 0, 0];

/// Where a fragment lies in its packet.
#[derive(Clone, Copy, Debug)]
pub struct Fragment {
    /// Multiple of 8.
    pub offset_bytes: u16,
    /// Whether another one follows.
    pub more: bool,
}

/// An IPv6 extension header.
#[derive(Clone, Debug)]
pub enum Extension {
    /// Hop-by-hop options, 8 bytes of padding; must come first.
    HopByHop,
    /// Destination options, 8 bytes of padding.
    DestinationOptions,
    /// Destination options of `8 * (units + 1)` bytes; the kernel takes up to 8 units.
    LongOptions(u8),
    /// A routing header of type 0 with no segment left.
    Routing,
    /// A fragment header, whose payload is as it is.
    Fragment(Fragment),
    /// An authentication header with this much check value, a multiple of 4.
    Authentication(u8),
    /// Encapsulated payload: eight bytes that nobody can read on.
    Encapsulated,
    /// A header of eight bytes with a protocol number that nobody knows.
    Unknown(u8),
    /// "No next header".
    NoNext,
}

impl Extension {
    fn number(&self) -> u8 {
        match self {
            Self::HopByHop => 0,
            Self::DestinationOptions | Self::LongOptions(_) => 60,
            Self::Routing => 43,
            Self::Fragment(_) => NEXT_FRAGMENT,
            Self::Authentication(_) => 51,
            Self::Encapsulated => 50,
            Self::Unknown(number) => *number,
            Self::NoNext => 59,
        }
    }

    fn write(&self, bytes: &mut Vec<u8>, next: u8, id: u16) {
        match self {
            Self::HopByHop | Self::DestinationOptions | Self::Unknown(_) => {
                bytes.extend([next, 0]);
                bytes.extend(PAD_SIX);
            }
            Self::LongOptions(units) => {
                bytes.extend([next, *units]);
                bytes.extend(PAD_SIX);
                for _ in 0..*units {
                    bytes.extend(SKIPPED_OPTION);
                }
            }
            Self::Routing => bytes.extend([next, 0, 0, 0, 0, 0, 0, 0]),
            Self::Fragment(fragment) => {
                let offset = fragment.offset_bytes | u16::from(fragment.more);
                bytes.extend([next, 0]);
                bytes.extend(offset.to_be_bytes());
                bytes.extend(u32::from(id).to_be_bytes());
            }
            Self::Authentication(check) => {
                bytes.extend([next, check / 4 + 1, 0, 0]);
                bytes.extend([0, 0, 0, 1, 0, 0, 0, 1]);
                bytes.resize(bytes.len() + usize::from(*check), 0);
            }
            Self::Encapsulated => bytes.extend([0, 0, 0, 1, 0, 0, 0, 1]),
            Self::NoNext => {}
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) ttl: u8,
    pub(super) id: u16,
    pub(super) dont_fragment: bool,
    pub(super) options: Vec<u8>,
    pub(super) extensions: Vec<Extension>,
    pub(super) fragment: Option<Fragment>,
    pub(super) broken_checksum: bool,
}

impl Default for Header {
    fn default() -> Self {
        Self {
            ttl: 64,
            id: 0,
            dont_fragment: false,
            options: Vec::new(),
            extensions: Vec::new(),
            fragment: None,
            broken_checksum: false,
        }
    }
}

impl Header {
    pub(super) fn write_v4(
        &self,
        bytes: &mut Vec<u8>,
        (source, destination): (Ipv4Addr, Ipv4Addr),
        fragment: Option<Fragment>,
        protocol: u8,
        payload: &[u8],
    ) {
        let start = bytes.len();
        let header_len = 20 + self.options.len();
        let ihl = u8::try_from(header_len / 4).expect("at most 15 words");
        let total = u16::try_from(header_len + payload.len()).expect("an IP packet has less than 64 KiB");
        let offset = fragment.map_or(0, |f| (f.offset_bytes / 8) | (u16::from(f.more) << 13));
        bytes.extend([0x40 | ihl, 0]);
        bytes.extend(total.to_be_bytes());
        bytes.extend(self.id.to_be_bytes());
        bytes.extend((offset | (u16::from(self.dont_fragment) << 14)).to_be_bytes());
        bytes.extend([self.ttl, protocol, 0, 0]);
        bytes.extend(source.octets());
        bytes.extend(destination.octets());
        bytes.extend(&self.options);
        let mut sum = checksum::internet(&bytes[start..]);
        if self.broken_checksum {
            sum ^= 0x5555;
        }
        bytes[start + 10..start + 12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend(payload);
    }

    pub(super) fn write_v6(
        &self,
        bytes: &mut Vec<u8>,
        (source, destination): (Ipv6Addr, Ipv6Addr),
        fragment: Option<Fragment>,
        protocol: u8,
        payload: &[u8],
    ) {
        let chain: Vec<_> =
            self.extensions.iter().cloned().chain(fragment.map(Extension::Fragment)).collect();
        let mut rest = Vec::new();
        for (n, extension) in chain.iter().enumerate() {
            let next = chain.get(n + 1).map_or(protocol, Extension::number);
            extension.write(&mut rest, next, self.id);
        }
        rest.extend(payload);
        bytes.extend([0x60, 0, 0, 0]);
        bytes.extend(u16::try_from(rest.len()).expect("an IP packet has less than 64 KiB").to_be_bytes());
        bytes.extend([chain.first().map_or(protocol, Extension::number), self.ttl]);
        bytes.extend(source.octets());
        bytes.extend(destination.octets());
        bytes.extend(rest);
    }
}

/// Protocol number and bytes of an echo request.
pub(super) fn echo(source: IpAddr, destination: IpAddr) -> (u8, Vec<u8>) {
    let (protocol, kind) = if source.is_ipv4() { (1, 8) } else { (58, 128) };
    let mut bytes = vec![kind, 0, 0, 0, 0, 1, 0, 1];
    let sum = match protocol {
        1 => checksum::internet(&bytes),
        _ => checksum::transport(source, destination, protocol, &bytes),
    };
    bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    (protocol, bytes)
}
