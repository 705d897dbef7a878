//! The rules of the checkout, and `promtool`, which judges series by them.
//!
//! An answer is an exit status: nothing of what promtool prints is read, only shown.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{Recording, Scrape};
use crate::host;
use crate::metrics::Sample;

/// The rules that are shipped.
pub const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/prometheus/alerts.yml");

/// Scrape and evaluation interval that are recommended, in seconds.
const INTERVAL_S: usize = 5;
/// What Prometheus adds to each series.
const TARGET: &str = "job=\"limiter\",instance=\"mail1\"";

/// How the clocks of scrapes and evaluations are to the run's, in seconds.
#[derive(Clone, Copy, Debug)]
struct Phase {
    /// The second of each interval in which Prometheus scrapes.
    scrape: usize,
    /// How many seconds before the run an evaluation falls.
    evaluation: usize,
}

/// Runs `promtool check rules` on the rules that are shipped.
///
/// # Errors
///
/// What promtool says.
pub fn check_rules() -> Result<(), String> {
    check_rules_in(Path::new(RULES))
}

/// Runs `promtool check rules` on a file.
///
/// # Errors
///
/// What promtool says.
pub fn check_rules_in(file: &Path) -> Result<(), String> {
    promtool(&["check", "rules"], file)
}

/// Runs `promtool test rules` on a file.
///
/// # Errors
///
/// What promtool says.
pub fn test_rules(file: &Path) -> Result<(), String> {
    promtool(&["test", "rules"], file)
}

fn promtool(arguments: &[&str], file: &Path) -> Result<(), String> {
    let program = host::find_command("promtool").expect("the test requires promtool");
    let output = Command::new(program).args(arguments).arg(file).output().expect("starting promtool");
    let said = [output.stdout, output.stderr].concat();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said).into_owned()) }
}

/// Whether an alert has fired by a time since the recording began, in every phase.
pub(super) fn fires(recording: &Recording, alert: &str, labels: &[(&str, &str)], by: Duration) -> bool {
    let wanted = labels.iter().fold(format!("alertname=\"{alert}\""), |mut all, (label, value)| {
        write!(all, ",{label}=\"{value}\"").expect("writing to a string succeeds");
        all
    });
    let by = usize::try_from(by.as_secs()).expect("a run ends within its test");
    let tests = phases().map(|phase| {
        let at = (by + phase.evaluation) / INTERVAL_S * INTERVAL_S;
        let expression = format!("count({}) > bool 0", fired(&wanted, at));
        (phase, at, expression, "[{labels: '{}', value: 1}]")
    });
    test(recording, tests).is_ok()
}

/// Checks that no alert of a severity fires in any phase, but for those named.
pub(super) fn silent(recording: &Recording, severity: &str, but: &[&str]) -> Result<(), String> {
    let wanted = format!("severity=\"{severity}\",alertname!~\"{}\"", but.join("|"));
    let tests = phases().map(|phase| {
        let at = recording.seconds.len() + INTERVAL_S;
        (phase, at, format!("count by (alertname, service) ({})", fired(&wanted, at)), "[]")
    });
    test(recording, tests)
}

/// Every alert that was firing at any evaluation up to a second.
fn fired(wanted: &str, at: usize) -> String {
    format!("max_over_time(ALERTS{{alertstate=\"firing\",{wanted}}}[{}s])", at + 1)
}

fn phases() -> impl Iterator<Item = Phase> {
    (0..INTERVAL_S * INTERVAL_S).map(|n| Phase { scrape: n % INTERVAL_S, evaluation: n / INTERVAL_S })
}

/// Tests an expression at a second, in each phase.
fn test<'a>(
    recording: &Recording,
    tests: impl Iterator<Item = (Phase, usize, String, &'a str)>,
) -> Result<(), String> {
    let mut text = format!("rule_files: ['{RULES}']\nevaluation_interval: {INTERVAL_S}s\ntests:\n");
    for (phase, at, expression, expected) in tests {
        text.push_str("- interval: 1s\n  input_series:\n");
        for (series, values) in series(recording, phase) {
            let series = series.replace('\'', "''");
            put_line(&mut text, format_args!("  - {{series: '{series}', values: '{values}'}}"));
        }
        let wanted = format_args!("  - {{expr: '{expression}', eval_time: {at}s, exp_samples: {expected}}}");
        put_line(&mut text, format_args!("  promql_expr_test:\n{wanted}"));
    }
    let directory = tempfile::tempdir().expect("creating a directory");
    let file = directory.path().join("recorded.yml");
    fs::write(&file, text).expect("writing a test of rules");
    test_rules(&file)
}

fn put_line(text: &mut String, line: fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a string succeeds");
}

/// The series that Prometheus would have, second by second.
fn series(recording: &Recording, phase: Phase) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    let mut before: Vec<String> = Vec::new();
    let length = recording.seconds.len();
    let due = |second: &usize| second % INTERVAL_S == phase.scrape;
    // One more round than there are seconds: the last scrape stands for what came after it.
    for second in (0..length + INTERVAL_S).filter(due) {
        let Some(scrape) = recording.seconds[second.min(length - 1)].as_ref() else {
            continue;
        };
        let column = second + phase.evaluation;
        let samples = seen(scrape);
        for gone in before.iter().filter(|series| !samples.contains_key(*series)) {
            put(&mut all, gone, column, "stale");
        }
        for (series, value) in &samples {
            put(&mut all, series, column, &value.to_string());
        }
        before = samples.into_keys().collect();
    }
    all
}

/// Puts a value into a column of a series; what is before it and empty was not scraped.
fn put(all: &mut BTreeMap<String, String>, series: &str, column: usize, value: &str) {
    let values = all.entry(series.to_owned()).or_default();
    let filled = values.split_ascii_whitespace().count();
    values.push_str(&"_ ".repeat(column - filled));
    values.push_str(value);
    values.push(' ');
}

/// What Prometheus stores of a scrape.
fn seen(scrape: &Scrape) -> BTreeMap<String, f64> {
    let up = if scrape.samples.is_some() { 1.0 } else { 0.0 };
    let mut seen: BTreeMap<String, f64> =
        scrape.samples.iter().flatten().map(|sample| (name(sample), sample.value)).collect();
    seen.insert(format!("up{{{TARGET}}}"), up);
    seen
}

fn name(sample: &Sample) -> String {
    let mut labels = String::new();
    for (label, value) in &sample.labels {
        write!(labels, "{label}=\"{value}\",").expect("writing to a string succeeds");
    }
    format!("{}{{{labels}{TARGET}}}", sample.name)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::metrics::parse;

    /// A series that ends is stale at the next scrape, and what was not scraped is a hole.
    #[test]
    fn series_are_as_prometheus_would_have_them() {
        let scrape = |at, text: &str| Scrape { at: Duration::from_secs(at), samples: Some(parse(text)) };
        let down = Scrape { at: Duration::from_secs(10), samples: None };
        let recording =
            Recording::new(Instant::now(), vec![scrape(0, "a{x=\"1\"} 3\n"), scrape(5, "b 7\n"), down]);
        let series = series(&recording, Phase { scrape: 0, evaluation: 1 });
        let of = |name: &str| series[&name.replace('}', &format!("{TARGET}}}"))].trim_end().to_owned();
        assert_eq!(of("a{x=\"1\",}"), "_ 3 _ _ _ _ stale");
        assert_eq!(of("b{}"), "_ _ _ _ _ _ 7 _ _ _ _ stale");
        assert_eq!(of("up{}"), "_ 1 _ _ _ _ 1 _ _ _ _ 0 _ _ _ _ 0");
    }
}
