//! The judgement on a SYN, shared by `ingress` and its read-only twin `explain`.

use limiter_common::{
    decide::{self, Known},
    gcra,
    limits::Limits,
    map::SourceKey,
    names,
    policy::Policy,
    verdict::{PassReason, RefuseReason},
};

use crate::{atomic, facts, facts::Ruling, globals, maps, source, source::SourceRef, tick};

/// A verdict on a SYN, with what it rests on.
#[derive(Clone, Copy)]
pub struct Judgement {
    /// The verdict.
    pub ruling: Ruling,
    /// The source's entry, if it has one.
    pub source: Option<SourceRef>,
    /// The facts.
    pub known: Known,
}

/// A SYN under judgement.
pub struct Attempt<'a> {
    policy: &'a Policy,
    key: &'a SourceKey,
    limits: &'a Limits,
    ceiling: u32,
}

impl<'a> Attempt<'a> {
    /// Takes a source and the class that its address has.
    #[inline(always)]
    pub fn new(policy: &'a Policy, key: &'a SourceKey, class: u32) -> Self {
        let limits = policy.limits_of(key.service, class);
        let ceiling = facts::ceiling_of(policy, key.service, class);
        Self { policy, key, limits, ceiling }
    }

    /// Returns why the SYN passes, if that follows from the most that its source can hold and owe: where
    /// that passes, what it really does passes too. The SYN quota asks whether there is a source.
    #[inline(always)]
    pub fn passes_at_a_glance(&self) -> Option<PassReason> {
        // Where the service is full nothing limited passes: no bound is worth its load.
        let total = self.total();
        let is_full = self.ceiling != 0 && total >= self.ceiling;
        if is_full || self.policy.service(self.key.service).syn_quota.is_some() {
            return None;
        }
        let known = facts::at_most(self.limits, self.key.hash(globals::hash_seed()));
        // The ceiling has been asked.
        decide::decide(self.limits, 0, &known).ok()
    }

    #[inline(always)]
    fn total(&self) -> u32 {
        facts::total_below(self.ceiling, self.key.service)
    }

    /// Judges it by its source. `LIVE` forgives old debt; without it nothing is written.
    #[inline(always)]
    pub fn judge<const LIVE: bool>(&self) -> Judgement {
        let source = source::find(self.key);
        let known = facts::of_source(self.limits, self.total(), source);
        if LIVE
            && let Some(source) = source
            && self.limits.quota.is_some()
        {
            let capped = gcra::capped(known.tat_ns, known.now_ns, self.limits.quota);
            if capped != known.tat_ns {
                atomic::swap(source.tat(), known.tat_ns, capped);
            }
        }
        let ruling = facts::judge(self.policy, self.key.service, self.limits, self.ceiling, &known);
        Judgement { ruling, source, known }
    }
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
