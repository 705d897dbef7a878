//! Randomness from one number: the seed that a failure prints makes the same cases again.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

/// The environment variable that repeats the run which printed it.
const SEED: &str = "LIMITER_SEED";

/// `SplitMix64`: small, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Begins with the seed of the environment, else with one of the clock, and prints it.
    #[must_use]
    pub fn seeded() -> Self {
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let seed = env::var(SEED).ok().and_then(|seed| seed.parse().ok()).unwrap_or(clock() as u64);
        println!("{SEED}={seed}");
        Self(seed)
    }

    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "there is always a next one")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// One time in `times`.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of these.
    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.next()).expect("64 bits") % of.len()].clone()
    }
}
