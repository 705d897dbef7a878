//! Facts of a TCP socket: between whom, in which namespace, in which state.

use limiter_common::{addr::Addr, witness::FlowKey};
use zerocopy::FromBytes;

use crate::{globals, store::probe};

/// A socket that the kernel handed over.
#[derive(Clone, Copy)]
pub struct Socket(pub *const u8);

impl Socket {
    /// Returns whether it belongs to the namespace that limiter guards.
    #[inline(always)]
    pub fn is_ours(self) -> bool {
        let net: usize = self.member(globals::net_offset());
        let cookie = (net as *const u8).wrapping_add(globals::net_cookie_offset() as usize);
        net != 0 && probe::<u64>(cookie) == globals::netns_cookie()
    }

    /// Returns between whom it is.
    #[inline(always)]
    pub fn key(self) -> FlowKey {
        // Not `skc_num`, which is 0 by the time a socket is closed.
        let local_port: u16 = self.member(globals::sport_offset());
        let remote_port: u16 = self.member(globals::dport_offset());
        FlowKey {
            local: Addr { words_be: self.member(globals::v6_rcv_saddr_offset()) },
            remote: Addr { words_be: self.member(globals::v6_daddr_offset()) },
            local_port: u16::from_be(local_port),
            remote_port: u16::from_be(remote_port),
        }
    }

    /// Returns its state (`include/net/tcp_states.h`).
    #[inline(always)]
    pub fn state(self) -> u8 {
        self.member(globals::state_offset())
    }

    /// Returns its protocol: TCP is not alone in having connections.
    #[inline(always)]
    pub fn protocol(self) -> u16 {
        self.member(globals::protocol_offset())
    }

    /// Returns a member.
    #[inline(always)]
    pub fn member<T: FromBytes>(self, offset: u32) -> T {
        probe(self.0.wrapping_add(offset as usize))
    }
}
