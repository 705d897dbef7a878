//! `cargo xtask replay`: a recorded outage, played against the limiter.
//!
//! Without a name it lists the replays. With one it prints a timeline of each
//! act as it happens, then the figures; exit code 1 if one is missed. `--json`
//! prints the figures alone, for a program to read. Nothing stays behind.
#![forbid(unsafe_code)]

use std::panic;
use std::process::ExitCode;
use std::time::Instant;

use limiter_tests::daemon::DAEMON;
use limiter_tests::host;
use limiter_tests::interrupt::Interrupt;
use limiter_tests::replay::{self, Act, Figure, Replay, Stage};
use limiter_tests::screen::{Look, Screen};
use serde_json::{Value, json};

/// The command line was wrong.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (options, names): (Vec<&String>, Vec<&String>) = args.iter().partition(|arg| arg.starts_with('-'));
    let known = replay::ALL.iter().find(|replay| names == [replay.name]);
    if options.iter().any(|option| *option != "--json") || (known.is_none() && !names.is_empty()) {
        eprintln!("usage: cargo xtask replay [INCIDENT] [--json]; without INCIDENT it lists them");
        return ExitCode::from(USAGE);
    }
    let Some(replay) = known else {
        for replay in replay::ALL {
            println!("{:8}  {}", replay.name, replay.summary);
        }
        return ExitCode::SUCCESS;
    };
    let screen = Screen::new();
    let json = !options.is_empty();
    // A bed that cannot be built panics, which takes down what there is of it.
    let outcome = panic::catch_unwind(|| play(replay, screen, json));
    match outcome.unwrap_or_else(|_| Err("something broke; the cause is above".to_owned())) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("Not as it should be: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Plays every act; says whether all figures were met.
fn play(replay: &Replay, screen: Screen, json: bool) -> Result<bool, String> {
    let needs = [host::BED, DAEMON].into_iter().chain(replay.needs.iter().copied()).flatten();
    let missing: Vec<String> = needs.filter_map(|need| need.missing()).collect();
    if !missing.is_empty() {
        return Err(format!("this machine lacks something: {}", missing.join(", ")));
    }
    let interrupt = Interrupt::listen().map_err(|e| format!("taking signals: {e}"))?;
    let mut report = Vec::new();
    let mut met = true;
    for (n, act) in replay.acts.iter().enumerate() {
        if !json {
            screen.heading(format!("Act {}: {}", n + 1, act.title));
        }
        let began = Instant::now();
        let figures = perform(act, screen, json, &interrupt)?;
        met &= figures.iter().all(|figure| figure.met);
        report.push(as_json(act, began.elapsed().as_secs_f64(), &figures));
        if !json {
            show(screen, &figures);
        }
    }
    if json {
        println!("{:#}", json!({ "replay": replay.name, "met": met, "acts": report }));
    } else if met {
        screen.end(Look::Good, "\nEvery figure is met.");
    } else {
        screen.end(Look::Bad, "\nA figure is missed.");
    }
    Ok(met)
}

fn perform(act: &Act, screen: Screen, json: bool, interrupt: &Interrupt) -> Result<Vec<Figure>, String> {
    let mut tell = |event: replay::Event| {
        if !json {
            screen.say_at(event.at, event.who, event.look, event.text);
        }
    };
    (act.play)(&mut Stage { tell: &mut tell, go_on: &|| interrupt.check() })
}

fn show(screen: Screen, figures: &[Figure]) {
    let rows: Vec<([String; 4], Look)> = figures
        .iter()
        .map(|figure| {
            let (word, look) = if figure.met { ("met", Look::Good) } else { ("MISSED", Look::Bad) };
            ([figure.what.clone(), figure.wanted.clone(), figure.measured.clone(), word.to_owned()], look)
        })
        .collect();
    screen.end(Look::Plain, "");
    screen.table(["figure", "wanted", "measured", ""], &rows);
}

fn as_json(act: &Act, seconds: f64, figures: &[Figure]) -> Value {
    let figures: Vec<Value> = figures
        .iter()
        .map(|figure| json!({ "what": figure.what, "wanted": figure.wanted, "measured": figure.measured, "met": figure.met }))
        .collect();
    json!({ "act": act.title, "seconds": seconds, "figures": figures })
}
