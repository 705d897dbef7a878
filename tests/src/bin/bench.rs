//! `cargo xtask bench`: what limiter costs on this machine.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use limiter_tests::bench::report::{Report, document};
use limiter_tests::bench::{self, flood, mail, scale};
use limiter_tests::daemon::DAEMON;
use limiter_tests::{fixture, host};
use serde_json::Value;

const USAGE: &str =
    "Usage: cargo xtask bench [verdict | mail | flood | scale] [--json] [--report FILE]; all without a name";

/// Measures, and tells of each step.
type Measure = fn(&mut dyn FnMut(&str)) -> Report;

/// One benchmark: its name, what it needs of the machine, and how it is run.
struct Bench {
    name: &'static str,
    needs: &'static [&'static [host::Requirement]],
    run: Measure,
}

const ALL: [Bench; 4] = [
    Bench {
        name: "verdict",
        needs: &[fixture::KERNEL],
        run: |progress| bench::measure(bench::Effort::FULL, progress),
    },
    Bench {
        name: "mail",
        needs: &[host::BED, DAEMON, mail::NEEDS],
        run: |progress| mail::measure(mail::Effort::FULL, progress),
    },
    Bench {
        name: "flood",
        needs: &[host::BED, DAEMON, flood::NEEDS],
        run: |progress| flood::measure(flood::Effort::FULL, progress),
    },
    Bench {
        name: "scale",
        needs: &[host::BED, DAEMON, fixture::KERNEL],
        run: |progress| scale::measure(scale::Effort::FULL, progress),
    },
];

/// What the command line asks for.
#[derive(Default)]
struct Request {
    name: Option<String>,
    as_json: bool,
    /// Where everything is written to as Markdown.
    report: Option<PathBuf>,
}

/// Reads the command line; an error is what is wrong with it.
fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Request, String> {
    let mut request = Request::default();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => request.as_json = true,
            "--report" => match arguments.next() {
                Some(file) => request.report = Some(file.into()),
                None => return Err("`--report` takes a file".to_owned()),
            },
            name if ALL.iter().any(|bench| bench.name == name) && request.name.is_none() => {
                request.name = Some(name.to_owned());
            }
            unknown => return Err(format!("unknown argument `{unknown}`")),
        }
    }
    Ok(request)
}

fn main() -> ExitCode {
    if std::env::args().skip(1).any(|argument| argument == "--help" || argument == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let request = match parse(std::env::args().skip(1)) {
        Ok(request) => request,
        Err(wrong) => {
            eprintln!("bench: {wrong}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut reports = Vec::new();
    for Bench { name, needs, run } in &ALL {
        if request.name.as_ref().is_some_and(|wanted| wanted != name) {
            continue;
        }
        if !host::offers(&format!("bench {name}"), needs) {
            return ExitCode::FAILURE;
        }
        let report = run(&mut |step| eprintln!("{name}: {step}"));
        if !request.as_json {
            println!("{}", report.text());
        }
        reports.push(report);
    }
    if request.as_json {
        println!("{:#}", reports.iter().map(Report::json).collect::<Value>());
    }
    if let Some(file) = request.report
        && let Err(e) = fs::write(&file, document(&reports))
    {
        eprintln!("bench: writing {}: {e}", file.display());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
