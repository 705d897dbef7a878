//! How long a connection lasted: when it began is in the state of its charge.
//!
//! Evidence for `limiterctl suggest`; no verdict looks at it.

use crate::map::Charge;

/// A connection this short is brief. A choice: a probe asks and goes, and a server may take a moment to notice.
pub const BRIEF_S: u32 = 5;
/// The upper half of the state, above the bits of the charge.
const BEGAN_SHIFT: u32 = 32;

impl Charge {
    /// Returns what says in a state that the connection began in this second of `CLOCK_MONOTONIC`.
    #[inline(always)]
    #[must_use]
    pub const fn began(second: u32) -> u64 {
        (second as u64) << BEGAN_SHIFT
    }

    /// Returns for how long the connection of a state has existed; `None` for one from before, which was adopted.
    #[inline(always)]
    #[must_use]
    pub const fn age_s(state: u64, now_s: u32) -> Option<u32> {
        let began_s = (state >> BEGAN_SHIFT) as u32;
        if began_s == 0 { None } else { Some(now_s.saturating_sub(began_s)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The beginning of a connection is beside the bits of its charge, and a connection from before has none.
    #[test]
    fn a_state_tells_the_age() {
        let state = Charge::CHARGED | Charge::IN_TOTAL | Charge::began(100);
        assert_eq!(state & (Charge::CHARGED | Charge::IN_TOTAL | Charge::RELEASED), 3);
        assert_eq!(Charge::age_s(state, 107), Some(7));
        assert_eq!(Charge::age_s(Charge::CHARGED, 107), None);
    }
}
