//! Verdicts, their reasons, the points they fall at, and the counter cell of each.
//!
//! Discriminants index the per-CPU counters and labels go into metrics.
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

/// How many cells one point has: pass reasons, then each refuse reason in both modes.
const CELLS_PER_POINT: usize = PassReason::ALL.len() + 2 * RefuseReason::ALL.len();
/// How many cells a (service, class, family) has.
pub const CELLS: usize = CELLS_PER_POINT * Point::ALL.len();

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

    /// Returns the counter cell of this verdict at `point`, less than [`CELLS`].
    #[inline(always)]
    #[must_use]
    pub const fn cell(self, point: Point) -> usize {
        let within = match self {
            Self::Pass(reason) => reason as usize,
            Self::Refuse(reason) => PassReason::ALL.len() + 2 * reason as usize,
            Self::WouldRefuse(reason) => PassReason::ALL.len() + 2 * reason as usize + 1,
        };
        point as usize * CELLS_PER_POINT + within
    }

    /// Returns the point and verdict that a counter cell counts.
    #[must_use]
    pub fn of_cell(cell: usize) -> Option<(Point, Self)> {
        let point = *Point::ALL.get(cell / CELLS_PER_POINT)?;
        let within = cell % CELLS_PER_POINT;
        let verdict = match within.checked_sub(PassReason::ALL.len()) {
            None => Self::Pass(*PassReason::ALL.get(within)?),
            Some(n) if n % 2 == 0 => Self::Refuse(*RefuseReason::ALL.get(n / 2)?),
            Some(n) => Self::WouldRefuse(*RefuseReason::ALL.get(n / 2)?),
        };
        Some((point, verdict))
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
    use std::collections::HashSet;

    use super::*;

    /// Every verdict at every point has a cell of its own, and the cell tells it back.
    #[test]
    fn cells_are_distinct_and_reversible() {
        let verdicts = PassReason::ALL
            .map(Verdict::Pass)
            .into_iter()
            .chain(RefuseReason::ALL.map(Verdict::Refuse))
            .chain(RefuseReason::ALL.map(Verdict::WouldRefuse));
        let mut seen = HashSet::new();
        for verdict in verdicts {
            for point in Point::ALL {
                let cell = verdict.cell(point);
                assert!(cell < CELLS && seen.insert(cell), "{verdict:?} at {point:?} shares cell {cell}");
                assert_eq!(Verdict::of_cell(cell), Some((point, verdict)));
            }
        }
        assert_eq!(seen.len(), CELLS, "no cell is left over");
    }

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
}
