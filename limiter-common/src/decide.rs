//! The decision: what a connection attempt gets, given the facts.
//!
//! The one function that says so runs in XDP, at the gate, in `limiterctl
//! check` and in the tests. It fetches nothing; facts are asked for in the
//! order in which they are needed, so that an exempt source costs no look-up.

use crate::{
    gcra,
    limits::{Limits, Service, Treatment},
    verdict::{PassReason, RefuseReason, Verdict},
};

/// What the decision may want to know about a source and its service.
pub trait Facts {
    /// Returns the connections the source holds: open, and reserved in flight.
    fn held(&self) -> u32;
    /// Returns the arrival time of the source's quota.
    fn tat_ns(&self) -> u64;
    /// Returns the clock that `tat_ns` is on.
    fn now_ns(&self) -> u64;
    /// Returns the connections the whole service holds.
    fn total(&self) -> u32;
}

/// Decides on one connection attempt of a source with these limits, in a
/// service with this ceiling (0: none).
///
/// # Errors
///
/// The reason why limits speak against it; whether it is refused is up to the mode of the service.
#[inline(always)]
pub fn decide(limits: &Limits, ceiling: u32, facts: &impl Facts) -> Result<PassReason, RefuseReason> {
    match limits.treatment() {
        Treatment::Exempt => return Ok(PassReason::Exempt),
        Treatment::Denied => return Err(RefuseReason::Deny),
        Treatment::Limited => {}
    }
    if limits.quota.is_some() && !gcra::allows(facts.tat_ns(), facts.now_ns(), limits.quota) {
        return Err(RefuseReason::NewConnectionQuota);
    }
    if limits.connections != 0 && facts.held() >= limits.connections {
        return Err(RefuseReason::ConnectionsPerSource);
    }
    if ceiling != 0 && facts.total() >= ceiling {
        return Err(RefuseReason::ConnectionsTotal);
    }
    Ok(PassReason::WithinLimits)
}

/// Judges one connection attempt: what [`decide`] says, in the mode of the service.
///
/// While limits of one source only observe (`unwatched`, or the circuit breaker is open), what is
/// over such a limit passes, up to the ceiling: that is never suspended.
#[inline(always)]
pub fn judge(
    limits: &Limits,
    ceiling: u32,
    facts: &impl Facts,
    service: &Service,
    unwatched: impl FnOnce() -> bool,
) -> Verdict {
    let reason = match decide(limits, ceiling, facts) {
        Ok(reason) => return Verdict::Pass(reason),
        Err(reason) => reason,
    };
    let verdict = Verdict::refused(reason, service, unwatched());
    if !verdict.is_refusal() && service.has(Service::ENFORCE) && ceiling != 0 && facts.total() >= ceiling {
        return Verdict::Refuse(RefuseReason::ConnectionsTotal);
    }
    verdict
}

/// Facts that are known already.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// Connections of the source, open and reserved.
    pub held: u32,
    /// Arrival time of the source's quota.
    pub tat_ns: u64,
    /// The clock.
    pub now_ns: u64,
    /// Connections of the service.
    pub total: u32,
}

impl Facts for Known {
    #[inline(always)]
    fn held(&self) -> u32 {
        self.held
    }
    #[inline(always)]
    fn tat_ns(&self) -> u64 {
        self.tat_ns
    }
    #[inline(always)]
    fn now_ns(&self) -> u64 {
        self.now_ns
    }
    #[inline(always)]
    fn total(&self) -> u32 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gcra::Quota;

    const SECOND_NS: u64 = 1_000_000_000;

    /// A limit of n lets n in and not one more (`count > max` admits one too many).
    #[test]
    fn a_limit_of_twenty_lets_twenty_in() {
        let limits = Limits::limited(20, Quota::NONE);
        let at = |held| decide(&limits, 0, &Known { held, ..Known::default() });
        assert_eq!(at(19), Ok(PassReason::WithinLimits));
        assert_eq!(at(20), Err(RefuseReason::ConnectionsPerSource));
        assert_eq!(at(21), Err(RefuseReason::ConnectionsPerSource));
    }

    /// Exempt sources pass and denied ones do not, whatever else is full.
    #[test]
    fn treatment_comes_before_every_count() {
        let full = Known { held: 1_000, tat_ns: u64::MAX, now_ns: 0, total: 1_000 };
        assert_eq!(decide(&Limits::EXEMPT, 1, &full), Ok(PassReason::Exempt));
        assert_eq!(decide(&Limits::DENIED, 0, &Known::default()), Err(RefuseReason::Deny));
    }

    /// Quota, open connections, ceiling: the first that stands against it names the reason.
    #[test]
    fn reasons_come_in_order() {
        let limits = Limits::limited(2, Quota::per(60, 60 * SECOND_NS, 1));
        let mut facts = Known { held: 2, tat_ns: 10 * SECOND_NS, now_ns: 0, total: 5 };
        assert_eq!(decide(&limits, 5, &facts), Err(RefuseReason::NewConnectionQuota));
        facts.now_ns = 10 * SECOND_NS;
        assert_eq!(decide(&limits, 5, &facts), Err(RefuseReason::ConnectionsPerSource));
        facts.held = 1;
        assert_eq!(decide(&limits, 5, &facts), Err(RefuseReason::ConnectionsTotal));
        facts.total = 4;
        assert_eq!(decide(&limits, 5, &facts), Ok(PassReason::WithinLimits));
    }

    /// While limits of one source are suspended, what is over one passes up to the ceiling.
    #[test]
    fn a_ceiling_is_never_suspended() {
        let limits = Limits::limited(2, Quota::NONE);
        let service = |flags| Service { flags, ..Service::default() };
        let enforcing = service(Service::ENFORCE);
        let at = |total| Known { held: 2, total, ..Known::default() };
        let own = RefuseReason::ConnectionsPerSource;
        assert_eq!(judge(&limits, 5, &at(4), &enforcing, || true), Verdict::WouldRefuse(own));
        let full = Verdict::Refuse(RefuseReason::ConnectionsTotal);
        assert_eq!(judge(&limits, 5, &at(5), &enforcing, || true), full);
        let suspended = service(Service::ENFORCE | Service::SUSPENDED);
        assert_eq!(judge(&limits, 5, &at(5), &suspended, || false), full);
        assert_eq!(
            judge(&limits, 5, &at(5), &service(0), || true),
            Verdict::WouldRefuse(own),
            "all observes"
        );
        assert_eq!(judge(&limits, 0, &at(5), &enforcing, || true), Verdict::WouldRefuse(own), "no ceiling");
        let denied = Verdict::Refuse(RefuseReason::Deny);
        assert_eq!(judge(&Limits::DENIED, 5, &at(5), &enforcing, || true), denied);
    }

    /// A limit of nothing refuses nothing: zero stands for no limit.
    #[test]
    fn zero_is_no_limit() {
        let facts = Known { held: u32::MAX, tat_ns: u64::MAX, now_ns: 0, total: u32::MAX };
        assert_eq!(decide(&Limits::default(), 0, &facts), Ok(PassReason::WithinLimits));
    }
}
