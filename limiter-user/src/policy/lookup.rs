//! The prefixes of a policy: each rule resolved against the wider ones.
//!
//! Sorted by address and then length, a prefix comes right after those that
//! cover it, so one pass with a stack of the covering ones sees what each
//! inherits: O(n log n) for the sort, O(n) for the rest.

use ipnet::IpNet;
use limiter_common::{addr::Addr, map::ClassOf, names};

use super::{CompiledPrefix, Rule, Table};

/// A prefix in the common key space.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    addr: u128,
    len: u32,
}

/// All of IPv4, `::ffff:0:0/96`.
const V4_ROOT: Key = Key { addr: 0xffff << 32, len: 96 };

impl Key {
    /// Returns the key of a prefix without host bits.
    fn of(prefix: IpNet) -> Self {
        match prefix {
            IpNet::V4(v4) => Self {
                addr: V4_ROOT.addr | u128::from(v4.addr().to_bits()),
                len: V4_ROOT.len + u32::from(v4.prefix_len()),
            },
            IpNet::V6(v6) => Self { addr: v6.addr().to_bits(), len: u32::from(v6.prefix_len()) },
        }
    }

    fn covers(self, other: Self) -> bool {
        let differs = self.addr ^ other.addr;
        self.len <= other.len && differs.checked_shr(128 - self.len).unwrap_or(0) == 0
    }
}

/// Returns the prefixes that the packet path goes by, leaving out those that say what a wider one says.
pub(super) fn prefixes(table: &Table) -> Vec<CompiledPrefix> {
    let mut rules: Vec<(Key, Option<&Rule>)> =
        table.rules().iter().map(|rule| (Key::of(rule.prefix), Some(rule))).collect();
    // `::/0` means IPv6; without an entry of its own IPv4 would inherit from it.
    if rules.iter().any(|(key, _)| key.len < V4_ROOT.len && key.covers(V4_ROOT)) {
        rules.push((V4_ROOT, None));
    }
    rules.sort_unstable_by_key(|(key, rule)| (*key, rule.map(Rule::rank)));

    let mut covering: Vec<(Key, ClassOf)> = Vec::new();
    let mut prefixes = Vec::new();
    for group in rules.chunk_by(|(a, _), (b, _)| a == b) {
        let Some(&(key, _)) = group.first() else { continue };
        while covering.pop_if(|(wider, _)| !wider.covers(key)).is_some() {}
        let inherited = covering.last().map_or_else(ClassOf::default, |(_, class_of)| *class_of);
        let base = if key == V4_ROOT { ClassOf::default() } else { inherited };
        let class_of = resolve(base, group.iter().filter_map(|(_, rule)| *rule));
        if class_of != inherited {
            covering.push((key, class_of));
            let addr = Addr::from_octets(key.addr.to_be_bytes());
            prefixes.push(CompiledPrefix { addr, prefix_len: key.len, class_of });
        }
    }
    prefixes
}

/// Returns the class by service for rules of one prefix, the best rule first.
fn resolve<'a>(base: ClassOf, rules: impl Iterator<Item = &'a Rule>) -> ClassOf {
    let mut class_of = base;
    let mut decided = [false; names::SERVICES];
    // Id 0 is no service: its class stays as it is.
    decided[0] = true;
    for rule in rules {
        for (service, (class, decided)) in (0..).zip(class_of.class.iter_mut().zip(&mut decided)) {
            if !*decided && rule.services.contains(service) {
                *class = u8::try_from(rule.class).unwrap_or_default();
                *decided = true;
            }
        }
    }
    class_of
}
