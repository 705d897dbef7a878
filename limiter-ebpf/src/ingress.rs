//! XDP: the fast refusal.
//!
//! Refuses SYNs that the gate would refuse later, and lets the kernel reset the
//! completing ACK of a source at its limit. Only compares: it reserves nothing,
//! since it can't know what TCP will do with the packet. In doubt: pass.

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    programs::XdpContext,
};
use limiter_common::{
    addr::{Addr, Family},
    decide::decide,
    limits::Service,
    map::{FailOpen, SourceKey},
    packet::{self, Segment, Stop, Tcp},
    policy::{Policy, UNGUARDED},
    reply::{self, Reset},
    verdict::{PassReason, Point, Verdict},
};

use crate::{
    account, account::Subject, at_limit, at_limit::AtLimit, clock, facts, globals, handshake, packet::Frame,
    reset, store, syn,
};

/// IPv6 extension headers that XDP walks; longer chains meet the gate. A
/// choice: the four that RFC 8200 recommends before TCP, while real mail has none.
const CHAIN_MAX: u32 = 4;

/// The packet under judgement, as far as it was read.
struct Packet<'a> {
    ctx: &'a XdpContext,
    frame: Frame<'a>,
    segment: Segment,
    tcp: Tcp,
    policy: &'a Policy,
    service: u32,
}

/// Judges a SYN to a guarded port.
///
/// Like [`judge_completing`] a function of its own to the verifier, which so
/// looks at it once, not once for every way through the headers.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_syn(ctx: *mut xdp_md, segment: u64) -> u32 {
    let ctx = XdpContext::new(ctx);
    Packet::read(&ctx, Segment::unpack(segment)).map_or(xdp_action::XDP_PASS, |packet| packet.judge_syn())
}

/// Judges an ACK from a source that is marked as being at its limit.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_completing(ctx: *mut xdp_md, segment: u64) -> u32 {
    let ctx = XdpContext::new(ctx);
    Packet::read(&ctx, Segment::unpack(segment))
        .map_or(xdp_action::XDP_PASS, |packet| packet.judge_completing())
}

/// Judges a frame.
#[inline(always)]
pub fn run(ctx: &XdpContext) -> u32 {
    let frame = Frame::new(ctx);
    let (segment, tcp) = match walk(&frame) {
        Ok(found) => found,
        Err((Stop::NotTcp, _)) => return xdp_action::XDP_PASS,
        Err((Stop::Fragment, family)) => return account::pass_unattributed(PassReason::Fragment, family),
        Err((Stop::Unparseable, family)) => {
            return account::pass_unattributed(PassReason::Unparseable, family);
        }
    };
    let hint = store::service_hint(tcp.destination_port());
    if hint == UNGUARDED {
        return xdp_action::XDP_PASS;
    }
    if tcp.is_ack() {
        // For nearly all packets: nobody of the service is at the limit.
        if at_limit::has_marks(hint) { judge_ack(ctx, &frame, &segment, &tcp) } else { xdp_action::XDP_PASS }
    } else if tcp.is_syn() {
        judge_syn(ctx.ctx, segment.pack())
    } else {
        xdp_action::XDP_PASS
    }
}

/// One load says for nearly all sources that they are not at their limit.
#[inline(always)]
fn judge_ack(ctx: &XdpContext, frame: &Frame<'_>, segment: &Segment, tcp: &Tcp) -> u32 {
    let Some(policy) = store::policy() else {
        return xdp_action::XDP_PASS;
    };
    let service = policy.service_of(tcp.destination_port());
    if !policy.service(service).has(Service::ENFORCE | Service::RESET) {
        return xdp_action::XDP_PASS;
    }
    let Some(addr) = segment.source(frame) else {
        return xdp_action::XDP_PASS;
    };
    let key = SourceKey { addr: policy.source_of(addr), service };
    if AtLimit::of(key.hash(globals::hash_seed())).is_set() {
        judge_completing(ctx.ctx, segment.pack())
    } else {
        xdp_action::XDP_PASS
    }
}

/// Walks to the TCP header; an error tells the family too, where it is known.
#[inline(always)]
pub fn walk(frame: &Frame<'_>) -> Result<(Segment, Tcp), (Stop, Family)> {
    let link = packet::link(frame).map_err(|stop| (stop, Family::V4))?;
    let at = |stop| (stop, link.family);
    let segment = packet::segment::<CHAIN_MAX>(frame, link).map_err(at)?;
    let tcp = segment.header(frame).map_err(at)?;
    Ok((segment, tcp))
}

