//! Who is exempt by the policy in force: the longest prefix, found by hashing.
//!
//! The table of rules answers the same in time that grows with its length,
//! which is too long for ten thousand sources and a hundred thousand prefixes.

use std::collections::{BTreeSet, HashMap};

use limiter_common::{
    addr::Addr,
    limits::Treatment,
    map::{ClassOf, SourceKey},
    policy::CLASS_DEFAULT,
};

use crate::policy::Compiled;

/// The prefixes of a policy, by length.
pub(super) struct Exempt<'a> {
    compiled: &'a Compiled,
    lengths: BTreeSet<u32>,
    prefixes: HashMap<(u32, Addr), &'a ClassOf>,
}

impl<'a> Exempt<'a> {
    /// Takes in a policy.
    pub(super) fn of(compiled: &'a Compiled) -> Self {
        let key =
            |entry: &'a crate::policy::CompiledPrefix| ((entry.prefix_len, entry.addr), &entry.class_of);
        let lengths = compiled.prefixes.iter().map(|entry| entry.prefix_len).collect();
        Self { compiled, lengths, prefixes: compiled.prefixes.iter().map(key).collect() }
    }

    /// Returns whether a source is exempt.
    pub(super) fn has(&self, key: &SourceKey) -> bool {
        let matching = |len: &u32| self.prefixes.get(&(*len, key.addr.masked(Addr::mask(*len))));
        let class = self.lengths.iter().rev().find_map(matching).map_or(CLASS_DEFAULT, |class_of| {
            class_of.class.get(key.service as usize).map_or(CLASS_DEFAULT, |class| u32::from(*class))
        });
        self.compiled.policy.limits_of(key.service, class).treatment() == Treatment::Exempt
    }
}
