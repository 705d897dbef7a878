//! Facts of a socket buffer: the namespace it is in, and between whom its segment is.
//!
//! User space never parses packets, and this is the witness's only look into one.
//! Members of the buffer are loads, which the verifier checks by its type; headers
//! are copied by a helper, which costs ten times as much, so as few times as can be.

use limiter_common::addr::Addr;
use limiter_ebpf::context;

use crate::{globals, store::probe};

/// `ETH_P_IP` and `ETH_P_IPV6` (`include/uapi/linux/if_ether.h`).
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// Protocol number of TCP (IANA).
const TCP: u8 = 6;
/// Extension headers that may stand before TCP (IANA): hop-by-hop, routing, destination.
const SKIPPED: [u8; 3] = [0, 43, 60];
/// Extension headers that are walked.
const CHAIN_MAX: u32 = 3;
/// The fragment offset of IPv4 (RFC 791).
const FRAGMENT_OFFSET: u16 = 0x1fff;
/// A header of IPv4 without options.
const IPV4_LEN: usize = 20;
/// `skb->network_header` of a buffer without one.
const UNSET: u16 = u16::MAX;

/// A socket buffer that the kernel handed over.
#[derive(Clone, Copy)]
pub struct Skb(pub *const u8);

/// From whom to whom a segment is.
pub struct Segment {
    /// Its source.
    pub from: Addr,
    /// Its destination.
    pub to: Addr,
    /// Its source port.
    pub from_port: u16,
    /// Its destination port.
    pub to_port: u16,
}

/// Whose namespace a buffer is in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// The one that limiter guards.
    Ours,
    /// Another one.
    Foreign,
    /// Nothing tells: TCP has taken the buffer from its device already.
    Unknown,
}

impl Skb {
    /// Returns the namespace that the buffer is in: that of its device, or without one that of its socket.
    #[inline(always)]
    pub fn home(self) -> Home {
        let device: *const u8 = member(self.0, globals::skb_dev_offset());
        if !device.is_null() {
            return home_in(member(device, globals::dev_net_offset()));
        }
        let socket: *const u8 = member(self.0, globals::skb_sk_offset());
        if socket.is_null() {
            return Home::Unknown;
        }
        home_in(member(socket, globals::net_offset()))
    }

    /// Returns whether it came in by an interface.
    #[inline(always)]
    pub fn is_received(self) -> bool {
        member::<u32>(self.0, globals::skb_iif_offset()) != 0
    }

    /// Returns between whom its TCP segment is; `None` if it has none, or a part without ports.
    #[inline(always)]
    pub fn segment(self) -> Option<Segment> {
        let header: u16 = member(self.0, globals::skb_network_header_offset());
        if header == UNSET {
            return None;
        }
        let head: *const u8 = member(self.0, globals::skb_head_offset());
        let ip = head.wrapping_add(usize::from(header));
        let protocol: u16 = member(self.0, globals::skb_protocol_offset());
        match u16::from_be(protocol) {
            IPV4 => ipv4(ip),
            IPV6 => ipv6(ip),
            _ => None,
        }
    }
}

/// Returns a member of what the verifier knows the type of.
#[inline(always)]
fn member<T: Copy>(of: *const u8, offset: u32) -> T {
    context::read(of.wrapping_add(offset as usize).cast())
}

#[inline(always)]
fn home_in(net: *const u8) -> Home {
    let is_ours =
        !net.is_null() && member::<u64>(net, globals::net_cookie_offset()) == globals::netns_cookie();
    if is_ours { Home::Ours } else { Home::Foreign }
}

#[inline(always)]
fn ipv4(ip: *const u8) -> Option<Segment> {
    // With what follows it in nearly all packets: the ports.
    let [first, second, third, from, to, next]: [u32; 6] = probe(ip);
    let fragment = (u32::from_be(second) & u32::from(FRAGMENT_OFFSET)) != 0;
    let protocol = (u32::from_be(third) >> 16) as u8;
    let first = u32::from_be(first);
    if first >> 28 != 4 || protocol != TCP || fragment {
        return None;
    }
    let header_len = ((first >> 24) & 0xf) as usize * 4;
    let (from, to) = (Addr::from_v4_be(from), Addr::from_v4_be(to));
    Some(if header_len == IPV4_LEN {
        segment(next, from, to)
    } else {
        ports(ip.wrapping_add(header_len), from, to)
    })
}

#[inline(always)]
fn ipv6(ip: *const u8) -> Option<Segment> {
    let [first, second, from_0, from_1, from_2, from_3, to_0, to_1]: [u32; 8] = probe(ip);
    let [to_2, to_3]: [u32; 2] = probe(ip.wrapping_add(32));
    if u32::from_be(first) >> 28 != 6 {
        return None;
    }
    let mut next = (u32::from_be(second) >> 8) as u8;
    let mut at = ip.wrapping_add(40);
    let mut walked = 0;
    while walked < CHAIN_MAX && next != TCP {
        if !SKIPPED.contains(&next) {
            return None;
        }
        let [following, len]: [u8; 2] = probe(at);
        next = following;
        at = at.wrapping_add((len as usize + 1) * 8);
        walked += 1;
    }
    if next != TCP {
        return None;
    }
    let from = Addr { words_be: [from_0, from_1, from_2, from_3] };
    Some(ports(at, from, Addr { words_be: [to_0, to_1, to_2, to_3] }))
}

#[inline(always)]
fn ports(tcp: *const u8, from: Addr, to: Addr) -> Segment {
    segment(probe(tcp), from, to)
}

#[inline(always)]
fn segment(ports_be: u32, from: Addr, to: Addr) -> Segment {
    let ports = u32::from_be(ports_be);
    Segment { from, to, from_port: (ports >> 16) as u16, to_port: ports as u16 }
}
