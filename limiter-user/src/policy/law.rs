//! Cases: what is looked up equals the law of the table, spelled out, also page by page as the kernel does
//! it; 100,000 prefixes in time, and as many as there may be.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use ipnet::IpNet;
use limiter_common::{
    addr::Addr,
    limits::Treatment,
    map::ClassOf,
    names,
    policy::CLASS_DEFAULT,
    ranges::{RangeIndex, RangePage},
};
use proptest::prelude::*;
use zerocopy::FromZeros as _;

use super::*;
use crate::config::prefix;

/// Looks an address up the slow way: the longest prefix that covers it.
pub(super) fn class_of(compiled: &[CompiledPrefix], address: IpAddr, service: u32) -> u32 {
    let address = Addr::from(address);
    compiled
        .iter()
        .filter(|entry| address.masked(Addr::mask(entry.prefix_len)) == entry.addr)
        .max_by_key(|entry| entry.prefix_len)
        .map_or(CLASS_DEFAULT, |entry| u32::from(entry.class_of.class[service as usize]))
}

/// Ranges as they lie in the kernel.
struct Paged {
    index: Box<RangeIndex>,
    pages: Vec<Box<RangePage>>,
}

impl Paged {
    fn of(ranges: &Ranges) -> Self {
        let mut index = RangeIndex::new_box_zeroed().unwrap();
        ranges.note_in(&mut index);
        let pages: Vec<_> = ranges.pages().map(Result::unwrap).collect();
        assert_eq!(ranges.page_count(), pages.len().max(1));
        Self { index, pages }
    }

    /// Looks an address up the way the kernel does.
    fn class_of(&self, address: IpAddr, service: u32) -> u32 {
        self.index.search(address.into()).map_or(CLASS_DEFAULT, |search| {
            self.pages[search.page as usize].class_of(&search).class[service as usize].into()
        })
    }
}

/// As many prefixes as there may be, none next to another, make as many ranges as there is room for.
#[test]
fn the_most_prefixes_fit() {
    let class_of = |n: usize| ClassOf { class: [u8::try_from(n % 2 + 1).unwrap(); names::SERVICES] };
    let address = |n: usize| Ipv6Addr::from_bits(u128::MAX - 3 * (names::PREFIXES - n) as u128);
    let prefix =
        |n| CompiledPrefix { addr: IpAddr::V6(address(n)).into(), prefix_len: 128, class_of: class_of(n) };
    let prefixes: Vec<_> = (0..names::PREFIXES).map(prefix).collect();
    let paged = Paged::of(&Ranges::of(&prefixes));
    assert_eq!(paged.pages.len(), names::RANGE_PAGES);
    for n in 0..names::PREFIXES {
        let bits = address(n).to_bits();
        let [before, at, after] =
            [bits - 1, bits, bits + 1].map(|bits| paged.class_of(Ipv6Addr::from_bits(bits).into(), 1));
        assert_eq!([before, at, after], [0, u32::from(class_of(n).class[1]), 0], "prefix {n}");
    }
    assert_eq!(paged.class_of(Ipv6Addr::from_bits(u128::MAX).into(), 1), CLASS_DEFAULT);
    assert_eq!(paged.class_of(Ipv6Addr::UNSPECIFIED.into(), 1), CLASS_DEFAULT);
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
    let ranges = Ranges::of(&prefixes);
    let took = start.elapsed();
    let paged = Paged::of(&ranges);
    println!("{} prefixes from 100,000 rules, in {} pages, in {took:?}", prefixes.len(), ranges.page_count());
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert!(prefixes.len() > 50_000, "{}", prefixes.len());
    for n in 0..100_000_u32 {
        let address: IpAddr = Ipv4Addr::from_bits(n.wrapping_mul(0x85eb_ca6b)).into();
        let class = paged.class_of(address, 1);
        assert_eq!(class, ranges.class_of(address.into(), 1), "{address}");
        if n % 1_000 == 0 {
            assert_eq!(class, class_of(&prefixes, address, 1), "{address}");
        }
    }
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
    /// One look-up gives every service the class that the law gives it.
    #[test]
    fn look_ups_equal_the_law(rules in rules(), addresses in prop::collection::vec(addresses(), 40)) {
        let table = Table::of(rules);
        let compiled = lookup::prefixes(&table);
        let distinct: HashSet<_> = compiled.iter().map(|entry| (entry.addr, entry.prefix_len)).collect();
        prop_assert_eq!(distinct.len(), compiled.len(), "every prefix once");
        for entry in &compiled {
            prop_assert_eq!(entry.addr.masked(Addr::mask(entry.prefix_len)), entry.addr, "no host bits");
        }
        let ranges = Ranges::of(&compiled);
        let paged = Paged::of(&ranges);
        for address in addresses {
            for service in 1..16 {
                let expected = reference(table.rules(), address, service);
                prop_assert_eq!(class_of(&compiled, address, service), expected, "{} in {}", address, service);
                prop_assert_eq!(ranges.class_of(address.into(), service), expected, "range of {}", address);
                prop_assert_eq!(paged.class_of(address, service), expected, "page of {}", address);
                let winner = table.winner(address, service).map_or(CLASS_DEFAULT, |rule| rule.class);
                prop_assert_eq!(winner, expected, "winner of {} in {}", address, service);
            }
        }
    }
}
