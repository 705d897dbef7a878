//! What the sources of a bucket hold together, and how often one of them gave something up, in one
//! word: an upper bound on what each of them holds, without a look at any.

/// Bits of the sum.
const SUM_BITS: u32 = 32;

/// Adds one connection when added to a word.
pub const ONE_MORE: u64 = 1;
/// Takes away one connection, and says so, when added to a word.
pub const ONE_LESS: u64 = corrected(-1);

/// Returns what changes the sum by `delta` when added to a word, and says so: what was refused before
/// does not stand any more.
#[inline(always)]
#[must_use]
pub const fn corrected(delta: i32) -> u64 {
    (1_u64 << SUM_BITS).wrapping_add_signed(delta as i64)
}

/// Returns the most that one source of the bucket can hold.
#[inline(always)]
#[must_use]
pub const fn at_most(word: u64) -> u32 {
    word as u32
}

/// Returns how often a source of the bucket came to hold less; wraps.
#[inline(always)]
#[must_use]
pub const fn room(word: u64) -> u32 {
    (word >> SUM_BITS) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever comes and goes in turn, the sum is that of what is there, and room counts what went.
        #[test]
        fn sum_and_room_do_not_leak_into_each_other(steps in prop::collection::vec((0_u32..50, 0_u32..50), 0..50), room_before: u32) {
            let mut word = u64::from(room_before) << SUM_BITS;
            let (mut held, mut gone) = (0, 0);
            for (more, less) in steps {
                for _ in 0..more {
                    word = word.wrapping_add(ONE_MORE);
                }
                held += more;
                for _ in 0..less.min(held) {
                    word = word.wrapping_add(ONE_LESS);
                }
                gone += less.min(held);
                held -= less.min(held);
            }
            prop_assert_eq!(at_most(word), held);
            prop_assert_eq!(room(word), room_before.wrapping_add(gone));
            let drift = i32::try_from(held).unwrap();
            word = word.wrapping_add(corrected(7)).wrapping_add(corrected(-7 - drift));
            prop_assert_eq!((at_most(word), room(word)), (0, room_before.wrapping_add(gone + 2)));
        }
    }
}
