//! Classes of many addresses, looked up as the packet path does.
//!
//! For questions about thousands of sources at once; a single address is
//! explained by [`Table::winner`](super::Table::winner), which also names the rule.

use std::collections::HashMap;

use limiter_common::{addr::Addr, map::ClassOf, policy::CLASS_DEFAULT};

use super::CompiledPrefix;

/// The prefixes of a policy by length, the longest first.
#[derive(Debug)]
pub struct Classes {
    by_length: Vec<(Addr, HashMap<Addr, ClassOf>)>,
}

impl Classes {
    /// Returns the classes of these prefixes.
    #[must_use]
    pub fn of(prefixes: &[CompiledPrefix]) -> Self {
        let mut by_length: HashMap<u32, HashMap<Addr, ClassOf>> = HashMap::new();
        for prefix in prefixes {
            by_length.entry(prefix.prefix_len).or_default().insert(prefix.addr, prefix.class_of);
        }
        let mut by_length: Vec<_> = by_length.into_iter().collect();
        by_length.sort_unstable_by_key(|(length, _)| std::cmp::Reverse(*length));
        Self { by_length: by_length.into_iter().map(|(length, map)| (Addr::mask(length), map)).collect() }
    }

    /// Returns the class of an address in a service.
    #[must_use]
    pub fn class_of(&self, addr: Addr, service: u32) -> u32 {
        let found = self.by_length.iter().find_map(|(mask, map)| map.get(&addr.masked(*mask)));
        found
            .and_then(|found| found.class.get(service as usize))
            .map_or(CLASS_DEFAULT, |class| (*class).into())
    }
}
