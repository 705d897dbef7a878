//! The read-only twin of `ingress`: the same judgement on the live maps, whose
//! outcome is written over the frame instead of acted upon.
//!
//! The daemon runs it by `BPF_PROG_TEST_RUN`; it is attached to nothing and
//! writes nothing that a verdict rests on.

use aya_ebpf::{bindings::xdp_action, programs::XdpContext};
use limiter_common::{
    event::Explanation,
    map::SourceKey,
    policy::UNGUARDED,
    verdict::{PassReason, Point, Verdict},
};

use crate::{classes, facts, ingress, packet::Frame, store, syn::Attempt, tick};

/// Judges a SYN and writes an [`Explanation`] over the frame.
#[inline(always)]
pub fn run(ctx: &XdpContext) -> u32 {
    let frame = Frame::new(ctx);
    let Some(explanation) = explain(&frame) else {
        return xdp_action::XDP_ABORTED;
    };
    let bytes: [u8; size_of::<Explanation>()] = zerocopy::transmute!(explanation);
    if frame.store(0, bytes).is_none() {
        return xdp_action::XDP_ABORTED;
    }
    xdp_action::XDP_PASS
}

#[inline(always)]
fn explain(frame: &Frame<'_, XdpContext>) -> Option<Explanation> {
    let (segment, tcp) = ingress::walk(frame).ok()?;
    let policy = store::policy()?;
    let service = store::service_of(policy, tcp.destination_port());
    let mut explanation = Explanation { service, revision: policy.revision, ..Explanation::default() };
    if service == UNGUARDED {
        return Some(explanation);
    }
    let source = segment.source(frame)?;
    let key = SourceKey { addr: policy.source_of(source), service };
    let class = classes::of(policy, source, service);
    let judgement = Attempt::new(policy, &key, class).judge::<false>();
    let verdict = if store::is_local(&segment.destination(frame)?) {
        judgement.ruling.verdict
    } else {
        Verdict::Pass(PassReason::NotForUs)
    };
    let entry = judgement.source;
    explanation.cell = verdict.cell(Point::Syn) as u32;
    explanation.class = class;
    explanation.known = u32::from(entry.is_some());
    explanation.held = entry.map_or(0, |entry| entry.word().held());
    explanation.tat_ns = judgement.known.tat_ns;
    explanation.total = facts::total_of(service);
    explanation.now_ns = tick::now_ns();
    explanation.unwatched = u32::from(facts::is_unwatched(policy, explanation.now_ns));
    Some(explanation)
}
