//! The counter cell of each verdict at each point, and the way back.

use crate::verdict::{PassReason, Point, RefuseReason, Verdict};

/// How many cells one point has: pass reasons, then each refuse reason in both modes.
const CELLS_PER_POINT: usize = PassReason::ALL.len() + 2 * RefuseReason::ALL.len();
/// How many cells a (service, class, family) has.
pub const CELLS: usize = CELLS_PER_POINT * Point::ALL.len();

impl Verdict {
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
}
