//! The replay of the outage of wikimedia: the same code as `cargo xtask replay wikimedia`.
//!
//! | case | law |
//! | --- | --- |
//! | `as_it_was` | the session stalls, and nothing says why |
//! | `watched_ipv4`, `watched_ipv6` | shown and paged within 15 s of the first lost packet, as netfilter's doing |
//!
//! Acts have hosts of their own.
//!
//! Runs in parallel, and mostly waits.
#![forbid(unsafe_code)]

use limiter_tests::daemon::DAEMON;
use limiter_tests::mail::POSTFIX;
use limiter_tests::record::PROMTOOL;
use limiter_tests::replay::wikimedia::REPLAY;
use limiter_tests::{host, require};

/// Plays an act.
fn play(act: usize) {
    require!(host::BED, DAEMON, POSTFIX, PROMTOOL);
    REPLAY.assert(act);
}

/// The outage happens, and nobody sees it.
#[test]
fn as_it_was() {
    play(0);
}

/// It is seen, named and paged.
#[test]
fn watched_ipv4() {
    play(1);
}

/// It is in IPv6 too.
#[test]
fn watched_ipv6() {
    play(2);
}
