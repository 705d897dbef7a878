//! The fast refusal, in XDP or, where another XDP program owns the interface, in tc.
//!
//! Refuses SYNs that the gate would refuse later, and lets the kernel reset the
//! completing ACK of a source at its limit. Only compares: it reserves nothing,
//! since it can't know what TCP will do with the packet. In doubt: pass.

mod guarded;

use limiter_common::{
    addr::Family,
    limits::Service,
    map::SourceKey,
    packet::{self, Segment, Stop, Tcp},
    policy::UNGUARDED,
    verdict::PassReason,
};

use crate::{
    account, at_limit, at_limit::AtLimit, globals, hook::Hook, packet::Frame, standing, standing::Question,
    store,
};
use guarded::Packet;

/// IPv6 extension headers that XDP walks; longer chains meet the gate. A
/// choice: the four that RFC 8200 recommends before TCP, while real mail has none.
const CHAIN_MAX: u32 = 4;

/// Judges a SYN to a guarded port.
#[inline(always)]
pub fn judge_syn<H: Hook>(ctx: &H, segment: u64) -> u32 {
    Packet::read(ctx, Segment::unpack(segment)).map_or(H::PASS, |packet| packet.judge_syn())
}

/// Judges an ACK from a source that is marked as being at its limit.
#[inline(always)]
pub fn judge_completing<H: Hook>(ctx: &H, segment: u64) -> u32 {
    Packet::read(ctx, Segment::unpack(segment)).map_or(H::PASS, |packet| packet.judge_completing())
}

/// Judges a frame.
#[inline(always)]
pub fn run<H: Hook>(ctx: &H) -> u32 {
    let frame = Frame::new(ctx);
    if let Some((segment, tcp)) = packet::plain(&frame) {
        return judge_segment(ctx, &frame, &segment, &tcp);
    }
    ctx.prepare();
    let frame = Frame::new(ctx);
    match walk(&frame) {
        Ok((segment, tcp)) => judge_segment(ctx, &frame, &segment, &tcp),
        Err((Stop::NotTcp, _)) => H::PASS,
        Err((Stop::Fragment, family)) => {
            account::pass_unattributed(PassReason::Fragment, family);
            H::PASS
        }
        Err((Stop::Unparseable, family)) => {
            account::pass_unattributed(PassReason::Unparseable, family);
            H::PASS
        }
    }
}

/// Judges a TCP segment.
#[inline(always)]
fn judge_segment<H: Hook>(ctx: &H, frame: &Frame<'_, H>, segment: &Segment, tcp: &Tcp) -> u32 {
    let hint = store::service_hint(tcp.destination_port());
    if hint == UNGUARDED {
        return H::PASS;
    }
    if tcp.is_ack() {
        // For nearly all packets: nobody of the service is at the limit.
        if at_limit::has_marks(hint) { judge_ack(ctx, frame, segment, tcp) } else { H::PASS }
    } else if tcp.is_syn() {
        judge_attempt(ctx, frame, segment, tcp)
    } else {
        H::PASS
    }
}

/// What was refused to a flood a moment ago is refused again, in a few loads.
#[inline(always)]
fn judge_attempt<H: Hook>(ctx: &H, frame: &Frame<'_, H>, segment: &Segment, tcp: &Tcp) -> u32 {
    if Question::read(frame, segment, tcp).is_some_and(|question| standing::refuses(&question)) {
        H::DROP
    } else {
        ctx.judge_syn(segment.pack())
    }
}

/// One load says for nearly all sources that they are not at their limit.
#[inline(always)]
fn judge_ack<H: Hook>(ctx: &H, frame: &Frame<'_, H>, segment: &Segment, tcp: &Tcp) -> u32 {
    let Some(policy) = store::policy() else {
        return H::PASS;
    };
    let service = store::service_of(policy, tcp.destination_port());
    if !policy.service(service).has(Service::ENFORCE | Service::RESET) {
        return H::PASS;
    }
    let Some(addr) = segment.source(frame) else {
        return H::PASS;
    };
    let key = SourceKey { addr: policy.source_of(addr), service };
    if AtLimit::of(key.hash(globals::hash_seed())).is_set() {
        ctx.judge_completing(segment.pack())
    } else {
        H::PASS
    }
}

/// Walks to the TCP header; an error tells the family too, where it is known.
#[inline(always)]
pub fn walk(frame: &Frame<'_, impl Hook>) -> Result<(Segment, Tcp), (Stop, Family)> {
    let link = packet::link(frame).map_err(|stop| (stop, Family::V4))?;
    let at = |stop| (stop, link.family);
    let segment = packet::segment::<CHAIN_MAX>(frame, link).map_err(at)?;
    let tcp = segment.header(frame).map_err(at)?;
    Ok((segment, tcp))
}
