//! IPv4 with options, IPv6 with a bounded chain of extension headers, and what a fragment is.

use super::{Bytes, Link, Segment, Stop, Tcp};
use crate::addr::Family;

/// Protocol number of TCP (IANA).
pub const PROTO_TCP: u8 = 6;

/// IPv6 next-header values that can stand before TCP (IANA).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

pub(super) const IPV4_LEN: u32 = 20;
pub(super) const IPV6_LEN: u32 = 40;
/// "More fragments" and the fragment offset of IPv4 (RFC 791).
pub(super) const IPV4_FRAGMENT: u16 = 0x3fff;
/// Fragment offset and "more fragments" of the IPv6 fragment header (RFC 8200, 4.5).
const IPV6_FRAGMENT: u16 = 0xfff9;

/// Finds the TCP segment in an IP packet, walking at most `CHAIN_MAX` IPv6 extension headers.
///
/// # Errors
///
/// Why there is none to be found.
#[inline(always)]
pub fn segment<const CHAIN_MAX: u32>(bytes: &impl Bytes, link: Link) -> Result<Segment, Stop> {
    match link.family {
        Family::V4 => ipv4(bytes, link.ip),
        Family::V6 => ipv6::<CHAIN_MAX>(bytes, link.ip),
    }
}

#[inline(always)]
fn ipv4(bytes: &impl Bytes, ip: u32) -> Result<Segment, Stop> {
    let header: [u8; 20] = bytes.load(ip).ok_or(Stop::Unparseable)?;
    let [version_ihl, _, len_0, len_1, _, _, frag_0, frag_1, _, proto, ..] = header;
    if version_ihl >> 4 != 4 {
        return Err(Stop::Unparseable);
    }
    if proto != PROTO_TCP {
        return Err(Stop::NotTcp);
    }
    if u16::from_be_bytes([frag_0, frag_1]) & IPV4_FRAGMENT != 0 {
        return Err(Stop::Fragment);
    }
    let header_len = u32::from(version_ihl & 0x0f) * 4;
    let len = u32::from(u16::from_be_bytes([len_0, len_1]));
    if header_len < IPV4_LEN || len < header_len + Tcp::LEN {
        return Err(Stop::Unparseable);
    }
    Ok(Segment { family: Family::V4, ip, tcp: ip + header_len, end: ip + len })
}

#[inline(always)]
fn ipv6<const CHAIN_MAX: u32>(bytes: &impl Bytes, ip: u32) -> Result<Segment, Stop> {
    let header: [u8; 8] = bytes.load(ip).ok_or(Stop::Unparseable)?;
    let [version, _, _, _, len_0, len_1, mut next, _] = header;
    if version >> 4 != 6 {
        return Err(Stop::Unparseable);
    }
    let end = ip + IPV6_LEN + u32::from(u16::from_be_bytes([len_0, len_1]));
    let mut at = ip + IPV6_LEN;
    let mut walked = 0;
    while next != PROTO_TCP {
        if walked == CHAIN_MAX {
            return Err(Stop::Unparseable);
        }
        walked += 1;
        let (following, len) = extension(bytes, next, at)?;
        next = following;
        at += len;
    }
    if at + Tcp::LEN > end {
        return Err(Stop::Unparseable);
    }
    Ok(Segment { family: Family::V6, ip, tcp: at, end })
}

/// Returns what follows the extension header of type `kind` at `at`, and its length.
#[inline(always)]
fn extension(bytes: &impl Bytes, kind: u8, at: u32) -> Result<(u8, u32), Stop> {
    if !matches!(kind, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION) {
        return Err(Stop::NotTcp);
    }
    let [next, len, offset_0, offset_1]: [u8; 4] = bytes.load(at).ok_or(Stop::Unparseable)?;
    match kind {
        // One whole packet in a fragment header ("atomic fragment") is no fragment.
        FRAGMENT if u16::from_be_bytes([offset_0, offset_1]) & IPV6_FRAGMENT == 0 => Ok((next, 8)),
        FRAGMENT => Err(Stop::Fragment),
        AUTHENTICATION => Ok((next, (u32::from(len) + 2) * 4)),
        _ => Ok((next, (u32::from(len) + 1) * 8)),
    }
}
