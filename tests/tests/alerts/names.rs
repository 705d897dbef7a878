//! Metrics and labels that rules and dashboard name, against docs/metrics.md.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::dashboard;
use crate::rules;

const METRICS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");

/// What the samples of a histogram add to its name.
const HISTOGRAM: [&str; 3] = ["_bucket", "_count", "_sum"];

/// Documented metrics and their labels: headings such as ``### `limiter_mode{service,mode}` ``.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(METRICS).unwrap_or_else(|e| panic!("reading {METRICS}: {e}"));
    let headings = text.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'));
    let split = |heading: &str| {
        let (name, labels) = heading.split_once('{').unwrap_or((heading, ""));
        let labels = labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty());
        (name.to_owned(), labels.map(str::to_owned).collect())
    };
    headings.map(split).collect()
}

/// Metrics in a text, each with the labels that its selector names.
fn named(text: &str) -> Vec<(String, Vec<String>)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("limiter_") {
        let before = rest[..at].chars().next_back();
        let end = rest[at..].find(|c| !is_name(c)).map_or(rest.len(), |length| at + length);
        let (name, after) = (&rest[at..end], &rest[end..]);
        let selector = after.strip_prefix('{').and_then(|inside| inside.split_once('}'));
        let labels = selector.map_or("", |(inside, _)| inside).split(',').filter_map(|matcher| {
            Some(matcher.split(['=', '!']).next()?.trim().to_owned()).filter(|label| !label.is_empty())
        });
        if !before.is_some_and(is_name) {
            found.push((name.to_owned(), labels.collect()));
        }
        rest = after;
    }
    found
}

/// Panics unless every metric that `text` names is documented, with the labels that it is selected by.
#[track_caller]
fn are_documented(what: &str, text: &str) {
    let documented = documented();
    let named = named(text);
    assert!(named.len() > 30, "{what} names {} metrics", named.len());
    for (name, labels) in named {
        let family = HISTOGRAM.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(&name);
        let known = documented.get(&name).or_else(|| documented.get(family));
        let known = known.unwrap_or_else(|| panic!("{what} names {name}, which docs/metrics.md does not"));
        // What Prometheus adds, and the bounds of a histogram.
        let added = ["job", "instance", "le"];
        for label in labels.iter().filter(|label| !added.contains(&label.as_str())) {
            assert!(known.contains(label), "{what} selects {name} by {label}, which it does not have");
        }
    }
}

/// Every metric in the rules exists.
#[test]
fn rules_name_metrics_that_exist() {
    let text = rules::text();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    are_documented("a rule", &lines.join("\n"));
}

/// Every metric in the dashboard exists.
#[test]
fn the_dashboard_names_metrics_that_exist() {
    are_documented("the dashboard", &dashboard::queries().join("\n"));
}