impl<'a> Packet<'a> {
    #[inline(always)]
    fn read(ctx: &'a XdpContext, segment: Segment) -> Option<Self> {
        let frame = Frame::new(ctx);
        let tcp = segment.header(&frame).ok()?;
        let policy = store::policy()?;
        let service = policy.service_of(tcp.destination_port());
        (service != UNGUARDED).then_some(Self { ctx, frame, segment, tcp, policy, service })
    }

    #[inline(always)]
    fn addresses(&self) -> Option<(Addr, Addr)> {
        Some((self.segment.source(&self.frame)?, self.segment.destination(&self.frame)?))
    }

    #[inline(always)]
    fn subject(&self, addr: Addr, class: u32) -> Subject {
        Subject {
            service: self.service,
            class,
            addr,
            port: self.tcp.destination_port(),
            family: self.segment.family,
        }
    }

    #[inline(always)]
    fn judge_syn(&self) -> u32 {
        let Some((source, destination)) = self.addresses() else {
            return account::pass_unattributed(PassReason::Unparseable, self.segment.family);
        };
        if !store::is_local(&destination) {
            let subject = self.subject(source, 0);
            account::record(Point::Syn, Verdict::Pass(PassReason::NotForUs), &subject);
            return xdp_action::XDP_PASS;
        }
        let mut judgement = syn::judge::<true>(self.policy, self.service, source);
        if judgement.verdict == Verdict::Pass(PassReason::WithinLimits)
            && judgement.source.is_none()
            && self.policy.service(self.service).syn_quota.is_some()
            && self.is_over_syn_quota(source, destination)
        {
            judgement.verdict = syn::over_syn_quota(self.policy, self.service);
        }
        account::record(Point::Syn, judgement.verdict, &self.subject(source, judgement.class));
        if let Verdict::Pass(_) = judgement.verdict {
            return xdp_action::XDP_PASS;
        }
        if let Some(known) = judgement.source {
            known.note_refused(clock::seconds(clock::now_ns()), judgement.verdict);
        }
        if judgement.verdict.is_refusal() {
            self.refuse_syn(source, destination)
        } else {
            xdp_action::XDP_PASS
        }
    }

    #[inline(always)]
    fn is_over_syn_quota(&self, source: Addr, destination: Addr) -> bool {
        let key = SourceKey { addr: self.policy.source_of(source), service: self.service };
        handshake::is_overflowing(self.ctx, self.segment.family, source, destination, &self.tcp)
            && syn::is_over_syn_quota(self.policy, self.service, &key)
    }

    #[inline(always)]
    fn refuse_syn(&self, source: Addr, destination: Addr) -> u32 {
        if !self.policy.service(self.service).has(Service::RESET) {
            return xdp_action::XDP_DROP;
        }
        let reset = Reset::answering(&self.tcp, destination, source, self.segment.end - self.segment.tcp);
        reset::send(self.ctx, &self.segment, &reset).unwrap_or_else(|| {
            account::fail_open(FailOpen::NoReset);
            xdp_action::XDP_DROP
        })
    }

    #[inline(always)]
    fn judge_completing(&self) -> u32 {
        let Some((addr, destination)) = self.addresses() else {
            return xdp_action::XDP_PASS;
        };
        let key = SourceKey { addr: self.policy.source_of(addr), service: self.service };
        let class = store::class_of(self.policy, addr, self.service);
        let limits = self.policy.limits_of(self.service, class);
        let ceiling = facts::ceiling_of(self.policy, self.service, class);
        let source = store::source(&key);
        let known = facts::of_source(limits, ceiling, self.service, source);
        let Err(reason) = decide(limits, ceiling, &known) else {
            AtLimit::of(key.hash(globals::hash_seed())).clear();
            return xdp_action::XDP_PASS;
        };
        let verdict = facts::refused(self.policy, self.service, reason);
        if !verdict.is_refusal()
            || !handshake::completes(self.ctx, &self.frame, &self.segment, addr, destination, &self.tcp)
        {
            return xdp_action::XDP_PASS;
        }
        account::record(Point::Ack, verdict, &self.subject(addr, class));
        if let Some(source) = source {
            source.note_refused(clock::seconds(clock::now_ns()), verdict);
        }
        // The kernel answers this by a reset of its own and frees the request socket.
        if self.frame.store(self.segment.tcp + 12, reply::spoil(&self.tcp)).is_none() {
            account::fail_open(FailOpen::NoReset);
        }
        xdp_action::XDP_PASS
    }
}
