//! `cargo xtask bench`: what limiter costs per packet on this machine.

use std::process::ExitCode;

use limiter_tests::bench::{Effort, json, measure, table};
use limiter_tests::{fixture, host};

const USAGE: &str = "Usage: cargo xtask bench [verdict] [--json]";

fn main() -> ExitCode {
    let mut as_json = false;
    for arg in std::env::args().skip(1) {
        match arg.as_str() {
            "verdict" => {}
            "--json" => as_json = true,
            "--help" | "-h" => {
                println!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            unknown => {
                eprintln!("bench: unknown argument `{unknown}`; the only measurement is `verdict`\n{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    if !host::offers("bench verdict", &[fixture::KERNEL]) {
        return ExitCode::FAILURE;
    }
    let costs = measure(Effort::FULL, |round, of| eprintln!("round {round} of {of}"));
    if as_json {
        println!("{:#}", json(&costs));
    } else {
        println!("Medians of {} rounds of {} runs each:\n", Effort::FULL.rounds, Effort::FULL.repeat);
        print!("{}", table(&costs));
    }
    ExitCode::SUCCESS
}
