//! The fast refusal, in XDP or, where another XDP program owns the interface, in tc.
//!
//! Refuses SYNs that the gate would refuse later, and lets the kernel reset the
//! completing ACK of a source at its limit. Only compares: it reserves nothing,
//! since it can't know what TCP will do with the packet. In doubt: pass.

use limiter_common::{
    addr::{Addr, Family},
    limits::Service,
    map::{FailOpen, SourceKey},
    packet::{self, Segment, Stop, Tcp},
    policy::{Policy, UNGUARDED},
    reply::Reset,
    verdict::{PassReason, Point, Verdict},
};

use crate::{
    account, account::Subject, at_limit, at_limit::AtLimit, classes, facts, facts::Ruling, globals,
    handshake, hook::Hook, packet::Frame, reset, source, standing, standing::Question, store, syn,
};

/// IPv6 extension headers that XDP walks; longer chains meet the gate. A
/// choice: the four that RFC 8200 recommends before TCP, while real mail has none.
const CHAIN_MAX: u32 = 4;

/// The packet under judgement, as far as it was read.
struct Packet<'a, H> {
    ctx: &'a H,
    frame: Frame<'a, H>,
    segment: Segment,
    tcp: Tcp,
    policy: &'a Policy,
    service: u32,
}

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

impl<'a, H: Hook> Packet<'a, H> {
    #[inline(always)]
    fn read(ctx: &'a H, segment: Segment) -> Option<Self> {
        let frame = Frame::new(ctx);
        let tcp = segment.header(&frame).ok()?;
        let policy = store::policy()?;
        let service = store::service_of(policy, tcp.destination_port());
        (service != UNGUARDED).then_some(Self { ctx, frame, segment, tcp, policy, service })
    }

    #[inline(always)]
    fn question(&self) -> Option<Question> {
        Question::read(&self.frame, &self.segment, &self.tcp)
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
        let Some(question) = self.question() else {
            account::pass_unattributed(PassReason::Unparseable, self.segment.family);
            return H::PASS;
        };
        let Question { source, destination, .. } = question;
        if !store::is_local(&destination) {
            let subject = self.subject(source, 0);
            account::record(Point::Syn, Ruling::pass(PassReason::NotForUs), &subject);
            return H::PASS;
        }
        let mut judgement = syn::judge::<true>(self.policy, self.service, source);
        if judgement.ruling.verdict == Verdict::Pass(PassReason::WithinLimits)
            && judgement.source.is_none()
            && self.policy.service(self.service).syn_quota.is_some()
            && self.is_over_syn_quota(source, destination)
        {
            judgement.ruling = syn::over_syn_quota(self.policy, self.service);
        }
        let subject = self.subject(source, judgement.class);
        account::record(Point::Syn, judgement.ruling, &subject);
        if let Verdict::Pass(_) = judgement.ruling.verdict {
            return H::PASS;
        }
        if let Some(known) = judgement.source {
            known.note_refused(judgement.ruling);
        }
        if !judgement.ruling.verdict.is_refusal() {
            return H::PASS;
        }
        if self.may_reset(judgement.ruling) {
            return self.answer_by_reset(source, destination);
        }
        standing::note(self.policy, &question, &judgement, &subject);
        H::DROP
    }

    #[inline(always)]
    fn is_over_syn_quota(&self, source: Addr, destination: Addr) -> bool {
        let key = SourceKey { addr: self.policy.source_of(source), service: self.service };
        handshake::is_overflowing(self.ctx, self.segment.family, source, destination, &self.tcp)
            && syn::is_over_syn_quota(self.policy, self.service, &key)
    }

    #[inline(always)]
    fn may_reset(&self, ruling: Ruling) -> bool {
        self.policy.service(self.service).has(Service::RESET) && reset::is_within_budget(ruling.at_ns)
    }

    #[inline(always)]
    fn answer_by_reset(&self, source: Addr, destination: Addr) -> u32 {
        let reset = Reset::answering(&self.tcp, destination, source, self.segment.end - self.segment.tcp);
        reset::send(self.ctx, &self.segment, &reset).unwrap_or_else(|| {
            account::fail_open(FailOpen::NoReset);
            H::DROP
        })
    }

    #[inline(always)]
    fn judge_completing(&self) -> u32 {
        let Some(Question { source: addr, destination, .. }) = self.question() else {
            return H::PASS;
        };
        let key = SourceKey { addr: self.policy.source_of(addr), service: self.service };
        let source = source::find(&key);
        let class = classes::of_source::<true>(self.policy, addr, self.service, source);
        let limits = self.policy.limits_of(self.service, class);
        let ceiling = facts::ceiling_of(self.policy, self.service, class);
        let known = facts::of_source(limits, ceiling, self.service, source);
        let ruling = facts::judge(self.policy, self.service, limits, ceiling, &known);
        if let Verdict::Pass(_) = ruling.verdict {
            AtLimit::of(key.hash(globals::hash_seed())).clear();
            return H::PASS;
        }
        if !ruling.verdict.is_refusal()
            || !handshake::completes(self.ctx, &self.frame, &self.segment, addr, destination, &self.tcp)
        {
            return H::PASS;
        }
        account::record(Point::Ack, ruling, &self.subject(addr, class));
        if let Some(source) = source {
            source.note_refused(ruling);
        }
        // The kernel answers this by a reset of its own and frees the request socket.
        if self.ctx.spoil(self.segment.tcp, &self.tcp).is_none() {
            account::fail_open(FailOpen::NoReset);
        }
        H::PASS
    }
}
