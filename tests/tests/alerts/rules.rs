//! The rules themselves, and the hand-made cases in `cases/`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use limiter_tests::record::{PROMTOOL, RULES, check_rules, test_rules};
use limiter_tests::require;

/// Where the hand-made series are.
const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/alerts/cases");

/// What every alert says.
const ANNOTATIONS: [&str; 4] = ["summary", "description", "runbook", "command"];

/// One alert, as it is written.
pub(super) struct Alert {
    pub(super) name: String,
    /// `key: value` lines below it, quotes taken off.
    pub(super) fields: BTreeMap<String, String>,
}

/// The text of the rules.
pub(super) fn text() -> String {
    fs::read_to_string(RULES).unwrap_or_else(|e| panic!("reading {RULES}: {e}"))
}

/// Reads the alerts of the rules, in order.
pub(super) fn alerts() -> Vec<Alert> {
    let text = text();
    let alert = |block: &str| {
        let (name, rest) = block.split_once('\n').expect("an alert has lines");
        let ours = rest.lines().take_while(|line| !line.trim_start().starts_with("- "));
        let fields = ours.filter_map(|line| line.trim().split_once(": "));
        let fields =
            fields.map(|(key, value)| (key.to_owned(), value.trim_matches('"').replace("\\\"", "\"")));
        Alert { name: name.trim().to_owned(), fields: fields.collect() }
    };
    text.split("- alert: ").skip(1).map(alert).collect()
}

fn cases() -> Vec<PathBuf> {
    let entries = fs::read_dir(CASES).unwrap_or_else(|e| panic!("listing {CASES}: {e}"));
    entries.flatten().map(|entry| entry.path()).collect()
}

/// Runs the cases of a file.
#[track_caller]
fn cases_hold(file: &str) {
    test_rules(&Path::new(CASES).join(file)).unwrap_or_else(|said| panic!("{said}"));
}

/// promtool takes the rules.
#[test]
fn rules_are_well_formed() {
    require!(PROMTOOL);
    check_rules().unwrap_or_else(|said| panic!("{said}"));
}

/// Each page fires in time, with its labels and its text, and is silent just below.
#[test]
fn pages_fire_and_are_silent() {
    require!(PROMTOOL);
    cases_hold("page.yml");
}

/// Each ticket likewise.
#[test]
fn tickets_fire_and_are_silent() {
    require!(PROMTOOL);
    cases_hold("ticket.yml");
}

/// Alerts that compare with what is usual know what that is.
#[test]
fn what_is_usual_fires_nothing() {
    require!(PROMTOOL);
    cases_hold("usual.yml");
}

/// No alert is without a case in which it fires and one in which it does not.
#[test]
fn every_alert_has_cases() {
    let texts: String = cases().iter().map(|file| fs::read_to_string(file).expect("reading cases")).collect();
    for Alert { name, .. } in alerts() {
        let checks = texts.split("- eval_time: ").skip(1);
        let of_alert = checks.filter(|check| check.contains(&format!("alertname: {name}\n")));
        let (silent, fires): (Vec<_>, Vec<_>) = of_alert.partition(|check| check.contains("exp_alerts: []"));
        assert!(!fires.is_empty(), "{name} fires in no case");
        assert!(!silent.is_empty(), "{name} is silent in no case");
    }
}

/// Each alert has a severity, says what is the matter and which command helps, and names its entry.
#[test]
fn every_alert_is_complete() {
    let alerts = alerts();
    assert!(alerts.len() >= 30, "{} alerts are read", alerts.len());
    for Alert { name, fields } in alerts {
        let severity = fields.get("severity").map(String::as_str);
        assert!(matches!(severity, Some("page" | "ticket")), "{name}: {severity:?}");
        for annotation in ANNOTATIONS {
            let text = fields.get(annotation).map_or("", String::as_str);
            assert!(!text.is_empty(), "{name} has no {annotation}");
        }
        let summary = &fields["summary"];
        assert!(
            summary.contains("$labels.instance") || !fields["expr"].contains('{') || name == "LimiterAbsent",
            "{name} names its host: {summary}"
        );
        assert_eq!(fields["runbook"], format!("docs/runbook.md#{}", name.to_lowercase()));
    }
}
