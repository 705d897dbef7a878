//! The runbook: an entry per alert, and commands that can be typed.

use std::fs;

use clap::Parser as _;
use limiter_user::ctl::args::Args;

use crate::rules::{Alert, alerts};

const RUNBOOK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/runbook.md");

fn text() -> String {
    fs::read_to_string(RUNBOOK).unwrap_or_else(|e| panic!("reading {RUNBOOK}: {e}"))
}

/// Alerts of a severity and entries of its part are the same, in the same order.
#[test]
fn every_alert_has_its_entry_and_every_entry_its_alert() {
    let text = text();
    let (_, pages) = text.split_once("\n# Pages\n").expect("a part about pages");
    let (pages, tickets) = pages.split_once("\n# Tickets\n").expect("a part about tickets");
    for (severity, part) in [("page", pages), ("ticket", tickets)] {
        let entries: Vec<&str> = part.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        let of_severity = |alert: &Alert| alert.fields["severity"] == severity;
        let named: Vec<String> = alerts().into_iter().filter(of_severity).map(|alert| alert.name).collect();
        assert_eq!(entries, named, "entries for severity {severity}");
    }
}

/// An entry says what to type and how it ends.
#[test]
fn every_entry_is_complete() {
    for entry in text().split("\n## ").skip(1) {
        let name = entry.lines().next().unwrap_or_default();
        assert!(entry.contains("```sh\n"), "{name} has a command");
        assert!(entry.contains("\nIt ends ") || entry.contains("the alert ends"), "{name} says how it ends");
    }
}

/// Every `limiterctl` in runbook and alerts is one that the command line takes.
#[test]
fn every_command_exists() {
    let text = text();
    let typed = text.split(['\n', '`']).filter(|line| line.starts_with("limiterctl "));
    let mut commands: Vec<String> = typed.map(str::to_owned).collect();
    commands.extend(alerts().iter().map(|alert| alert.fields["command"].clone()));
    commands.retain(|command| command.starts_with("limiterctl "));
    assert!(commands.len() > 60, "{} commands are read", commands.len());
    for command in commands {
        let typed = command.split(" #").next().unwrap_or_default();
        let typed = typed.replace("{{ $labels.service }}", "smtp").replace("PREFIX", "192.0.2.0/24");
        // A note is the only word with blanks in it.
        let (typed, note) = typed.split_once('"').map_or((typed.as_str(), None), |(typed, note)| {
            (typed, Some(note.trim_end().trim_end_matches('"')))
        });
        let words = typed.split_whitespace().chain(note);
        if let Err(error) = Args::try_parse_from(words) {
            panic!("`{command}` can be typed: {error}");
        }
    }
}
