//! Fetches what the decision asks for, no more than it can need.

use limiter_common::{
    decide::{self, Known},
    limits::{Limits, Treatment},
    policy::Policy,
    verdict::{RefuseReason, Verdict},
    word::Word,
};

use crate::{atomic, clock, maps, store, store::SourceRef};

/// Returns the facts about a source, if its limits depend on any.
#[inline(always)]
pub fn of_source(limits: &Limits, ceiling: u32, service: u32, source: Option<SourceRef>) -> Known {
    if limits.treatment() != Treatment::Limited {
        return Known::default();
    }
    Known {
        held: source.map_or(0, |source| source.word().held()),
        tat_ns: source.map_or(0, |source| atomic::load(source.tat())),
        now_ns: if limits.quota.is_some() { clock::now_ns() } else { 0 },
        total: if ceiling == 0 { 0 } else { total_of(service) },
    }
}

/// Returns the connections that count against the ceiling of a service.
#[inline(always)]
pub fn total_of(service: u32) -> u32 {
    store::total(service).map_or(0, |word| Word(atomic::load(word)).held())
}

/// Returns the ceiling that stands against a class in a service; 0 for none.
#[inline(always)]
pub fn ceiling_of(policy: &Policy, service: u32, class: u32) -> u32 {
    if policy.counts_in_total(service, class) { policy.service(service).ceiling } else { 0 }
}

/// Returns the verdict on what the limits of a service speak against.
#[inline(always)]
pub fn refused(policy: &Policy, service: u32, reason: RefuseReason) -> Verdict {
    Verdict::refused(reason, policy.service(service), is_unwatched(policy))
}

/// Judges one connection attempt.
#[inline(always)]
pub fn judge(policy: &Policy, service: u32, limits: &Limits, ceiling: u32, known: &Known) -> Verdict {
    decide::judge(limits, ceiling, known, policy.service(service), || is_unwatched(policy))
}

/// Returns whether no daemon has been seen for so long that per-source limits only observe.
#[inline(always)]
pub fn is_unwatched(policy: &Policy) -> bool {
    let Some(control) = maps::CONTROL.get_ptr_mut(0) else {
        return false;
    };
    // The heartbeat is the first field.
    let heartbeat_ns = atomic::load(control.cast());
    policy.observe_after_ns != 0 && clock::now_ns().saturating_sub(heartbeat_ns) > policy.observe_after_ns
}
