//! The replay of the outage of gehirn: the same code as `cargo xtask replay gehirn`.
//!
//! | case | law |
//! | --- | --- |
//! | `as_it_was` | without exemption and breaker the balancer ejects 465 and 587, and keeps them out; somebody is paged within 15 s |
//! | `with_the_preset` | an exempt balancer is never refused |
//! | `with_the_breaker` | the circuit breaker alone has the service back in 45 s, and pages within 15 s |
//! | `trying_again` | limits that are tried again are never the outage |
//!
//! Acts have hosts of their own.
//!
//! Runs in parallel, and mostly waits.
#![forbid(unsafe_code)]

use limiter_tests::daemon::DAEMON;
use limiter_tests::record::PROMTOOL;
use limiter_tests::replay::gehirn::REPLAY;
use limiter_tests::{host, require};

/// Plays an act.
fn play(act: usize) {
    require!(host::BED, DAEMON, PROMTOOL);
    REPLAY.assert(act);
}

/// The outage happens, on the ports that repair did not look at, and stays.
#[test]
fn as_it_was() {
    play(0);
}

/// The preset of the balancer prevents it.
#[test]
fn with_the_preset() {
    play(1);
}

/// The circuit breaker ends it.
#[test]
fn with_the_breaker() {
    play(2);
}

/// The circuit breaker tries limits again without causing it.
#[test]
fn trying_again() {
    play(3);
}
