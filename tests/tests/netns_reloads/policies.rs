//! Two policies that differ in everything, and the verdicts that either can give.
//!
//! On the one port of the load, policy 0 has service `one`, policy 1 has `two`.
//! Policy 0 exempts IPv4 as `red` and limits IPv6 as `blue`; policy 1 limits
//! IPv4 as `blue`, by another limit, and denies IPv6 as `red`. Policy 0
//! enforces, policy 1 observes, and no circuit breaker makes the first observe too. So whoever takes port, class, limit or mode
//! from another policy than the rest gives a verdict that is in neither list.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use limiter_tests::metrics::Sample;
use limiter_tests::veth::Client;

/// Where the load connects to.
pub(crate) const PORT: u16 = 25;
/// The service that both policies treat alike.
pub(crate) const STEADY: &str = "steady";
/// Its port.
pub(crate) const STEADY_PORT: u16 = 143;
/// Its limit.
pub(crate) const STEADY_LIMIT: u32 = 20;
/// Every service.
pub(crate) const SERVICES: [&str; 3] = ["one", "two", STEADY];
/// Sources in either family that handshakes are sent from.
const SOURCES: u32 = 8;

/// Service, class, verdict and reason, and whether for IPv4, of each policy.
type Allowed = (bool, [&'static str; 4]);
const ALLOWED: [&[Allowed]; 2] = [
    &[
        (true, ["one", "red", "pass", "exempt"]),
        (false, ["one", "blue", "pass", "within_limits"]),
        (false, ["one", "blue", "refuse", "connections_per_source"]),
    ],
    &[
        (true, ["two", "blue", "pass", "within_limits"]),
        (true, ["two", "blue", "would_refuse", "new_connection_quota"]),
        (false, ["two", "red", "would_refuse", "deny"]),
    ],
];

/// Both policies as text, and who is to be heard of in them.
#[derive(Debug)]
pub(crate) struct Policies {
    /// The configurations.
    pub(crate) text: [String; 2],
    /// Addresses that no host owns, of both families.
    pub(crate) ghosts: Vec<IpAddr>,
}

impl Policies {
    /// Two policies with a wide prefix in either family.
    pub(crate) fn small(client: &Client) -> Self {
        Self::new(client, vec!["192.0.2.0/24".to_owned()], vec!["2001:db8::/32".to_owned()])
    }

    /// Two policies of `count` prefixes, each longer than nothing that covers it; sources are among them.
    pub(crate) fn large(client: &Client, count: u32) -> Self {
        let v4 = (0..count / 2).map(|n| Ipv4Addr::from_bits(0xc000_0200 + n).to_string());
        let v6 = (0..count / 2).map(|n| format!("{}/64", network(n)));
        Self::new(client, v4.collect(), v6.collect())
    }

    fn new(client: &Client, mut v4: Vec<String>, mut v6: Vec<String>) -> Self {
        v4.push(client.ipv4().to_string());
        v6.push(client.ipv6().to_string());
        let exempt = class("red", &v4, "exempt = true");
        let limited = class("blue", &v6, "connections_per_source = 1");
        let first = service("one", PORT, "enforce") + &service("two", 26, "enforce");
        let other_limit = "new_connections_per_source = { per_minute = 1, burst = 1 }";
        let (other_limited, denied) = (class("blue", &v4, other_limit), class("red", &v6, "deny = true"));
        let second = service("two", PORT, "observe") + &service("one", 26, "observe");
        let text = [first + &exempt + &limited, second + &other_limited + &denied].map(|rest| {
            format!(
                "interfaces = [\"srv0\"]\n[breaker]\nenabled = false\n{}connections_per_source = {STEADY_LIMIT}\n{rest}",
                service(STEADY, STEADY_PORT, "enforce")
            )
        });
        let ghosts = (1..=SOURCES).flat_map(|n| {
            let v4 = Ipv4Addr::from_bits(0xc000_0200 + n);
            let v6 = Ipv6Addr::from_bits(network(n).to_bits() | 1);
            [IpAddr::from(v4), IpAddr::from(v6)]
        });
        Self { text, ghosts: ghosts.collect() }
    }

    /// Returns a source of either family.
    pub(crate) fn sources(&self) -> [IpAddr; 2] {
        [self.ghosts[0], self.ghosts[1]]
    }
}

/// Returns the `n`th /64 of the documentation prefix.
fn network(n: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits((0x2001_0db8 << 96) | (u128::from(n) << 64))
}

fn service(name: &str, port: u16, mode: &str) -> String {
    format!("[[service]]\nname = \"{name}\"\nports = [{port}]\nmode = \"{mode}\"\n")
}

fn class(name: &str, prefixes: &[String], treatment: &str) -> String {
    let mut text = format!("[[class]]\nname = \"{name}\"\nservices = [\"one\", \"two\"]\nprefixes = [\n");
    for prefix in prefixes {
        writeln!(text, "\"{prefix}\",").expect("writing to a string succeeds");
    }
    text + &format!("]\n{treatment}\n")
}

/// Returns whether policy `index` can give this verdict.
pub(crate) fn agrees(index: usize, is_v4: bool, said: (&str, &str, &str, &str)) -> bool {
    ALLOWED[index].iter().any(|(v4, [service, class, verdict, reason])| {
        *v4 == is_v4 && said == (*service, *class, *verdict, *reason)
    })
}

/// Returns the samples of verdicts that neither policy can give.
pub(crate) fn mixtures(samples: &[Sample]) -> Vec<String> {
    let known = |sample: &&Sample| (0..ALLOWED.len()).any(|index| allows(index, sample));
    verdicts(samples).filter(|sample| !known(sample)).map(|sample| format!("{sample:?}")).collect()
}

/// Returns the verdicts that nobody got.
pub(crate) fn missing(samples: &[Sample]) -> Vec<Allowed> {
    let met = |allowed: &Allowed| verdicts(samples).any(|sample| matches(allowed, sample));
    ALLOWED.concat().into_iter().filter(|allowed| !met(allowed)).collect()
}

/// The verdicts of the two services that were given at all.
fn verdicts(samples: &[Sample]) -> impl Iterator<Item = &Sample> {
    samples.iter().filter(|sample| {
        let of_the_two = sample.label("service").is_some_and(|service| SERVICES[..2].contains(&service));
        sample.name == "limiter_packets_total" && of_the_two && sample.value > 0.0
    })
}

fn allows(index: usize, sample: &Sample) -> bool {
    ALLOWED[index].iter().any(|allowed| matches(allowed, sample))
}

fn matches((is_v4, words): &Allowed, sample: &Sample) -> bool {
    let labels = ["service", "class", "verdict", "reason"].map(|label| sample.label(label));
    let family = if *is_v4 { "ipv4" } else { "ipv6" };
    labels == words.map(Some) && sample.label("family") == Some(family)
}
