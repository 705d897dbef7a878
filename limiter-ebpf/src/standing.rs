//! Refusals that stand: in a flood, the answer to the SYN before is the answer to the next.
//!
//! A refusal in silence is noted with everything that it was asked, and stands on
//! its CPU until the timer ticks, the daemon speaks, or a connection of the
//! source ends. Only what looks nothing up that could change faster may stand:
//! denied classes, and the open connections of one source. Verdicts are counted
//! one by one; the entry of the source gets them in blocks, and only a source
//! that has been refused a block's worth stands refused at all.

use limiter_common::{
    addr::{Addr, Family},
    map::{SourceKey, Standing},
    names,
    packet::{Segment, Tcp},
    policy::Policy,
    verdict::{Point, RefuseReason, Verdict},
};

use crate::{
    account, account::Subject, bounds, facts, globals, hook::Hook, maps, packet::Frame, source,
    syn::Judgement, tick,
};

/// Refusals by which the count of a source may lag on each CPU. A choice: one look in so many packets
/// costs nothing, and a table of who floods shows no difference.
const BLOCK: u32 = 256;

/// What a SYN is told apart by: whole addresses, since class and own addresses hang on them.
pub struct Question {
    /// The remote address.
    pub source: Addr,
    /// The local address.
    pub destination: Addr,
    /// The local port.
    pub port: u16,
    /// The IP version of the packet.
    pub family: Family,
}

impl Question {
    /// Reads it from a SYN.
    #[inline(always)]
    pub fn read(frame: &Frame<'_, impl Hook>, segment: &Segment, tcp: &Tcp) -> Option<Self> {
        Some(Self {
            source: segment.source(frame)?,
            destination: segment.destination(frame)?,
            port: tcp.destination_port(),
            family: segment.family,
        })
    }
}

/// Returns whether a refusal stands against this SYN; it is counted then.
#[inline(always)]
pub fn refuses(question: &Question) -> bool {
    let tick = tick::number();
    // In peace, and under a flood of ever new sources, there is none.
    if !tick::has_standing(tick) {
        return false;
    }
    let Some(at) = place(question.source) else {
        return false;
    };
    // SAFETY: this CPU's value of a live map; only softirq code uses it.
    let standing = unsafe { &mut *at };
    let stands = is_about(standing, question)
        && standing.more < BLOCK
        && standing.tick == tick
        && standing.heartbeat_ns == facts::heartbeat_ns()
        && standing.room == bounds::room(u32::from(standing.bounds_bucket));
    if stands {
        standing.more += 1;
        account::count_in(u32::from(standing.row), usize::from(standing.cell));
    }
    stands
}

/// Lets a refusal in silence stand, if it is of a kind that may.
#[inline(always)]
pub fn note(policy: &Policy, question: &Question, judgement: &Judgement, subject: &Subject) {
    if !may_stand(judgement) {
        return;
    }
    let source = judgement.source;
    let Some(at) = place(question.source) else { return };
    // SAFETY: this CPU's value of a live map; only softirq code uses it.
    let standing = unsafe { &mut *at };
    let tick = tick::number();
    if standing.tick == tick && !is_about(standing, question) {
        return;
    }
    settle(policy, standing);
    let bounds_bucket = source.map_or(0, |source| names::bounds_bucket(source.hash()));
    standing.source = question.source;
    standing.destination = question.destination;
    standing.heartbeat_ns = facts::heartbeat_ns();
    standing.room = bounds::room(bounds_bucket);
    standing.bounds_bucket = bounds_bucket as u16;
    standing.port = question.port;
    standing.row = names::counter_row(subject.service, subject.class, subject.family as u32) as u16;
    standing.cell = judgement.ruling.verdict.cell(Point::Syn) as u16;
    // Room that was made before it was read above shows in the word.
    let is_at_limit = source.is_none_or(|source| source.word().held() >= judgement.known.held);
    standing.tick = if is_at_limit { tick } else { 0 };
    tick::note_standing(tick);
}

#[inline(always)]
fn may_stand(judgement: &Judgement) -> bool {
    let source = judgement.source;
    match judgement.ruling.verdict {
        Verdict::Refuse(RefuseReason::Deny) => source.is_none_or(|source| source.refused() >= BLOCK),
        Verdict::Refuse(RefuseReason::ConnectionsPerSource) => {
            source.is_some_and(|source| source.refused() >= BLOCK)
        }
        _ => false,
    }
}

/// Gives the entry of a source the refusals that it does not have yet.
#[inline(always)]
fn settle(policy: &Policy, standing: &mut Standing) {
    let more = standing.more;
    standing.more = 0;
    if more == 0 {
        return;
    }
    let service = names::service_of_row(u32::from(standing.row));
    let key = SourceKey { addr: policy.source_of(standing.source), service };
    if let Some(source) = source::find(&key) {
        source.add_refused(more);
    }
}

#[inline(always)]
fn is_about(standing: &Standing, question: &Question) -> bool {
    let differs = |a: Addr, b: Addr| {
        let ([a_high, a_low], [b_high, b_low]) = (a.halves(), b.halves());
        (a_high ^ b_high) | (a_low ^ b_low)
    };
    differs(standing.source, question.source) == 0
        && differs(standing.destination, question.destination) == 0
        && standing.port == question.port
        && u32::from(standing.row) % names::FAMILIES as u32 == question.family as u32
}

#[inline(always)]
fn place(source: Addr) -> Option<*mut Standing> {
    let hash = source.hash(globals::hash_seed());
    maps::STANDING.get_ptr_mut((hash >> 48) as u32 & (names::STANDING_REFUSALS as u32 - 1))
}
