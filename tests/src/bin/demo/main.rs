//! `cargo xtask run`: the main job of limiter, shown on real packets.
//!
//! A load balancer that probes, two good clients and a greedy one speak SMTP to
//! a real server behind the real daemon, all in network namespaces of their own.
//! What happens is printed as it happens. It ends by itself, with a summary and
//! exit code 0 if everything was as it should be; nothing stays behind.
#![forbid(unsafe_code)]

mod cast;
mod story;

use std::panic;
use std::process::ExitCode;
use std::time::Instant;

use limiter_tests::daemon::DAEMON;
use limiter_tests::host;
use limiter_tests::interrupt::Interrupt;
use limiter_tests::screen::{Look, Screen};

fn main() -> ExitCode {
    let screen = Screen::new();
    // A bed that cannot be built panics, which takes down what there is of it.
    let outcome = panic::catch_unwind(|| demonstrate(screen));
    match outcome.unwrap_or_else(|_| Err("something broke; the cause is above".to_owned())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            screen.end(Look::Bad, format!("\nNot as it should be: {problem}"));
            ExitCode::FAILURE
        }
    }
}

fn demonstrate(screen: Screen) -> Result<(), String> {
    let began = Instant::now();
    let needs = host::BED.iter().chain(DAEMON).filter_map(|need| need.missing());
    let missing: Vec<String> = needs.collect();
    if !missing.is_empty() {
        return Err(format!("this machine lacks something: {}", missing.join(", ")));
    }
    let interrupt = Interrupt::listen().map_err(|e| format!("taking signals: {e}"))?;

    let bed = cast::networks(screen);
    let names = cast::names(&bed);
    let outcome = story::tell(&bed, screen, &interrupt);
    // Before the last word: what cannot be taken down is part of the outcome.
    drop(bed);
    let left = names.into_iter().filter(|path| path.exists()).map(|path| path.display().to_string());
    let left: Vec<String> = left.collect();
    if !left.is_empty() {
        return Err(format!("left behind: {}", left.join(", ")));
    }
    outcome?;
    let took = began.elapsed().as_secs_f64();
    screen.end(Look::Good, format!("\nAll as it should be, in {took:.1} s. Nothing stays behind."));
    Ok(())
}
