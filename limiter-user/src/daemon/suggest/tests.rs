//! The daemon on a packet path in memory, and the arithmetic.

use limiter_common::{
    map::Source,
    word::{ONE_OPEN, Word},
};

use super::*;
use crate::{
    config::Config,
    control::protocol::Verb,
    daemon::tests::{daemon, ip, rule},
    dataplane::memory::Memory,
};

const CONFIG: &str = r#"
mode = "observe"
[[service]]
name = "smtp"
ports = [25]
[[service]]
name = "submission"
ports = [465, 587]
[[class]]
name = "probe"
prefixes = ["198.51.100.0/24"]
exempt = true
"#;
const NOW: Now = Now { monotonic_ns: 1_000_000_000_000, unix_ms: 1_700_000_000_000 };
const CLIENT: [u8; 4] = [192, 0, 2, 1];
const PROBE: [u8; 4] = [203, 0, 113, 9];
const KNOWN_PROBE: [u8; 4] = [198, 51, 100, 9];

/// Sets what the packet path knows of a source in `smtp`.
fn set(memory: &Memory, address: [u8; 4], open: u64, accepted: u32, silent: u32) {
    let key = SourceKey { addr: std::net::IpAddr::from(address).into(), service: 1 };
    let word = Word(Word::idle(key.hash(0)).0 + open * ONE_OPEN);
    let source = Source { word, accepted, silent, brief: silent, ..Source::default() };
    memory.world().sources.insert(key, source);
}

/// A recount on time.
fn watch(daemon: &mut Daemon, now: Now) {
    daemon.recount(now);
    daemon.observe(now);
}

/// A daemon that has seen `minutes` of two probes every second, one of them exempt, and a client with up to 90
/// connections.
fn watched(minutes: u64) -> (Daemon, Now) {
    let (mut daemon, memory) = daemon(CONFIG, std::path::Path::new("limiter.toml"), NOW);
    let mut now = NOW;
    watch(&mut daemon, now);
    for n in 1..=u32::try_from(minutes * 6).expect("few") {
        now = now.plus_s(10);
        for probe in [PROBE, KNOWN_PROBE] {
            set(&memory, probe, 0, 10 * n, 10 * n);
        }
        set(&memory, CLIENT, u64::from(n * 37 % 91), 150 * n, 0);
        watch(&mut daemon, now);
    }
    (daemon, now)
}

fn query() -> SuggestQuery {
    SuggestQuery::default()
}

/// Limits come from the clients alone, the probe is proposed and the exempt one is not, and all of it is a
/// configuration.
#[test]
fn limits_and_exemptions_come_from_what_was_seen() {
    let (daemon, now) = watched(30);
    let suggestion = daemon.suggest(&query(), now).unwrap();
    let [smtp, submission] = suggestion.services.try_into().unwrap();
    assert_eq!((smtp.sources, smtp.open, smtp.open_max, smtp.per_minute), (1, 90, 90, 900));
    assert_eq!((smtp.connections_per_source, smtp.new_per_minute, smtp.burst), (150, 1_400, 250));
    assert_eq!((submission.sources, submission.connections_per_source), (0, 100), "the usual ones");
    let [probe] = suggestion.probes.try_into().unwrap();
    assert_eq!((probe.prefix.as_str(), probe.windows), ("203.0.113.9", 64));
    assert!((probe.interval_s - 1.0).abs() < 0.01, "{probe:?}");

    let config = Config::parse(&suggestion.toml, "suggested").unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.services[0].connections_per_source, 150);
    assert_eq!(config.classes[0].prefixes.len(), 1);
    assert!(suggestion.toml.contains("under the usual") || suggestion.toml.contains("# - this rests on 30m"));
    assert!(suggestion.remarks[0].contains("30m") && suggestion.remarks[0].contains("too short"));
}

