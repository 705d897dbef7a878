//! The judgement on a SYN, shared by `ingress` and its read-only twin `explain`.

use limiter_common::{
    addr::Addr, decide::Known, gcra, map::SourceKey, names, policy::Policy, verdict::RefuseReason,
};

use crate::{atomic, classes, facts, facts::Ruling, globals, maps, source, source::SourceRef, tick};

/// A verdict on a SYN, with what it rests on.
#[derive(Clone, Copy)]
pub struct Judgement {
    /// The verdict.
    pub ruling: Ruling,
    /// The class of the source.
    pub class: u32,
    /// The source's entry, if it has one.
    pub source: Option<SourceRef>,
    /// The facts.
    pub known: Known,
}

/// Judges a SYN. `LIVE` notes the class and forgives old debt; without it nothing is written.
#[inline(always)]
pub fn judge<const LIVE: bool>(policy: &Policy, service: u32, addr: Addr) -> Judgement {
    let key = SourceKey { addr: policy.source_of(addr), service };
    let source = source::find(&key);
    let class = classes::of_source::<LIVE>(policy, addr, service, source);
    let limits = policy.limits_of(service, class);
    let ceiling = facts::ceiling_of(policy, service, class);
    let known = facts::of_source(limits, ceiling, service, source);
    if LIVE
        && let Some(source) = source
        && limits.quota.is_some()
    {
        let capped = gcra::capped(known.tat_ns, known.now_ns, limits.quota);
        if capped != known.tat_ns {
            atomic::swap(source.tat(), known.tat_ns, capped);
        }
    }
    let ruling = facts::judge(policy, service, limits, ceiling, &known);
    Judgement { ruling, class, source, known }
}

/// Charges the SYN quota of an unproven source; returns whether it is used up.
#[inline(always)]
pub fn is_over_syn_quota(policy: &Policy, service: u32, key: &SourceKey) -> bool {
    let quota = policy.service(service).syn_quota;
    let hash = key.hash(globals::hash_seed());
    let Some(tat) = maps::SYN_TATS.get_ptr_mut((hash >> 48) as u32 & (names::SYN_BUCKETS as u32 - 1)) else {
        return false;
    };
    let tat_ns = atomic::load(tat);
    match gcra::charge(tat_ns, tick::now_ns(), quota) {
        // A charge that another CPU overtook is lost: the quota is coarse by design.
        Some(next) => {
            atomic::swap(tat, tat_ns, next);
            false
        }
        None => true,
    }
}

/// Returns the verdict on a SYN over the SYN quota.
#[inline(always)]
pub fn over_syn_quota(policy: &Policy, service: u32) -> Ruling {
    facts::refused(policy, service, RefuseReason::SynQuota)
}
