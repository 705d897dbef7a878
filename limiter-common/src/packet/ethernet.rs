//! Ethernet and up to two VLAN tags.

use super::{Bytes, Stop};
use crate::addr::Family;

/// VLAN tags that are walked: a service tag and a customer tag (802.1ad).
pub const VLAN_TAGS_MAX: u32 = 2;

pub(super) const HEADER_LEN: u32 = 14;
const TAG_LEN: u32 = 4;
pub(super) const TYPE_OFFSET: u32 = 12;

/// Ethertypes, from IEEE 802 numbers (IANA).
pub(super) const IPV4: u16 = 0x0800;
pub(super) const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const SERVICE_VLAN: u16 = 0x88a8;

/// What a frame carries, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The IP version.
    pub family: Family,
    /// Offset of the IP header; what lies before it is Ethernet and its tags.
    pub ip: u32,
}

/// Walks the Ethernet header and its VLAN tags.
///
/// # Errors
///
/// [`Stop::NotTcp`] for anything but IP, [`Stop::Unparseable`] for a truncated frame or too many tags.
#[inline(always)]
pub fn link(bytes: &impl Bytes) -> Result<Link, Stop> {
    let mut ip = HEADER_LEN;
    let mut ethertype = u16::from_be_bytes(bytes.load(TYPE_OFFSET).ok_or(Stop::Unparseable)?);
    let mut tags = 0;
    while tags < VLAN_TAGS_MAX && is_vlan(ethertype) {
        ethertype = u16::from_be_bytes(bytes.load(ip + 2).ok_or(Stop::Unparseable)?);
        ip += TAG_LEN;
        tags += 1;
    }
    match ethertype {
        IPV4 => Ok(Link { family: Family::V4, ip }),
        IPV6 => Ok(Link { family: Family::V6, ip }),
        _ if is_vlan(ethertype) => Err(Stop::Unparseable),
        _ => Err(Stop::NotTcp),
    }
}

#[inline(always)]
const fn is_vlan(ethertype: u16) -> bool {
    matches!(ethertype, VLAN | SERVICE_VLAN)
}
