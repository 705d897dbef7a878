//! GCRA, the arithmetic of the new-connection quota.
//!
//! State is one number, the theoretical arrival time (`tat_ns`), on the clock
//! that the caller brings. A quota of n per minute with burst b is
//! `interval_ns` = 60 s / n and `burst_ns` = (b - 1) intervals: b connections at
//! once, then one per interval.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// How many connections a source may open per time.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Quota {
    /// Time that one connection costs; 0 stands for no quota.
    pub interval_ns: u64,
    /// How far the arrival time may lie ahead of the clock for one more to pass.
    pub burst_ns: u64,
}

impl Quota {
    /// No quota.
    pub const NONE: Self = Self { interval_ns: 0, burst_ns: 0 };

    /// Returns the quota of `count` per `period_ns` with a burst; no quota if `count` is 0.
    #[must_use]
    pub const fn per(count: u32, period_ns: u64, burst: u32) -> Self {
        if count == 0 {
            return Self::NONE;
        }
        let interval_ns = period_ns / count as u64;
        let spare = if burst == 0 { 0 } else { burst as u64 - 1 };
        Self { interval_ns, burst_ns: interval_ns.saturating_mul(spare) }
    }

    /// Returns whether this is a quota at all.
    #[inline(always)]
    #[must_use]
    pub const fn is_some(self) -> bool {
        self.interval_ns != 0
    }
}

/// Charges one connection to a source: returns its next arrival time, or `None`
/// if the source is over its quota and its state must stay as it is.
///
/// The clock is an argument, so that the kernel, the tests and the model run
/// this very function.
#[inline(always)]
#[must_use]
pub const fn charge(tat_ns: u64, now_ns: u64, quota: Quota) -> Option<u64> {
    let base = debt_base(tat_ns, now_ns, quota);
    if base - now_ns > quota.burst_ns {
        return None;
    }
    Some(base.saturating_add(quota.interval_ns))
}

/// Returns whether one more connection would pass, charging nothing.
#[inline(always)]
#[must_use]
pub const fn allows(tat_ns: u64, now_ns: u64, quota: Quota) -> bool {
    debt_base(tat_ns, now_ns, quota) - now_ns <= quota.burst_ns
}

/// Returns the arrival time with its debt cut to what the quota of today can
/// make: burst plus one. A quota that was made tighter does not punish what an
/// earlier one let pass, provided that whoever sees a smaller value stores it.
#[inline(always)]
#[must_use]
pub const fn capped(tat_ns: u64, now_ns: u64, quota: Quota) -> u64 {
    let most = now_ns.saturating_add(quota.burst_ns).saturating_add(quota.interval_ns);
    if tat_ns > most { most } else { tat_ns }
}

/// Returns the arrival time to reckon from, never before `now_ns`: an idle source banks no credit.
#[inline(always)]
const fn debt_base(tat_ns: u64, now_ns: u64, quota: Quota) -> u64 {
    let tat_ns = capped(tat_ns, now_ns, quota);
    if tat_ns < now_ns { now_ns } else { tat_ns }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE_NS: u64 = 60_000_000_000;
    const DAY_MINUTES: u64 = 1_440;

    /// Offers `per_minute` evenly spaced connections for `minutes`; returns how many pass.
    fn offer(tat_ns: &mut u64, from_ns: u64, per_minute: u64, minutes: u64, quota: Quota) -> u64 {
        (0..per_minute * minutes)
            .filter(|n| {
                let now_ns = from_ns + n * MINUTE_NS / per_minute;
                charge(*tat_ns, now_ns, quota).inspect(|next| *tat_ns = *next).is_some()
            })
            .count() as u64
    }

    /// A burst of b passes at once, one more does not, and one more per interval does.
    #[test]
    fn burst_then_one_per_interval() {
        let quota = Quota::per(60, MINUTE_NS, 5);
        let mut tat_ns = 0;
        let now_ns = 7 * MINUTE_NS;
        for n in 0..5 {
            tat_ns =
                charge(tat_ns, now_ns, quota).unwrap_or_else(|| panic!("connection {n} is within the burst"));
        }
        assert_eq!(charge(tat_ns, now_ns, quota), None, "the sixth at once is over the burst");
        assert!(charge(tat_ns, now_ns + quota.interval_ns, quota).is_some(), "one interval buys one");
    }

    /// A day of 1,000 per minute under a quota of 300, observed, leaves no debt:
    /// once enforced, only what is over from then on is refused.
    #[test]
    fn a_day_over_quota_in_observe_is_not_punished() {
        let quota = Quota::per(300, MINUTE_NS, 60);
        let mut tat_ns = 0;
        let passed = offer(&mut tat_ns, 0, 1_000, DAY_MINUTES, quota);
        assert!(passed.abs_diff(300 * DAY_MINUTES + 60) <= 1, "{passed} of the day were within quota");
        let day_ns = DAY_MINUTES * MINUTE_NS;
        let first_minutes = offer(&mut tat_ns, day_ns, 1_000, 10, quota);
        assert!(
            (2_999..=3_001).contains(&first_minutes),
            "300 a minute pass after the switch: {first_minutes}"
        );
        let calm = offer(&mut tat_ns, day_ns + 11 * MINUTE_NS, 299, 10, quota);
        assert_eq!(calm, 2_990, "a source that turned calm is refused nothing");
    }

    /// Debt made under a loose quota counts for at most burst plus one under a tight one.
    #[test]
    fn a_tighter_quota_forgives_old_debt() {
        let tight = Quota::per(60, MINUTE_NS, 2);
        let old_debt_ns = 100 * MINUTE_NS;
        assert_eq!(charge(old_debt_ns, 0, tight), None, "still in debt");
        let stored = capped(old_debt_ns, 0, tight);
        assert!(!allows(stored, 0, tight), "capped debt is debt");
        assert!(allows(stored, tight.interval_ns, tight), "one interval later it is paid");
    }

    proptest! {
        /// In any interval no more pass than the burst plus one per interval.
        #[test]
        fn never_more_than_burst_plus_rate(gaps in prop::collection::vec(0_u64..3_000_000_000, 1..300), burst in 1_u32..20) {
            let quota = Quota::per(60, MINUTE_NS, burst);
            let (mut tat_ns, mut now_ns, mut passed) = (0, 0_u64, 0_u64);
            for gap in gaps {
                now_ns += gap;
                if let Some(next) = charge(tat_ns, now_ns, quota) {
                    tat_ns = next;
                    passed += 1;
                }
            }
            prop_assert!(passed <= u64::from(burst) + now_ns / quota.interval_ns);
        }

        /// `allows` and `charge` agree, and a charge moves the arrival time ahead by at most burst plus one.
        #[test]
        fn allows_is_charge_without_charging(tat_ns: u64, now_ns in 0..u64::MAX / 2, count in 1_u32..10_000, burst in 0_u32..1_000) {
            let quota = Quota::per(count, MINUTE_NS, burst);
            let charged = charge(tat_ns, now_ns, quota);
            prop_assert_eq!(allows(tat_ns, now_ns, quota), charged.is_some());
            if let Some(next) = charged {
                prop_assert!(next > now_ns && next - now_ns <= quota.burst_ns + quota.interval_ns);
            }
        }
    }
}