/// What was seen below the usual limits is said, and the usual ones are kept.
#[test]
fn the_usual_limits_are_kept() {
    let (mut daemon, memory) = daemon(CONFIG, std::path::Path::new("limiter.toml"), NOW);
    watch(&mut daemon, NOW);
    set(&memory, CLIENT, 3, 7, 0);
    watch(&mut daemon, NOW.plus_s(10));
    let suggestion = daemon.suggest(&query(), NOW.plus_s(10)).unwrap();
    let smtp = &suggestion.services[0];
    assert_eq!((smtp.open, smtp.connections_per_source, smtp.new_per_minute, smtp.burst), (3, 50, 600, 100));
    let said = "3 x 1.5 gives 5, under the usual 50, which is kept.";
    assert!(suggestion.toml.contains(said), "{}", suggestion.toml);
}

/// Who is exempt is whom the table of rules says is, found faster.
#[test]
fn exempt_is_who_the_table_says() {
    let (mut daemon, _) = daemon(CONFIG, std::path::Path::new("limiter.toml"), NOW);
    for (verb, prefix) in [
        (Verb::Allow, "192.0.2.0/24"),
        (Verb::Deny, "192.0.2.7"),
        (Verb::Allow, "2001:db8::/32"),
        (Verb::Deny, "198.51.100.128/25"),
    ] {
        daemon.add_rule(rule(verb, prefix), "uid 0".into(), NOW).unwrap();
    }
    let addresses = [
        "192.0.2.1",
        "192.0.2.7",
        "2001:db8::1",
        "2001:db9::",
        "198.51.100.9",
        "198.51.100.200",
        "10.0.0.1",
        "::1",
    ];
    for address in addresses.map(ip) {
        for service in [1, 2] {
            let key = SourceKey { addr: address.into(), service };
            let winner = daemon.table.winner(address, service).map(|rule| rule.treatment);
            assert_eq!(daemon.is_exempt(&key), winner == Some(Treatment::Exempt), "{address} in {service}");
        }
    }
}

/// What makes no sense is refused with what would.
#[test]
fn nonsense_is_refused() {
    let (daemon, now) = watched(1);
    for (wrong, says) in [
        (SuggestQuery { quantile: Some(0.0), ..query() }, "0.99"),
        (SuggestQuery { quantile: Some(f64::NAN), ..query() }, "0.99"),
        (SuggestQuery { headroom: Some(0.5), ..query() }, "1.5"),
        (SuggestQuery { since: Some("soon".into()), ..query() }, "2h"),
        (SuggestQuery { service: Some("pop".into()), ..query() }, "smtp, submission"),
    ] {
        let error = daemon.suggest(&wrong, now).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    let one = SuggestQuery { service: Some("smtp".into()), ..query() };
    assert_eq!(daemon.suggest(&one, now).unwrap().services.len(), 1);
}

/// A quantile is a value that was seen, and numbers are those that people write.
#[test]
fn numbers_are_sensible() {
    let all: Vec<u32> = (1..=100).collect();
    assert_eq!([0.01, 0.5, 0.99, 1.0].map(|share| quantile(&all, share)), [1, 50, 99, 100]);
    assert_eq!((quantile(&[], 0.99), quantile(&[7], 0.5)), (0, 7));
    let sensible = [0.0, 1.2, 10.0, 10.1, 99.0, 101.0, 1_000.0, 1_234.0].map(sensible);
    assert_eq!(sensible, [0, 2, 10, 15, 100, 150, 1_000, 1_300]);
}

/// The usual limits are those of the file that is shipped.
#[test]
fn the_usual_limits_are_those_that_are_shipped() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/limiter.toml");
    let config = Config::load(std::path::Path::new(path)).unwrap();
    for usual in USUAL {
        let service = config.services.iter().find(|service| service.ports.contains(&usual.port)).unwrap();
        let quota = service.new_connections_per_source;
        assert_eq!(
            (service.connections_per_source, quota.count, quota.burst),
            (usual.connections, usual.per_minute, usual.burst),
            "{}",
            service.name
        );
    }
}
