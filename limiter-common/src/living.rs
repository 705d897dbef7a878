//! What a recount finds: living sockets, counted at their sources, services and classes.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::names;

/// Living sockets that are charged to one source; a part of its entry.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Living {
    /// How many the recount found.
    pub count: u32,
    /// The number of the recount; wraps.
    pub recount: u16,
    /// The class that they are counted under: of several the one with the lowest limit.
    pub class: u16,
}

impl Living {
    /// Returns the number of a recount as entries have it.
    #[inline(always)]
    #[must_use]
    pub const fn number(recount: u64) -> u16 {
        recount as u16
    }

    /// Returns it with one more socket of a class, found by a recount; `is_tighter` says whether the limit
    /// of that class is lower than that of another.
    #[inline(always)]
    #[must_use]
    pub fn and_one(self, recount: u16, class: u16, is_tighter: impl FnOnce(u16) -> bool) -> Self {
        if self.recount != recount || self.count == 0 {
            return Self { count: 1, recount, class };
        }
        let class = if class != self.class && is_tighter(self.class) { class } else { self.class };
        Self { count: self.count.wrapping_add(1), recount, class }
    }

    /// Returns what a recount found: nothing if another one was here last.
    #[must_use]
    pub const fn in_recount(self, recount: u16) -> Self {
        if self.recount == recount { self } else { Self { count: 0, ..self } }
    }
}

/// Living sockets of all sources; value of `LIVING`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct LivingSums {
    /// By [`class_cell`](names::class_cell).
    pub by_class: [u32; names::SERVICES * names::CLASSES],
    /// Those that count in the service's total, by service id.
    pub in_total: [u32; names::SERVICES],
}

impl Default for LivingSums {
    fn default() -> Self {
        Self { by_class: [0; names::SERVICES * names::CLASSES], in_total: [0; names::SERVICES] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each recount counts from the beginning, and what another one left is nothing to it.
    #[test]
    fn recounts_do_not_add_up() {
        let never = |_| unreachable!("the class is the same");
        let first = Living::default().and_one(7, 3, never).and_one(7, 3, never);
        assert_eq!((first.in_recount(7).count, first.in_recount(8).count), (2, 0));
        assert_eq!(first.and_one(8, 3, never), Living { count: 1, recount: 8, class: 3 });
    }

    /// An entry that no recount was at yet has none, whatever its number is.
    #[test]
    fn a_new_entry_starts_at_one() {
        assert_eq!(Living::default().and_one(0, 5, |_| false), Living { count: 1, recount: 0, class: 5 });
    }

    /// Of several classes the tightest names the source, in whichever order they come.
    #[test]
    fn the_tightest_class_stays() {
        let lower = |class: u16| move |other: u16| class < other;
        for order in [[4, 9, 6], [9, 4, 6], [6, 9, 4]] {
            let found =
                order.iter().fold(Living::default(), |found, &class| found.and_one(1, class, lower(class)));
            assert_eq!(found, Living { count: 3, recount: 1, class: 4 });
        }
    }
}
