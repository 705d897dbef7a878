//! A segment to a guarded port, judged by its source: SYNs, and ACKs of sources at their limit.
//! What may be one of either is told in `ingress.rs`.

use limiter_common::{
    addr::Addr,
    limits::Service,
    map::{FailOpen, SourceKey},
    packet::{Segment, Tcp},
    policy::{Policy, UNGUARDED},
    reply::Reset,
    verdict::{PassReason, Point, Verdict},
};

use crate::{
    account, account::Subject, at_limit::AtLimit, classes, facts, facts::Ruling, globals, handshake,
    hook::Hook, packet::Frame, reset, source, standing, standing::Question, store, syn, syn::Attempt,
};

/// The packet under judgement, as far as it was read.
pub struct Packet<'a, H> {
    ctx: &'a H,
    frame: Frame<'a, H>,
    segment: Segment,
    tcp: Tcp,
    policy: &'a Policy,
    service: u32,
}

impl<'a, H: Hook> Packet<'a, H> {
    /// Reads it again, in a function of its own to the verifier; `None` if it is for no service any more.
    #[inline(always)]
    pub fn read(ctx: &'a H, segment: Segment) -> Option<Self> {
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

    /// Judges a SYN.
    #[inline(always)]
    pub fn judge_syn(&self) -> u32 {
        let Some(Question { source, destination, .. }) = self.question() else {
            account::pass_unattributed(PassReason::Unparseable, self.segment.family);
            return H::PASS;
        };
        if !store::is_local(&destination) {
            let subject = self.subject(source, 0);
            account::record(Point::Syn, Ruling::pass(PassReason::NotForUs), &subject);
            return H::PASS;
        }
        let key = SourceKey { addr: self.policy.source_of(source), service: self.service };
        let class = classes::noted(self.policy, source, &key);
        let subject = self.subject(source, class);
        let attempt = Attempt::new(self.policy, &key, class);
        if let Some(reason) = attempt.passes_at_a_glance() {
            account::record(Point::Syn, Ruling::pass(reason), &subject);
            return H::PASS;
        }
        let mut judgement = attempt.judge::<true>();
        if judgement.ruling.verdict == Verdict::Pass(PassReason::WithinLimits)
            && judgement.source.is_none()
            && self.policy.service(self.service).syn_quota.is_some()
            && self.is_over_syn_quota(&key)
        {
            judgement.ruling = syn::over_syn_quota(self.policy, self.service);
        }
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
        // Read again: kept all the way to here it would not fit on the stack.
        let Some(question) = self.question() else {
            return H::DROP;
        };
        if self.may_reset(judgement.ruling) {
            return self.answer_by_reset(&question);
        }
        standing::note(self.policy, &question, &judgement, &subject);
        H::DROP
    }

    #[inline(always)]
    fn is_over_syn_quota(&self, key: &SourceKey) -> bool {
        self.question().is_some_and(|Question { source, destination, .. }| {
            handshake::is_overflowing(self.ctx, self.segment.family, source, destination, &self.tcp)
        }) && syn::is_over_syn_quota(self.policy, self.service, key)
    }

    #[inline(always)]
    fn completes_a_handshake(&self) -> bool {
        self.question().is_some_and(|Question { source, destination, .. }| {
            handshake::completes(self.ctx, &self.frame, &self.segment, source, destination, &self.tcp)
        })
    }

    #[inline(always)]
    fn may_reset(&self, ruling: Ruling) -> bool {
        self.policy.service(self.service).has(Service::RESET) && reset::is_within_budget(ruling.at_ns)
    }

    #[inline(always)]
    fn answer_by_reset(&self, question: &Question) -> u32 {
        let len = self.segment.end - self.segment.tcp;
        let reset = Reset::answering(&self.tcp, question.destination, question.source, len);
        reset::send(self.ctx, &self.segment, &reset).unwrap_or_else(|| {
            account::fail_open(FailOpen::NoReset);
            H::DROP
        })
    }

    /// Judges an ACK of a source that is marked as being at its limit.
    #[inline(always)]
    pub fn judge_completing(&self) -> u32 {
        let Some(Question { source: addr, .. }) = self.question() else {
            return H::PASS;
        };
        let key = SourceKey { addr: self.policy.source_of(addr), service: self.service };
        let source = source::find(&key);
        let class = classes::noted(self.policy, addr, &key);
        let limits = self.policy.limits_of(self.service, class);
        let ceiling = facts::ceiling_of(self.policy, self.service, class);
        let known = facts::of_source(limits, facts::total_below(ceiling, self.service), source);
        let ruling = facts::judge(self.policy, self.service, limits, ceiling, &known);
        if let Verdict::Pass(_) = ruling.verdict {
            AtLimit::of(key.hash(globals::hash_seed())).clear();
            return H::PASS;
        }
        if !ruling.verdict.is_refusal() || !self.completes_a_handshake() {
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
