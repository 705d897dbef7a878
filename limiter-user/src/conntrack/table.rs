//! The entries that matter, by service and state.
//!
//! Lean: 48 bytes an entry, with a bound on how many. Filled by events, and by
//! looks at the whole table, which go on while events come in: what an event
//! has said during a look is newer than what the look says.

use std::collections::{HashMap, HashSet};

use super::{
    guard::{Ends, Guarded, SERVICES},
    message::{Entry, State},
};

/// Entries that are kept; a choice: a table of this size takes 26 MiB, and twice the size of the kernel's own is
/// beyond what most hosts allow it.
pub const ENTRIES_MAX: usize = 458_752;

/// What tells entries apart: the ends of the socket, and the zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// As the socket sees it.
    pub ends: Ends,
    /// Its zone; 0 without.
    pub zone: u16,
}

/// What is known of an entry.
#[derive(Clone, Copy, Debug)]
struct Known {
    id: u32,
    service: u8,
    state: State,
    /// Whether an event ever told of it: the kernel tells nothing of entries from before anybody listened.
    is_heard: bool,
    /// The last look that saw it, or during which an event told of it.
    look: u8,
}

const _: () = assert!(size_of::<(Key, Known)>() == 48, "a connection costs this much");

/// The entries that matter.
#[derive(Debug, Default)]
pub struct Table {
    entries: HashMap<Key, Known>,
    counts: Counts,
    unheard: usize,
    overflow: u64,
    look: u8,
    /// What events removed during a look, which may have been taken before; none outside of one.
    removed: Option<HashSet<(Key, u32)>>,
}

/// Entries by service id and state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts([[u32; State::ALL.len()]; SERVICES]);

impl Default for Counts {
    fn default() -> Self {
        Self([[0; State::ALL.len()]; SERVICES])
    }
}

impl Counts {
    /// Returns how many entries of a service are in a state.
    #[must_use]
    pub fn of(&self, service: u32, state: State) -> u32 {
        self.0.get(service as usize).map_or(0, |states| states[state as usize])
    }

    /// Returns how many entries a service has.
    #[must_use]
    pub fn service(&self, service: u32) -> u32 {
        self.0.get(service as usize).map_or(0, |states| states.iter().sum())
    }

    fn add(&mut self, known: Known, by: i32) {
        if let Some(states) = self.0.get_mut(usize::from(known.service)) {
            let count = &mut states[known.state as usize];
            *count = count.saturating_add_signed(by);
        }
    }
}

/// What a look at the whole table changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Entries there are.
    pub entries: usize,
    /// That events had not told of.
    pub found: u64,
    /// That were known and are not there.
    pub gone: u64,
}

impl Table {
    /// Takes in an event about an entry that is there.
    pub fn update(&mut self, entry: &Entry, guarded: Guarded) {
        let key = Key { ends: guarded.ends, zone: entry.zone };
        let before = self.entries.get(&key);
        let state = entry.state.or(before.map(|known| known.state)).unwrap_or_default();
        self.put(key, entry.id, guarded.service, state, true);
    }

    /// Takes in an event about an entry that is gone.
    pub fn remove(&mut self, entry: &Entry, guarded: Guarded) {
        let key = Key { ends: guarded.ends, zone: entry.zone };
        if self.entries.get(&key).is_some_and(|known| known.id == entry.id) {
            self.take(key);
        }
        if let Some(removed) = &mut self.removed {
            removed.insert((key, entry.id));
        }
    }

    /// Begins a look at the whole table.
    pub fn begin_look(&mut self) {
        self.look = self.look.wrapping_add(1);
        self.removed = Some(HashSet::new());
    }

    /// Takes in an entry that the look found; returns whether it was not known.
    pub fn found(&mut self, entry: &Entry, guarded: Guarded) -> bool {
        let key = Key { ends: guarded.ends, zone: entry.zone };
        let is_removed = self.removed.as_ref().is_some_and(|removed| removed.contains(&(key, entry.id)));
        if entry.is_dying || is_removed {
            return false;
        }
        let before = self.entries.get(&key).copied();
        if before.is_some_and(|known| known.is_heard && known.look == self.look) {
            return false;
        }
        let same = before.filter(|known| known.id == entry.id);
        let is_heard = same.is_some_and(|known| known.is_heard);
        self.put(key, entry.id, guarded.service, entry.state.unwrap_or_default(), is_heard);
        same.is_none()
    }

    /// Ends a look: what it has not seen is not there; returns how many those were.
    pub fn end_look(&mut self) -> u64 {
        let look = self.look;
        let (counts, unheard, mut gone) = (&mut self.counts, &mut self.unheard, 0);
        self.entries.retain(|_, known| {
            let stays = known.look == look;
            if !stays {
                counts.add(*known, -1);
                *unheard -= usize::from(!known.is_heard);
                gone += 1;
            }
            stays
        });
        self.removed = None;
        // A table that was once full of short connections gives the room back.
        if self.entries.capacity() > 4 * self.entries.len().max(1_024) {
            self.entries.shrink_to(2 * self.entries.len());
        }
        gone
    }

    /// Gives up a look that could not be ended.
    pub fn abandon_look(&mut self) {
        self.removed = None;
    }

    /// Returns entries by service and state.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Returns how many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns how many entries no event ever told of: their end will not be told either.
    #[must_use]
    pub const fn unheard(&self) -> usize {
        self.unheard
    }

    /// Returns how often an entry found no room.
    #[must_use]
    pub const fn overflow(&self) -> u64 {
        self.overflow
    }

    /// Returns every entry: its key, its service and its state.
    pub fn iter(&self) -> impl Iterator<Item = (Key, u32, State)> + '_ {
        self.entries.iter().map(|(key, known)| (*key, u32::from(known.service), known.state))
    }

    fn put(&mut self, key: Key, id: u32, service: u32, state: State, is_heard: bool) {
        let service = u8::try_from(service).unwrap_or(u8::MAX);
        self.take(key);
        if self.entries.len() >= ENTRIES_MAX {
            self.overflow += 1;
            return;
        }
        let known = Known { id, service, state, is_heard, look: self.look };
        self.counts.add(known, 1);
        self.unheard += usize::from(!is_heard);
        self.entries.insert(key, known);
    }

    fn take(&mut self, key: Key) {
        if let Some(known) = self.entries.remove(&key) {
            self.counts.add(known, -1);
            self.unheard -= usize::from(!known.is_heard);
        }
    }
}

#[cfg(test)]
mod tests;
