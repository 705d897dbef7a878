//! The alert rules, by Prometheus' own `promtool`, with everything around them: runbook and dashboard.
//!
//! | module | law |
//! | --- | --- |
//! | [`rules`] | each alert is complete, fires in time with its labels and its text, and is silent just below |
//! | [`runbook`] | each alert has its entry and each entry its alert; every command in them exists |
//! | [`dashboard`] | it can be imported, its panels do not overlap, its queries are valid |
//! | [`names`] | every metric and label that rules and dashboard name is in docs/metrics.md |
//!
//! On series from real runs: the replays, and the suite `netns_alerts`.
#![forbid(unsafe_code)]

mod dashboard;
mod names;
mod rules;
mod runbook;
