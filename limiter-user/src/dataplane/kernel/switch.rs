//! Policies made beside those that packets go by: what one switch puts in force.

use aya::maps::{LpmTrie, MapData, lpm_trie::Key};
use limiter_common::{addr::Addr, map::ClassOf, names, policy::Policy};

use super::tables::{Owned, capacity, failed};
use crate::{clock::Now, dataplane::DataplaneError, policy::Compiled};

/// `BPF_F_NO_PREALLOC`, which tries must have.
const NO_PREALLOC: u32 = 1;

/// Which slots of `TRIES` packets may go by.
#[derive(Debug, Default)]
pub(super) struct TrieSlots {
    pub(super) in_use: Vec<u32>,
}

impl TrieSlots {
    /// Returns the slots that no packet goes by: an update of `POLICIES` waits for those that did.
    pub(super) fn free(&self) -> impl Iterator<Item = u32> {
        (0..capacity(names::TRIE_SLOTS)).filter(|slot| !self.in_use.contains(slot))
    }
}

/// A policy with its trie, not in force yet.
pub(super) struct Placed {
    pub(super) policy: Box<Policy>,
    pub(super) trie: LpmTrie<MapData, Addr, ClassOf>,
}

impl Placed {
    /// Makes it; `slot` is the one that its trie is for.
    pub(super) fn make(compiled: &Compiled, slot: Option<u32>) -> Owned<Self> {
        let mut trie = LpmTrie::<_, Addr, ClassOf>::create(capacity(names::PREFIXES), NO_PREALLOC)
            .map_err(failed("TRIES", "making a trie"))?;
        for prefix in &compiled.prefixes {
            trie.insert(&Key::new(prefix.prefix_len, prefix.addr), prefix.class_of, 0)
                .map_err(failed("TRIES", "inserting a prefix"))?;
        }
        let mut policy = compiled.policy.clone();
        let prefixes = compiled.prefixes.iter().map(|prefix| (prefix.addr, prefix.prefix_len));
        policy.index(Now::read().monotonic_ns, prefixes);
        policy.trie_slot = slot.ok_or_else(|| DataplaneError::Map {
            map: "TRIES",
            operation: "finding a free slot",
            source: anyhow::anyhow!("all {} are in use", names::TRIE_SLOTS),
        })?;
        Ok(Self { policy, trie })
    }
}

/// What one switch puts in force.
pub(super) struct Prepared {
    pub(super) policy: Placed,
    pub(super) fallback: Option<(Placed, u64)>,
}

impl Prepared {
    /// Returns the slots of their tries.
    pub(super) fn slots(&self) -> impl Iterator<Item = u32> {
        let fallback = self.fallback.iter().map(|(placed, _)| placed.policy.trie_slot);
        std::iter::once(self.policy.policy.trie_slot).chain(fallback)
    }

    /// Returns the revision, the higher one of the two.
    pub(super) fn revision(&self) -> u32 {
        let fallback = self.fallback.as_ref().map_or(0, |(placed, _)| placed.policy.revision);
        self.policy.policy.revision.max(fallback)
    }
}
