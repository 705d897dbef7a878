//! Fetches what the decision asks for, no more than it can need.

use limiter_common::{
    decide::{self, Known},
    gcra::{self, Quota},
    limits::{Limits, Treatment},
    policy::Policy,
    verdict::{PassReason, RefuseReason, Verdict},
    word::Word,
};

use crate::{atomic, bounds, maps, source::SourceRef, store, tick};

/// A verdict, and when it fell.
#[derive(Clone, Copy)]
pub struct Ruling {
    /// The verdict.
    pub verdict: Verdict,
    /// The clock, read for whatever is not a pass; 0 for a pass.
    pub at_ns: u64,
}

impl Ruling {
    /// Lets a packet pass.
    pub const fn pass(reason: PassReason) -> Self {
        Self { verdict: Verdict::Pass(reason), at_ns: 0 }
    }
}

/// Returns the facts about a source, if its limits depend on any; `total` is that of its service.
#[inline(always)]
pub fn of_source(limits: &Limits, total: u32, source: Option<SourceRef>) -> Known {
    if limits.treatment() != Treatment::Limited {
        return Known::default();
    }
    let tat_ns = source.map_or(0, |source| atomic::load(source.tat()));
    with(limits, total, source.map_or(0, |source| source.word().held()), tat_ns)
}

/// Returns the most that its own facts can be for the source with this hash, without a look at it.
#[inline(always)]
pub fn at_most(limits: &Limits, hash: u64) -> Known {
    if limits.treatment() != Treatment::Limited {
        return Known::default();
    }
    let (held, tat_ns) = bounds::of(hash);
    with(limits, 0, held, tat_ns)
}

/// `now_ns` may be an earlier time that allows one more connection already: any later one does too.
#[inline(always)]
fn with(limits: &Limits, total: u32, held: u32, tat_ns: u64) -> Known {
    let now_ns = if limits.quota.is_some() { now_for(tat_ns, limits.quota) } else { 0 };
    Known { held, tat_ns, now_ns, total }
}

/// Returns the clock, or the time of the last heartbeat if the quota allows one more connection
/// since then: reading the clock costs more than everything else about a quota.
#[inline(always)]
fn now_for(tat_ns: u64, quota: Quota) -> u64 {
    let heartbeat_ns = heartbeat_ns();
    if gcra::allows(tat_ns, heartbeat_ns, quota) { heartbeat_ns } else { tick::now_ns() }
}

/// Returns the connections that count against a ceiling of a service, if there is one.
#[inline(always)]
pub fn total_below(ceiling: u32, service: u32) -> u32 {
    if ceiling == 0 { 0 } else { total_of(service) }
}

/// Returns the connections that count against the ceiling of a service.
#[inline(always)]
pub fn total_of(service: u32) -> u32 {
    store::total(service).map_or(0, |word| Word(atomic::load(word)).held())
}

/// Returns the ceiling that stands against a class in a service; 0 for none, as for who is exempt.
#[inline(always)]
pub fn ceiling_of(policy: &Policy, service: u32, class: u32) -> u32 {
    let is_limited = policy.limits_of(service, class).treatment() == Treatment::Limited;
    if is_limited && policy.counts_in_total(service, class) { policy.service(service).ceiling } else { 0 }
}

/// Returns the verdict on what the limits of a service speak against.
#[inline(always)]
pub fn refused(policy: &Policy, service: u32, reason: RefuseReason) -> Ruling {
    let at_ns = tick::now_ns();
    let verdict = Verdict::refused(reason, policy.service(service), is_unwatched(policy, at_ns));
    Ruling { verdict, at_ns }
}

/// Judges one connection attempt.
#[inline(always)]
pub fn judge(policy: &Policy, service: u32, limits: &Limits, ceiling: u32, known: &Known) -> Ruling {
    let mut at_ns = 0;
    let verdict = decide::judge(limits, ceiling, known, policy.service(service), || {
        at_ns = tick::now_ns();
        is_unwatched(policy, at_ns)
    });
    Ruling { verdict, at_ns }
}

/// Returns whether no daemon has been seen for so long that per-source limits only observe.
#[inline(always)]
pub fn is_unwatched(policy: &Policy, now_ns: u64) -> bool {
    policy.observe_after_ns != 0 && now_ns.saturating_sub(heartbeat_ns()) > policy.observe_after_ns
}

/// Returns when the daemon was last alive.
#[inline(always)]
pub fn heartbeat_ns() -> u64 {
    // The heartbeat is the first field.
    atomic::load(maps::CONTROL.at().cast())
}
