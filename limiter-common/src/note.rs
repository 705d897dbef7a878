//! Classes of addresses, noted where one load finds them.

use crate::names;

/// How the class of one address in one service is noted.
///
/// A note holds for one policy and one address: it is mixed with the stamp of the policy, so that a
/// switch ends all notes at once, and with the hash of address and service, so that one
/// which another address left in the same place is none. 59 bits of a hash with a secret seed say so.
#[derive(Clone, Copy, Debug)]
pub struct ClassNote(u64);

impl ClassNote {
    /// Resolution of stamps: their lower bits are those of the class. No two policies are made so fast.
    const STAMP_NS: u64 = names::CLASSES as u64;

    /// Returns the stamp of a policy that was made at this time.
    #[must_use]
    pub const fn stamp(made_at_ns: u64) -> u64 {
        made_at_ns & !(Self::STAMP_NS - 1)
    }

    /// Returns what notes of an address and service with this hash are made with, while a policy is in force.
    #[inline(always)]
    #[must_use]
    pub const fn new(stamp: u64, hash: u64) -> Self {
        Self(stamp ^ hash)
    }

    /// Returns the note of a class.
    #[inline(always)]
    #[must_use]
    pub const fn of(self, class: u32) -> u64 {
        self.0 ^ class as u64
    }

    /// Returns the class in a note, if it is one of this policy and address.
    #[inline(always)]
    #[must_use]
    pub const fn class_in(self, note: u64) -> Option<u32> {
        let class = note ^ self.0;
        if class < Self::STAMP_NS { Some(class as u32) } else { None }
    }
}

const _: () = assert!(ClassNote::STAMP_NS.is_power_of_two());

#[cfg(test)]
mod tests {
    use super::*;

    /// A note is one of its own policy and address only, and an empty place has none.
    #[test]
    fn a_note_ends_with_its_policy() {
        let (stamp, hash) = (ClassNote::stamp(1_000_000), 0x1234_5678_9abc_def0);
        let later = ClassNote::stamp(1_000_000 + ClassNote::STAMP_NS);
        for class in 0..u32::try_from(names::CLASSES).unwrap() {
            let note = ClassNote::new(stamp, hash);
            assert_eq!(note.class_in(note.of(class)), Some(class));
            assert_eq!(ClassNote::new(later, hash).class_in(note.of(class)), None);
            assert_eq!(ClassNote::new(stamp, !hash).class_in(note.of(class)), None);
            assert_eq!(note.class_in(0), None);
        }
    }
}
