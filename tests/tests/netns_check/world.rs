//! Random policies over few addresses, so that prefixes cover each other and sources share keys.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use limiter_tests::random::Random;
use limiter_user::config::prefix;

/// Services and their ports.
pub(crate) const SERVICES: [(&str, &[u16]); 3] =
    [("smtp", &[25]), ("submission", &[465, 587]), ("imap", &[993])];
/// Ports that cases go to: those of the services, and one that is not guarded.
pub(crate) const PORTS: [u16; 5] = [25, 465, 587, 993, 2525];
/// Classes that a policy has at most.
const CLASSES_MAX: u64 = 6;

/// A configuration, and what a refusal of each service looks like.
#[derive(Debug)]
pub(crate) struct World {
    /// The file.
    pub(crate) text: String,
    /// Whether a service refuses by a reset.
    pub(crate) resets: BTreeMap<&'static str, bool>,
}

/// Returns every address that cases come from.
pub(crate) fn addresses() -> Vec<IpAddr> {
    let v4 = (0..3).flat_map(|net| (1..=10).map(move |host| Ipv4Addr::new(192, 0, net, host).into()));
    let v6 = (0..3).flat_map(|net| (0..3).flat_map(move |sub| (1..=3).map(move |host| (net, sub, host))));
    let v6 = v6.map(|(net, sub, host)| Ipv6Addr::new(0x2001, 0xdb8, net, sub, 0, 0, 0, host).into());
    // One that is exempt without asking.
    v4.chain(v6).chain([Ipv4Addr::new(169, 254, 7, 7).into()]).collect()
}

/// A prefix that covers one of the addresses.
pub(crate) fn prefix(random: &mut Random) -> String {
    let address = random.pick(&addresses());
    let bits = match address {
        IpAddr::V4(_) => random.pick(&[0, 8, 16, 22, 23, 24, 28, 30, 31, 32]),
        IpAddr::V6(_) => random.pick(&[0, 16, 32, 46, 48, 56, 63, 64, 96, 127, 128]),
    };
    let net = ipnet::IpNet::new(address, bits).expect("the length fits the family");
    prefix::canonical(net).to_string()
}

fn quota(random: &mut Random) -> String {
    let (count, burst) = (1 + random.below(4), 1 + random.below(3));
    format!("new_connections_per_source = {{ per_minute = {count}, burst = {burst} }}\n")
}

fn limit(random: &mut Random) -> String {
    format!("connections_per_source = {}\n", random.pick(&[1, 2, 3, 5]))
}

/// A policy; without the circuit breaker, which would change it between question and SYN.
pub(crate) fn world(random: &mut Random) -> World {
    let mut text = "interfaces = [\"srv0\"]\n[breaker]\nenabled = false\n[source]\n".to_owned();
    let (v4, v6) = (random.pick(&[32, 32, 24, 30]), random.pick(&[64, 64, 128, 48]));
    writeln!(text, "ipv4_prefix_len = {v4}\nipv6_prefix_len = {v6}").expect("writing to a string succeeds");
    let mut resets = BTreeMap::new();
    for (name, ports) in SERVICES {
        let (mode, reset) = (random.pick(&["observe", "enforce", "enforce"]), random.one_in(2));
        resets.insert(name, reset);
        let refusal = if reset { "reset" } else { "drop" };
        text.extend([
            format!("[[service]]\nname = \"{name}\"\nports = {ports:?}\n"),
            format!("mode = \"{mode}\"\nrefuse_with = \"{refusal}\"\n"),
        ]);
        if !random.one_in(4) {
            text += &limit(random);
        }
        if random.one_in(3) {
            text += &quota(random);
        }
        if random.one_in(3) {
            writeln!(text, "connections_total = {}", 1 + random.below(12))
                .expect("writing to a string succeeds");
        }
    }
    let mut listed = BTreeSet::new();
    for class in 0..random.below(CLASSES_MAX + 1) {
        text += &self::class(class, random, &mut listed);
    }
    World { text, resets }
}

/// A class whose prefixes no other one has; nothing if all that were drawn are taken.
fn class(number: u64, random: &mut Random, listed: &mut BTreeSet<String>) -> String {
    let drawn: Vec<String> = (0..=random.below(4)).map(|_| prefix(random)).collect();
    let own: Vec<String> = drawn.into_iter().filter(|prefix| listed.insert(prefix.clone())).collect();
    if own.is_empty() {
        return String::new();
    }
    let mut text = format!("[[class]]\nname = \"class-{number}\"\nprefixes = {own:?}\n");
    if random.one_in(2) {
        writeln!(text, "services = [\"{}\"]", random.pick(&SERVICES).0)
            .expect("writing to a string succeeds");
    }
    text + &match random.below(5) {
        0 => "exempt = true\n".to_owned(),
        1 => "deny = true\n".to_owned(),
        2 => quota(random),
        3 => limit(random),
        _ => limit(random) + &quota(random),
    }
}
