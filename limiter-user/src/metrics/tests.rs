//! A scrape, taken apart.

use std::{collections::BTreeMap, path::Path};

use super::{collect, families::families};
use crate::{
    clock::Now,
    daemon::{snapshot::Snapshot, tests::daemon},
};

const CONFIG: &str = r#"
mode = "enforce"
[[service]]
name = "smtp"
ports = [25]
connections_per_source = 2
"#;

const NOW: Now = Now { monotonic_ns: 1_000_000_000_000, unix_ms: 1_700_000_000_000 };

/// Two connections and one refusal.
fn snapshot() -> Snapshot {
    let (mut daemon, memory) = daemon(CONFIG, Path::new("limiter.toml"), NOW);
    for _ in 0..3 {
        let _verdict = memory.connect("192.0.2.7".parse().unwrap(), 25);
    }
    daemon.recount(NOW);
    daemon.snapshot(NOW)
}

/// Reads `OpenMetrics` text: every sample, after checking that its family was declared before it.
fn parsed(text: &str) -> BTreeMap<String, f64> {
    let (mut declared, mut samples) = (Vec::new(), BTreeMap::new());
    let body = text.strip_suffix("# EOF\n").expect("the text ends with EOF");
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (keyword, name, rest) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
            if keyword == "TYPE" {
                declared.push((name.to_owned(), rest.to_owned()));
            } else {
                assert!(keyword == "HELP" && rest.ends_with('.') && !rest.ends_with(".."), "{line}");
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, kind) = declared.last().expect("a sample comes after its family");
        let suffix = match kind.as_str() {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let sample = series.split('{').next().unwrap();
        assert_eq!(sample, format!("{name}{suffix}"), "{line}");
        assert_eq!(samples.insert(series.to_owned(), value.parse().unwrap()), None, "{series} appears twice");
    }
    samples
}

/// A scrape holds what the packet path counted, under the names of the contract.
#[test]
fn a_scrape_holds_what_was_counted() {
    let samples = parsed(&collect::text(&snapshot()).unwrap());
    let packets = |verdict: &str, reason: &str| {
        format!(
            "limiter_packets_total{{service=\"smtp\",verdict=\"{verdict}\",reason=\"{reason}\",point=\"gate\",\
             class=\"default\",family=\"ipv4\"}}"
        )
    };
    for (series, value) in [
        (packets("pass", "within_limits"), 2.0),
        (packets("refuse", "connections_per_source"), 1.0),
        ("limiter_connections{service=\"smtp\",class=\"default\"}".into(), 2.0),
        ("limiter_connections_limit_ratio_max{service=\"smtp\"}".into(), 1.0),
        ("limiter_sources{service=\"smtp\"}".into(), 1.0),
        ("limiter_recount_drift_total{service=\"smtp\"}".into(), 0.0),
        ("limiter_fail_open_total{why=\"sources_full\"}".into(), 0.0),
        ("limiter_mode{service=\"smtp\",mode=\"enforce\"}".into(), 1.0),
        ("limiter_mode{service=\"smtp\",mode=\"observe\"}".into(), 0.0),
        ("limiter_breaker_open{service=\"smtp\"}".into(), 0.0),
        ("limiter_canary_failures{service=\"smtp\"}".into(), 0.0),
        ("limiter_policy_revision".into(), 1.0),
        ("limiter_attach_info{interface=\"memory\",mode=\"none\"}".into(), 1.0),
    ] {
        assert_eq!(samples.get(&series), Some(&value), "{series}");
    }
    for start in [
        "limiter_policy_info{hash=",
        "limiter_build_info{version=",
        "limiter_map_fill_ratio{map=\"sources\"}",
    ] {
        assert!(samples.keys().any(|series| series.starts_with(start)), "{start}");
    }
}

/// What was never counted makes no series, and no label is an address.
#[test]
fn series_are_bounded() {
    let text = collect::text(&snapshot()).unwrap();
    let packets = text.lines().filter(|line| line.starts_with("limiter_packets_total"));
    assert_eq!(packets.count(), 2);
    assert!(!text.contains("192.0.2.7"));
}

/// Every family is explained in docs/metrics.md, and nothing else is.
#[test]
fn metrics_are_documented() {
    let document = include_str!("../../../docs/metrics.md");
    let documented: Vec<&str> =
        document.lines().filter_map(|line| line.strip_prefix("### `")?.split(['{', '`']).next()).collect();
    let exported: Vec<String> =
        families(&snapshot()).iter().map(super::families::Family::sample_name).collect();
    assert_eq!(documented, exported);
}
