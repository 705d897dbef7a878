//! Verdicts, their reasons, and the points they fall at.
//!
//! Discriminants index the per-CPU counters (`cell.rs`) and labels go into metrics.
//! Dashboards and pinned maps outlive a release: append variants, never
//! renumber or reuse them.

use crate::limits::Service;

/// Why a packet passed.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassReason {
    /// The source belongs to an exempt class.
    Exempt = 0,
    /// No limit stands against it.
    WithinLimits = 1,
    /// The packet is not addressed to this host.
    NotForUs = 2,
    /// A fragment: judged at the gate, once it is whole.
    Fragment = 3,
    /// Headers that XDP does not walk: judged at the gate.
    Unparseable = 4,
    /// A doubt inside limiter; `limiter_fail_open_total` says which.
    FailOpen = 5,
}

/// Why a packet was, or would be, refused.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefuseReason {
    /// The source is denied.
    Deny = 0,
    /// Too many SYNs of an unproven source while the listener's queue overflows.
    SynQuota = 1,
    /// The source opened too many connections in too short a time.
    NewConnectionQuota = 2,
    /// The source has all the open connections its class grants.
    ConnectionsPerSource = 3,
    /// The service has all the open connections it can bear.
    ConnectionsTotal = 4,
    /// A segment for a guarded listener behind headers nobody can walk.
    UnparseableAtListener = 5,
}

/// Where a verdict fell.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// In XDP, at a SYN.
    Syn = 0,
    /// In XDP, at the ACK that completes a handshake.
    Ack = 1,
    /// In the cgroup, where the segment that completes a handshake meets its listener.
    Gate = 2,
}

/// What the policy says about one packet.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The packet goes on.
    Pass(PassReason),
    /// The packet is refused.
    Refuse(RefuseReason),
    /// The packet goes on; in `enforce` it would be refused.
    WouldRefuse(RefuseReason),
}

impl PassReason {
    /// Every reason, in the order of its values.
    pub const ALL: [Self; 6] =
        [Self::Exempt, Self::WithinLimits, Self::NotForUs, Self::Fragment, Self::Unparseable, Self::FailOpen];

    /// Returns the `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Exempt => "exempt",
            Self::WithinLimits => "within_limits",
            Self::NotForUs => "not_for_us",
            Self::Fragment => "fragment",
            Self::Unparseable => "unparseable",
            Self::FailOpen => "fail_open",
        }
    }
}

impl RefuseReason {
    /// Every reason, in the order of its values.
    pub const ALL: [Self; 6] = [
        Self::Deny,
        Self::SynQuota,
        Self::NewConnectionQuota,
        Self::ConnectionsPerSource,
        Self::ConnectionsTotal,
        Self::UnparseableAtListener,
    ];

    /// Returns the `reason` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::SynQuota => "syn_quota",
            Self::NewConnectionQuota => "new_connection_quota",
            Self::ConnectionsPerSource => "connections_per_source",
            Self::ConnectionsTotal => "connections_total",
            Self::UnparseableAtListener => "unparseable_at_listener",
        }
    }

    /// Returns whether the reason is a limit of one source, which the circuit
    /// breaker and the loss of the daemon suspend; `deny` and ceilings are not.
    #[inline(always)]
    #[must_use]
    pub const fn is_per_source(self) -> bool {
        matches!(self, Self::SynQuota | Self::NewConnectionQuota | Self::ConnectionsPerSource)
    }

    /// Returns whether the reason is a limit that a proven source has reached:
    /// what the circuit breaker counts. The SYN quota is for unproven ones.
    #[inline(always)]
    #[must_use]
    pub const fn is_of_proven_source(self) -> bool {
        matches!(self, Self::NewConnectionQuota | Self::ConnectionsPerSource)
    }
}

impl Point {
    /// Every point, in the order of its values.
    pub const ALL: [Self; 3] = [Self::Syn, Self::Ack, Self::Gate];

    /// Returns the `point` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Syn => "syn",
            Self::Ack => "ack",
            Self::Gate => "gate",
        }
    }
}

impl Verdict {
    /// Returns the verdict on what a limit refuses, given how the service enforces.
    ///
    /// `unwatched` says that no daemon has been seen for too long: then, as with
    /// an open circuit breaker, limits of one source only observe.
    #[inline(always)]
    pub const fn refused(reason: RefuseReason, service: &Service, unwatched: bool) -> Self {
        let suspended = reason.is_per_source() && (unwatched || service.has(Service::SUSPENDED));
        if service.has(Service::ENFORCE) && !suspended {
            Self::Refuse(reason)
        } else {
            Self::WouldRefuse(reason)
        }
    }

    /// Returns whether the packet must not go on.
    #[inline(always)]
    #[must_use]
    pub const fn is_refusal(self) -> bool {
        matches!(self, Self::Refuse(_))
    }

    /// Returns whether a proven source is over a limit of its own, refused for it or not.
    #[inline(always)]
    #[must_use]
    pub const fn is_over_own_limit(self) -> bool {
        match self {
            Self::Pass(_) => false,
            Self::Refuse(reason) | Self::WouldRefuse(reason) => reason.is_of_proven_source(),
        }
    }

    /// Returns the `verdict` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Pass(_) => "pass",
            Self::Refuse(_) => "refuse",
            Self::WouldRefuse(_) => "would_refuse",
        }
    }

    /// Returns the `reason` label.
    #[must_use]
    pub const fn reason_label(self) -> &'static str {
        match self {
            Self::Pass(reason) => reason.label(),
            Self::Refuse(reason) | Self::WouldRefuse(reason) => reason.label(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `deny` and ceilings are enforced while per-source limits are suspended.
    #[test]
    fn suspension_spares_deny_and_ceilings() {
        let service = Service { flags: Service::ENFORCE | Service::SUSPENDED, ..Service::default() };
        for reason in RefuseReason::ALL {
            let expected =
                if reason.is_per_source() { Verdict::WouldRefuse(reason) } else { Verdict::Refuse(reason) };
            assert_eq!(Verdict::refused(reason, &service, false), expected);
        }
        let watched = Service { flags: Service::ENFORCE, ..Service::default() };
        let limit = RefuseReason::ConnectionsPerSource;
        assert_eq!(Verdict::refused(limit, &watched, false), Verdict::Refuse(limit));
        assert_eq!(Verdict::refused(limit, &watched, true), Verdict::WouldRefuse(limit));
    }

    /// Only the limits of one proven source count for the circuit breaker, refused or not.
    #[test]
    fn the_breaker_counts_limits_of_proven_sources() {
        let of_proven = [RefuseReason::NewConnectionQuota, RefuseReason::ConnectionsPerSource];
        for reason in RefuseReason::ALL {
            let expected = of_proven.contains(&reason);
            assert_eq!(Verdict::Refuse(reason).is_over_own_limit(), expected, "{reason:?}");
            assert_eq!(Verdict::WouldRefuse(reason).is_over_own_limit(), expected, "{reason:?}");
        }
        assert!(!Verdict::Pass(PassReason::WithinLimits).is_over_own_limit());
    }
}
