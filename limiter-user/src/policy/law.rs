//! Cases: what is looked up equals the law of the table, spelled out; 100,000
//! prefixes in time.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use ipnet::IpNet;
use limiter_common::{addr::Addr, limits::Treatment, policy::CLASS_DEFAULT};
use proptest::prelude::*;

use super::*;
use crate::config::prefix;

/// Looks an address up the way the trie does: the longest entry that covers it.
pub(super) fn class_of(compiled: &[CompiledPrefix], address: IpAddr, service: u32) -> u32 {
    let address = Addr::from(address);
    compiled
        .iter()
        .filter(|entry| address.masked(Addr::mask(entry.prefix_len)) == entry.addr)
        .max_by_key(|entry| entry.prefix_len)
        .map_or(CLASS_DEFAULT, |entry| u32::from(entry.class_of.class[service as usize]))
}

/// 100,000 prefixes compile in the time of a reload nobody notices.
///
/// The bound is loose: the build under test may be a slow one.
#[test]
fn a_hundred_thousand_prefixes_compile_in_time() {
    let rules: Vec<Rule> = (0..100_000_u32)
        .map(|n| {
            let address = Ipv4Addr::from_bits(n.wrapping_mul(0x9e37_79b9));
            let prefix = prefix::canonical(IpNet::new(address.into(), 12 + (n % 21) as u8).unwrap());
            let treatment = [Treatment::Exempt, Treatment::Limited, Treatment::Denied][n as usize % 3];
            Rule {
                prefix,
                services: ServiceSet::of([n % 3 + 1]),
                class: n % 9,
                treatment,
                origin: Origin::Runtime,
            }
        })
        .collect();
    let table = Table::of(rules);
    let start = Instant::now();
    let prefixes = lookup::prefixes(&table);
    let took = start.elapsed();
    println!("{} prefixes from 100,000 rules in {took:?}", prefixes.len());
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert!(prefixes.len() > 50_000, "{}", prefixes.len());
}

/// Few addresses and odd lengths, so that prefixes cover and equal each other.
fn prefixes() -> impl Strategy<Value = IpNet> {
    let v4 = (0_u32..8, 0_u8..=32)
        .prop_map(|(bits, len)| (IpAddr::V4(Ipv4Addr::from_bits(bits << 29 | bits)), len));
    let v6 = (0_u128..8, 0_u8..=128)
        .prop_map(|(bits, len)| (IpAddr::V6(Ipv6Addr::from_bits(bits << 125 | bits)), len));
    let mapped = (0_u32..8, 80_u8..=128)
        .prop_map(|(bits, len)| (Ipv4Addr::from_bits(bits << 29 | bits).to_ipv6_mapped().into(), len));
    prop_oneof![3 => v4, 2 => v6, 1 => mapped]
        .prop_map(|(address, len)| prefix::canonical(IpNet::new(address, len).unwrap()))
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let services =
        prop_oneof![Just(ServiceSet::ALL), prop::collection::vec(1_u32..16, 1..4).prop_map(ServiceSet::of),];
    // The treatment is the class's, so it follows from the class id.
    let rule =
        (prefixes(), services, 1_u32..9, 0_usize..3).prop_map(|(prefix, services, class, origin)| Rule {
            prefix,
            services,
            class,
            treatment: [Treatment::Exempt, Treatment::Limited, Treatment::Denied][class as usize % 3],
            origin: [Origin::BuiltIn, Origin::Config, Origin::Runtime][origin],
        });
    prop::collection::vec(rule, 0..40)
}

fn addresses() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        prefixes().prop_map(|prefix| prefix.addr()),
        (0_u32..8, 0_u32..8).prop_map(|(high, low)| Ipv4Addr::from_bits(high << 29 | low).into()),
        (0_u128..8, 0_u128..8).prop_map(|(high, low)| Ipv6Addr::from_bits(high << 125 | low).into()),
        any::<u32>().prop_map(|bits| Ipv4Addr::from_bits(bits).into()),
        any::<u128>().prop_map(|bits| Ipv6Addr::from_bits(bits).into()),
    ]
}

/// The law, spelled out: of all rules that cover the address and hold for the
/// service, the longest; then exempt, limited, denied; then by origin and class.
fn reference(rules: &[Rule], address: IpAddr, service: u32) -> u32 {
    let address = address.to_canonical();
    let mut best: Option<&Rule> = None;
    for rule in rules {
        if !rule.prefix.contains(&address) || !rule.services.contains(service) {
            continue;
        }
        let order = |rule: &Rule| {
            let treatment = match rule.treatment {
                Treatment::Exempt => 'a',
                Treatment::Limited => 'b',
                Treatment::Denied => 'c',
            };
            (128 - rule.prefix.prefix_len(), treatment, rule.origin, rule.class)
        };
        if best.is_none_or(|best| order(rule) < order(best)) {
            best = Some(rule);
        }
    }
    best.map_or(CLASS_DEFAULT, |rule| rule.class)
}

proptest! {
    /// One look-up of the longest entry gives every service the class that the law gives it.
    #[test]
    fn look_ups_equal_the_law(rules in rules(), addresses in prop::collection::vec(addresses(), 40)) {
        let table = Table::of(rules);
        let compiled = lookup::prefixes(&table);
        let distinct: HashSet<_> = compiled.iter().map(|entry| (entry.addr, entry.prefix_len)).collect();
        prop_assert_eq!(distinct.len(), compiled.len(), "every prefix once");
        for entry in &compiled {
            prop_assert_eq!(entry.addr.masked(Addr::mask(entry.prefix_len)), entry.addr, "no host bits");
        }
        for address in addresses {
            for service in 1..16 {
                let expected = reference(table.rules(), address, service);
                prop_assert_eq!(class_of(&compiled, address, service), expected, "{} in {}", address, service);
                let winner = table.winner(address, service).map_or(CLASS_DEFAULT, |rule| rule.class);
                prop_assert_eq!(winner, expected, "winner of {} in {}", address, service);
            }
        }
    }
}
