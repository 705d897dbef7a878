//! The benchmarks, as short as they can be: what they rest on works, and each tells what it is to tell.
//!
//! - every guard is measured or said to be missing: `flood_*`
//! - all that grows is looked at: `scale_*`
//! - the others: `verdict_*`, `mail_*`
#![forbid(unsafe_code)]

use limiter_tests::bench::report::{Report, document};
use limiter_tests::bench::{self, flood, mail, scale};
use limiter_tests::daemon::DAEMON;
use limiter_tests::{fixture, host, require};

/// Panics unless a report has rows and figures that are numbers, in every form.
fn assert_told(report: &Report) {
    assert!(report.tables.iter().all(|table| !table.rows.is_empty()), "{}", report.text());
    assert!(!report.figures.is_empty() && report.figures.iter().all(|figure| figure.value.is_finite()));
    let first = &report.figures[0].name;
    assert!(report.text().contains(first) && document(std::slice::from_ref(report)).contains(first));
    assert_eq!(report.json()["figures"][0]["name"], first.as_str());
}

/// A flood of each kind meets each guard, which is proved to refuse it.
#[test]
fn flood_tells_of_every_guard() {
    require!(host::BED, DAEMON, flood::NEEDS);
    let report = flood::measure(flood::Effort::SMOKE, |step| println!("{step}"));
    assert_told(&report);
    let [one, many, random] = &report.tables[..] else { panic!("a table for each load") };
    let guards = 7 - report.not_measured.len();
    assert_eq!([one.rows.len(), many.rows.len(), random.rows.len()], [guards, guards, guards + 3]);
}

/// Prefixes, sources and connections are all looked at.
#[test]
fn scale_tells_of_all_that_grows() {
    require!(host::BED, DAEMON, fixture::KERNEL);
    let report = scale::measure(scale::Effort::SMOKE, |step| println!("{step}"));
    assert_told(&report);
    assert_eq!(report.tables.len(), 4);
}

/// Every path gets a verdict.
#[test]
fn verdict_tells_of_every_path() {
    require!(fixture::KERNEL);
    assert_told(&bench::measure(bench::Effort::SMOKE, |step| println!("{step}")));
}

/// Mail goes through with limiter and without.
#[test]
fn mail_tells_of_every_guard() {
    require!(host::BED, DAEMON, mail::NEEDS);
    assert_told(&mail::measure(mail::Effort::SMOKE, |step| println!("{step}")));
}
