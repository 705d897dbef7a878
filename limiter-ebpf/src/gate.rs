//! The gate: where the segment that completes a handshake meets its listener.
//!
//! The kernel runs it in the same softirq call that creates the socket
//! (`tcp_filter` before `tcp_check_req`). It reserves by compare-and-swap, so
//! that no two CPUs admit the same last connection; the charge that follows on
//! this CPU turns the reservation into an open connection.

use aya_ebpf::{bindings::__sk_buff, programs::SkBuffContext};
use limiter_common::{
    addr::{Addr, Family},
    map::FailOpen,
    packet::{self, Link, Segment, Tcp},
    policy::{CLASS_DEFAULT, Policy, UNGUARDED},
    verdict::{Point, RefuseReason},
};

use crate::{
    account,
    admission::{self, Place},
    atomic, context, facts, handshake,
    handshake::Owner,
    netns,
    packet::Buffer,
    reservation, store,
};

/// The segment goes on.
pub const PASS: i32 = 1;
/// The segment is dropped.
pub const DROP: i32 = 0;

/// IPv6 extension headers that the gate walks; beyond it a segment for a
/// listener is dropped. A choice: no client sends half as many.
const CHAIN_MAX: u32 = 40;

/// Protocols of a socket buffer, as they lie in memory.
const IPV4_BE: u32 = 0x0800_u16.to_be() as u32;
const IPV6_BE: u32 = 0x86dd_u16.to_be() as u32;

/// What [`admission::try_admit`] says when another CPU moved the word: try again.
pub const RETRY: i32 = 2;

/// A segment for a guarded listener.
struct Arrival<'a> {
    ctx: &'a SkBuffContext,
    buffer: Buffer<'a>,
    policy: &'a Policy,
    at: Place,
    /// The socket was made by TCP Fast Open and awaits its ACK: there is no request to look up.
    is_fast_open: bool,
}

/// Judges a segment.
#[inline(always)]
pub fn run(ctx: &SkBuffContext) -> i32 {
    reservation::give_back();
    let sk = context::socket_of_segment(ctx);
    if sk.is_null() {
        return PASS;
    }
    // SAFETY: not null, and the kernel holds the socket while the program runs.
    let state = unsafe { (*sk).state };
    if state != handshake::LISTEN && state != handshake::SYN_RECV {
        return PASS;
    }
    // The verifier knows nothing of what another function returns, and wants to
    // see one bit; the compiler knows, and would leave the mask out.
    core::hint::black_box(judge_arrival(ctx.skb.skb)) & PASS
}

/// Judges a segment that meets a listener. Like [`admission::try_admit`] a function of its
/// own to the verifier, which so looks at it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_arrival(skb: *mut __sk_buff) -> i32 {
    let ctx = SkBuffContext::new(skb);
    Arrival::new(&ctx).map_or(PASS, |arrival| arrival.judge())
}

impl<'a> Arrival<'a> {
    /// Returns the segment, if its listener is one that limiter guards.
    #[inline(always)]
    fn new(ctx: &'a SkBuffContext) -> Option<Self> {
        let sk = context::socket_of_segment(ctx);
        if sk.is_null() {
            return None;
        }
        // SAFETY: the kernel holds the socket while the program runs.
        let port = unsafe { (*sk).src_port } as u16;
        // SAFETY: as above.
        let state = unsafe { (*sk).state };
        let policy = store::policy()?;
        let service = store::service_of(policy, port);
        if service == UNGUARDED || !netns::is_listener_ours(sk) {
            return None;
        }
        // SAFETY: a field of the context; the verifier turns it into the right load.
        let family = match unsafe { (*ctx.skb.skb).protocol } {
            IPV4_BE => Family::V4,
            IPV6_BE => Family::V6,
            _ => return None,
        };
        let at = Place { service, port, family };
        Some(Self { ctx, buffer: Buffer::new(ctx), policy, at, is_fast_open: state == handshake::SYN_RECV })
    }

    #[inline(always)]
    fn judge(&self) -> i32 {
        let Some((segment, tcp, source, destination)) = self.walk() else {
            return self.refuse_unparseable();
        };
        if !tcp.is_ack() {
            return PASS;
        }
        let may_complete = self.is_fast_open
            || matches!(
                handshake::owner(self.ctx, segment.family, source, destination, &tcp),
                Owner::Request | Owner::Listener
            );
        if !may_complete {
            return PASS;
        }
        let mut attempt = 0;
        while attempt < atomic::ATTEMPTS {
            attempt += 1;
            let action = admission::try_admit(&raw const source, self.at.pack());
            if action != RETRY {
                return action;
            }
        }
        account::fail_open(FailOpen::Contention);
        DROP
    }

    #[inline(always)]
    fn walk(&self) -> Option<(Segment, Tcp, Addr, Addr)> {
        let link = Link { family: self.at.family, ip: 0 };
        let segment = packet::segment::<CHAIN_MAX>(&self.buffer, link).ok()?;
        let tcp = segment.header(&self.buffer).ok()?;
        Some((segment, tcp, segment.source(&self.buffer)?, segment.destination(&self.buffer)?))
    }

    /// No client sends such a segment to a listener, and it belongs to no open connection.
    #[inline(always)]
    fn refuse_unparseable(&self) -> i32 {
        let ruling = facts::refused(self.policy, self.at.service, RefuseReason::UnparseableAtListener);
        account::record(Point::Gate, ruling, &self.at.subject(Addr::default(), CLASS_DEFAULT));
        if ruling.verdict.is_refusal() { DROP } else { PASS }
    }
}
