//! Metrics and health over HTTP.

use std::collections::BTreeSet;
use std::net::IpAddr;

use limiter_tests::daemon::{DAEMON, Daemon};
use limiter_tests::veth::Bed;
use limiter_tests::{host, metrics, require};

use super::{SMTP, config, fill, greeter, refused};

/// The metrics are `OpenMetrics`: every sample is of a declared family, none comes twice, and `# EOF` ends them.
#[test]
fn metrics_are_open_metrics() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let _server = greeter(&bed, SMTP);
    let daemon = Daemon::start(&bed.server, &config());
    let held = fill(bed.client());
    refused(bed.client());
    let (status, text) = daemon.get("/metrics");
    assert_eq!(status, 200);
    assert!(text.ends_with("# EOF\n"), "the end is marked:\n{text}");
    let declared = |what: &str| -> BTreeSet<&str> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(what));
        lines.filter_map(|line| line.split(' ').next()).collect()
    };
    let types = declared("# TYPE ");
    assert_eq!(types, declared("# HELP "), "every family has a type and a help text");
    let samples = metrics::parse(&text);
    let mut seen = BTreeSet::new();
    for sample in &samples {
        let suffixes = ["_total", "_info", "_bucket", "_sum", "_count"];
        let family = suffixes.iter().find_map(|suffix| sample.name.strip_suffix(suffix));
        let family = family.unwrap_or(&sample.name);
        assert!(types.contains(family), "{} is of a declared family", sample.name);
        assert!(seen.insert((&sample.name, &sample.labels)), "{sample:?} comes twice");
    }
    let labels = [
        ("service", "smtp"),
        ("verdict", "refuse"),
        ("reason", "connections_per_source"),
        ("point", "syn"),
        ("class", "default"),
        ("family", "ipv4"),
    ];
    assert_eq!(daemon.count("limiter_packets_total", &labels), 1);
    drop(held);
}

/// No label is an address, whoever was refused: only the build, the policy and names are text.
#[test]
fn metrics_carry_no_address() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let client = bed.client();
    let _server = greeter(&bed, SMTP);
    let daemon = Daemon::start(&bed.server, &config());
    daemon.ctl_json(&["deny", "10.90.0.2", "--note", "who is at 10.90.0.2"]);
    refused(client);
    let (_, text) = daemon.get("/metrics");
    for sample in metrics::parse(&text) {
        for (label, value) in &sample.labels {
            let parts = value.split(['/', ' ', ',']);
            let address = parts.into_iter().find(|part| part.parse::<IpAddr>().is_ok());
            assert_eq!(address, None, "{}: {label}={value}", sample.name);
        }
    }
    for address in [client.ipv4().to_string(), client.ipv6().to_string()] {
        assert!(!text.contains(&address), "{address} is in the metrics:\n{text}");
    }
}

/// Health names every service, readiness the revision in force.
#[test]
fn health_covers_every_service() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let other = "[[service]]\nname = \"submission\"\nports = [465, 587]\n";
    let daemon = Daemon::start(&bed.server, &(config() + other));
    assert_eq!(daemon.get("/livez"), (200, "alive\n".to_owned()));
    let (ready, text) = daemon.get("/readyz");
    assert_eq!((ready, text.contains("revision 1")), (200, true), "{text}");
    let (status, text) = daemon.get("/healthz");
    let health: serde_json::Value = serde_json::from_str(&text).expect("health is JSON");
    assert_eq!(status, 200, "degraded is not failing: {health}");
    let names: Vec<_> =
        health["services"].as_array().into_iter().flatten().map(|s| s["name"].clone()).collect();
    assert_eq!(names, ["smtp", "submission"]);
    let reasons = health["services"][0]["reason"].as_str().unwrap_or_default();
    assert!(!reasons.is_empty(), "each says why: {health}");
    assert_eq!(daemon.get("/nothing").0, 404);
}
