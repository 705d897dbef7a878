//! `cargo xtask bench`: what limiter costs on this machine.

use std::process::ExitCode;

use limiter_tests::bench::{self, flood, mail};
use limiter_tests::daemon::DAEMON;
use limiter_tests::{fixture, host};
use serde_json::Value;

const USAGE: &str = "Usage: cargo xtask bench [verdict | mail | flood] [--json]; all without a name";

/// One benchmark: its name, what it needs of the machine, and what it prints for people and for programs.
struct Bench {
    name: &'static str,
    needs: &'static [&'static [host::Requirement]],
    run: fn() -> (String, Value),
}

const ALL: [Bench; 3] = [
    Bench { name: "verdict", needs: &[fixture::KERNEL], run: verdict },
    Bench { name: "mail", needs: &[host::BED, DAEMON, mail::NEEDS], run: mails },
    Bench { name: "flood", needs: &[host::BED, DAEMON, flood::NEEDS], run: floods },
];

fn verdict() -> (String, Value) {
    let effort = bench::Effort::FULL;
    let costs = bench::measure(effort, |round, of| eprintln!("verdict: round {round} of {of}"));
    let head = format!("Medians of {} rounds of {} runs each:\n\n", effort.rounds, effort.repeat);
    (head + &bench::table(&costs), bench::json(&costs))
}

fn mails() -> (String, Value) {
    let effort = mail::Effort::FULL;
    let figures = mail::measure(effort, |step| eprintln!("mail: {step}"));
    let head = format!("Medians of {} rounds, ratios within each round:\n\n", effort.rounds);
    (head + &mail::table(&figures), mail::json(&figures))
}

fn floods() -> (String, Value) {
    let report = flood::measure(flood::Effort::FULL, |step| eprintln!("flood: {step}"));
    (report.text(), report.json())
}

fn main() -> ExitCode {
    let mut as_json = false;
    let mut wanted = None;
    for arg in std::env::args().skip(1) {
        match arg.as_str() {
            "--json" => as_json = true,
            "--help" | "-h" => {
                println!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            name if ALL.iter().any(|bench| bench.name == name) && wanted.is_none() => {
                wanted = Some(name.to_owned());
            }
            unknown => {
                eprintln!("bench: unknown argument `{unknown}`\n{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    let chosen = ALL.iter().filter(|bench| wanted.as_ref().is_none_or(|name| name == bench.name));
    for Bench { name, needs, run } in chosen {
        if !host::offers(&format!("bench {name}"), needs) {
            return ExitCode::FAILURE;
        }
        let (table, figures) = run();
        if as_json {
            println!("{figures:#}");
        } else {
            println!("{table}");
        }
    }
    ExitCode::SUCCESS
}
