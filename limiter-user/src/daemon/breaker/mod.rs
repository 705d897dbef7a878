//! The circuit breaker: the limiter must not be the outage.
//!
//! When most of the distinct proven sources of a service are over limits of
//! their own, it is the limits that are wrong, and they only observe for a while.
//! One loud source is one vote; denials and ceilings have none and stay. Here is
//! what follows from what; [`evidence`] says what was seen, [`look`] does it.
//!
//! ```text
//!            most are refused               retry_after, and fewer would be refused
//!   closed ───────────────────► open ─────────────────────────────► trial ───► closed
//!                                ▲ │ most would still be refused      │  a window without
//!                                └─┴──────────────────────────────────┘  most being refused
//! ```

use crate::config::BreakerSettings;

use self::evidence::{Span, Trip};

pub mod evidence;
pub mod look;

/// How often waiting for the next trial doubles at most: an hour for the longest `retry_after` is
/// sixteen then, and whoever changes the policy ends the waiting.
const DOUBLINGS_MAX: u32 = 4;

/// What the breaker of a service is up to. Times are `CLOCK_MONOTONIC` seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Limits are enforced.
    #[default]
    Closed,
    /// Limits of single sources only observe.
    Open {
        /// Why.
        why: Why,
        /// When they are tried again, if it looks safe then.
        retry_at_s: u64,
    },
    /// Limits are enforced again; whether that is for good is seen.
    Trial {
        /// Why it was open.
        why: Why,
        /// Since when.
        since_s: u64,
    },
}

/// Why a breaker opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// What was seen.
    pub trip: Trip,
    /// Some of the sources that were over their limits, as people write them.
    pub sources: Vec<String>,
    /// How often in a row it opened again, or stayed open, after that.
    pub again: u32,
}

/// What changed for a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Limits are suspended.
    Opened,
    /// It was time for a trial, and it would have been an outage.
    StayedOpen,
    /// Limits are enforced again, on trial.
    Tried,
    /// The trial went well.
    Closed,
}

impl State {
    /// Returns whether limits of single sources are suspended.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Open { .. })
    }

    /// Returns whether this moment needs evidence: while limits are enforced when somebody was
    /// refused since the last look, else when it is time for a trial.
    #[must_use]
    pub const fn wants_evidence(&self, refused: bool, now_s: u64) -> bool {
        match self {
            Self::Closed | Self::Trial { .. } => refused,
            Self::Open { retry_at_s, .. } => *retry_at_s <= now_s,
        }
    }

    /// Returns since when evidence counts.
    ///
    /// A trial is not judged by who was over a limit before it; but whoever was seen before it is
    /// still there, and a few loud sources that come first are not most.
    #[must_use]
    pub fn span(&self, settings: &BreakerSettings, now_s: u64) -> Span {
        let window_s = now_s.saturating_sub(settings.window.as_secs());
        let over_from_s = match self {
            Self::Trial { since_s, .. } => window_s.max(*since_s),
            Self::Closed | Self::Open { .. } => window_s,
        };
        Span { seen_from_s: window_s, over_from_s }
    }

    /// Moves on, given what speaks for opening.
    pub fn step(
        &mut self,
        trip: Option<(Trip, Vec<String>)>,
        settings: &BreakerSettings,
        now_s: u64,
    ) -> Option<Change> {
        let opened = |(trip, sources), again: u32| {
            let wait_s = settings.retry_after.as_secs() << again.min(DOUBLINGS_MAX);
            Self::Open { why: Why { trip, sources, again }, retry_at_s: now_s + wait_s }
        };
        let (next, change) = match (std::mem::take(self), trip) {
            (Self::Closed, None) => return None,
            (Self::Closed, Some(seen)) => (opened(seen, 0), Change::Opened),
            (Self::Open { why, retry_at_s }, _) if now_s < retry_at_s => {
                *self = Self::Open { why, retry_at_s };
                return None;
            }
            (Self::Open { why, .. }, Some(seen)) => (opened(seen, why.again + 1), Change::StayedOpen),
            (Self::Open { why, .. }, None) => (Self::Trial { why, since_s: now_s }, Change::Tried),
            (Self::Trial { why, .. }, Some(seen)) => (opened(seen, why.again + 1), Change::Opened),
            (Self::Trial { why, since_s }, None) if now_s < since_s + settings.window.as_secs() => {
                *self = Self::Trial { why, since_s };
                return None;
            }
            (Self::Trial { .. }, None) => (Self::Closed, Change::Closed),
        };
        *self = next;
        Some(change)
    }

    /// Brings the next trial forward: the policy was changed, perhaps to what is right.
    pub fn hurry(&mut self, settings: &BreakerSettings, now_s: u64) {
        if let Self::Open { why, retry_at_s } = self {
            *retry_at_s = (*retry_at_s).min(now_s + settings.window.as_secs());
            why.again = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> (Trip, Vec<String>) {
        (Trip::Most { over: 4, seen: 4 }, vec!["35.191.0.1".to_owned()])
    }

    /// Settings: a window of 30 s, tried again after 60 s.
    fn settings() -> BreakerSettings {
        BreakerSettings::default()
    }

    /// It opens at once, is tried when fewer would be refused, and closes after a window.
    #[test]
    fn a_breaker_opens_is_tried_and_closes() {
        let (mut state, settings) = (State::default(), settings());
        assert_eq!(state.step(None, &settings, 1), None);
        assert_eq!(state.step(Some(seen()), &settings, 2), Some(Change::Opened));
        assert!(state.is_open() && !state.wants_evidence(true, 61) && state.wants_evidence(false, 62));
        assert_eq!(state.step(None, &settings, 61), None, "not before its time");
        assert_eq!(state.step(None, &settings, 62), Some(Change::Tried));
        assert!(!state.is_open());
        assert_eq!(state.step(None, &settings, 91), None);
        assert_eq!(state.step(None, &settings, 92), Some(Change::Closed));
        assert_eq!(state, State::Closed);
    }

    /// A trial that would be an outage does not take place, and one that is ends at once; each doubles the wait.
    #[test]
    fn a_trial_is_never_the_outage() {
        let (mut state, settings) = (State::default(), settings());
        state.step(Some(seen()), &settings, 0);
        assert_eq!(state.step(Some(seen()), &settings, 60), Some(Change::StayedOpen));
        assert!(!state.wants_evidence(true, 179) && state.wants_evidence(true, 180), "twice as long");
        assert_eq!(state.step(None, &settings, 180), Some(Change::Tried));
        let span = Span { seen_from_s: 152, over_from_s: 180 };
        assert_eq!(state.span(&settings, 182), span, "refusals from before the trial have no vote");
        assert_eq!(state.step(Some(seen()), &settings, 182), Some(Change::Opened));
        assert!(matches!(state, State::Open { retry_at_s: 422, .. }), "four times as long: {state:?}");
        for _ in 0..9 {
            let at_s = if let State::Open { retry_at_s, .. } = state { retry_at_s } else { 0 };
            state.step(Some(seen()), &settings, at_s);
            assert!(matches!(state, State::Open { retry_at_s, .. } if retry_at_s <= at_s + 16 * 60));
        }
    }

    /// Whoever changes the policy does not wait for the back-off.
    #[test]
    fn a_change_of_policy_brings_the_trial_forward() {
        let (mut state, settings) = (State::default(), settings());
        for at_s in [0, 60, 180, 420] {
            state.step(Some(seen()), &settings, at_s);
        }
        state.hurry(&settings, 430);
        assert!(matches!(&state, State::Open { retry_at_s: 460, why } if why.again == 0), "{state:?}");
    }
}
