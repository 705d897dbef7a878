//! How limiter grows: with prefixes, with known sources, with open connections.
//!
//! Verdicts are timed on programs that are attached to nothing; everything else
//! on the real daemon, with sockets of a real server whose clients are packets only.

mod connections;

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use aya::programs::TestRun as _;

use super::report::{Bound, Figure, Report, Table, number};
use super::{Empty, Hook, mean_ns, median, options, paths};
use crate::daemon::{Daemon, enforcing};
use crate::fixture::Fixture;
use crate::veth::Bed;

/// How much to do.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Prefixes of a policy.
    pub prefixes: &'static [u32],
    /// Known sources.
    pub sources: &'static [u32],
    /// Open connections.
    pub connections: &'static [u32],
    /// Rounds.
    pub rounds: u32,
    /// Rounds of a verdict, which is short.
    pub verdict_rounds: u32,
    /// Runs of a program in one go.
    pub repeat: u32,
}

impl Effort {
    /// What `cargo xtask bench scale` takes: some two minutes.
    pub const FULL: Self = Self {
        prefixes: &[10, 1_000, 10_000, 100_000],
        sources: &[100, 10_000, 100_000, 1_000_000],
        connections: &[1_000, 10_000, 100_000],
        rounds: 5,
        verdict_rounds: 31,
        repeat: 200_000,
    };
    /// Enough to see that it works.
    pub const SMOKE: Self = Self {
        prefixes: &[10, 100],
        sources: &[100],
        connections: &[50, 100],
        rounds: 1,
        verdict_rounds: 1,
        repeat: 1_000,
    };
}

/// The first known source, and one that nobody knows.
const FIRST: Ipv4Addr = Ipv4Addr::new(11, 0, 0, 0);
const UNKNOWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);
/// What a service should add to an empty program for a SYN (`bench verdict`).
const VERDICT_MAX: f64 = 4.0;
/// What a switch of the policy may take.
const SWITCH_MAX_MS: f64 = 1_000.0;

/// Measures; `progress` hears of each step.
#[must_use]
pub fn measure(effort: Effort, mut progress: impl FnMut(&str)) -> Report {
    let mut report = Report { name: "scale", title: "Scale", method: method(effort), ..Report::default() };
    verdicts(effort, &mut progress, &mut report);
    switches(effort, &mut progress, &mut report);
    connections::measure(effort, 1, effort.connections, &mut progress, &mut report);
    let most = effort.connections.len() - 1;
    connections::measure(effort, 10, &effort.connections[most..], &mut progress, &mut report);
    report
}

/// What a verdict on a SYN costs, by prefixes and by known sources.
fn verdicts(effort: Effort, progress: &mut impl FnMut(&str), report: &mut Report) {
    let empty = Empty::load();
    let mut rows = Vec::new();
    let most = effort.sources.last().copied().unwrap_or_default();
    let mut measure = |prefixes: u32, sources: u32, fixture: &Fixture| {
        progress(&format!("{prefixes} prefixes, {sources} known sources"));
        let known = Ipv4Addr::from_bits(FIRST.to_bits() + sources / 2);
        let frames = [paths::syn_from(known), paths::syn_from(UNKNOWN)];
        let [(known_ns, known), (unknown_ns, unknown)] = frames.map(|frame| {
            let (mut times, mut ratios) = (Vec::new(), Vec::new());
            for _ in 0..effort.verdict_rounds {
                let empty_ns = empty.mean_ns(Hook::Xdp, &frame, effort.repeat);
                let ns = mean_ns(fixture.xdp("ingress").test_run(options(&frame, effort.repeat)));
                times.push(ns);
                ratios.push(ns / empty_ns);
            }
            (median(times), median(ratios))
        });
        rows.push(vec![
            format!("{prefixes} prefixes, {sources} sources"),
            format!("{known_ns:.1}"),
            format!("{known:.2}"),
            format!("{unknown_ns:.1}"),
            format!("{unknown:.2}"),
        ]);
        if Some(&prefixes) != effort.prefixes.last() && sources != most {
            return;
        }
        for (what, ratio) in [("a known source", known), ("an unknown one", unknown)] {
            let name =
                format!("SYN of {what} to an empty program, {prefixes} prefixes and {sources} known sources");
            report.figures.push(Figure::wanted(name, ratio, "", Bound::Most(VERDICT_MAX)));
        }
    };
    let few = effort.sources[0];
    let known = |from: u32, to: u32| (from..to).map(|n| Ipv4Addr::from_bits(FIRST.to_bits() + n));
    for &prefixes in effort.prefixes {
        let mut fixture = paths::fixture_with(prefixes);
        paths::know(&mut fixture, known(0, few));
        measure(prefixes, few, &fixture);
    }
    let mut fixture = paths::fixture_with(effort.prefixes[0]);
    let mut there = 0;
    for &sources in effort.sources.iter().filter(|&&sources| sources > few) {
        paths::know(&mut fixture, known(there, sources.min(most)));
        there = sources;
        measure(effort.prefixes[0], sources, &fixture);
    }
    report.tables.push(Table {
        title: "A verdict on a SYN".to_owned(),
        columns: vec!["state", "known ns", "ratio", "unknown ns", "ratio"],
        rows,
    });
}

/// How long a change of the policy takes, from the command to its answer.
fn switches(effort: Effort, progress: &mut impl FnMut(&str), report: &mut Report) {
    let bed = Bed::new();
    let daemon = Daemon::start(&bed.server, &enforcing("native", 20));
    let mut rows = Vec::new();
    for &prefixes in effort.prefixes {
        progress(&format!("switches to {prefixes} prefixes"));
        let times = (0..effort.rounds).map(|round| milliseconds(switch(&daemon, prefixes, 20 + round)));
        let took = median(times.collect());
        rows.push(vec![format!("{prefixes} prefixes"), number(took)]);
        if Some(&prefixes) == effort.prefixes.last() {
            let name = format!("switch to a policy of {prefixes} prefixes");
            report.figures.push(Figure::wanted(name, took, "ms", Bound::Most(SWITCH_MAX_MS)));
        }
    }
    let columns = vec!["policy", "ms"];
    report.tables.push(Table { title: "`limiterctl reload`, to its answer".to_owned(), columns, rows });
}

/// Puts a policy with so many prefixes in force.
fn switch(daemon: &Daemon<'_>, prefixes: u32, limit: u32) -> Duration {
    let mut text = enforcing("native", limit) + "[[class]]\nname = \"many\"\nexempt = true\nprefixes = [\n";
    for n in 0..prefixes {
        // Every other one: neighbours of the same class are one prefix.
        writeln!(text, "\"{}\",", Ipv4Addr::from_bits(FIRST.to_bits() + 2 * n))
            .expect("a string takes everything");
    }
    daemon.configure(&(text + "]\n"));
    let start = Instant::now();
    let output = daemon.ctl(&["reload"]);
    let took = start.elapsed();
    assert!(output.status.success(), "a reload: {}", String::from_utf8_lossy(&output.stderr));
    took
}

fn milliseconds(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

fn method(effort: Effort) -> Vec<String> {
    vec![
        format!(
            "Medians of {} rounds. Verdicts: medians of {} rounds of {} runs of the program on one frame \
             (`BPF_PROG_TEST_RUN`), ratios to an empty program right before; one in ten of the known sources has a \
             connection open.",
            effort.rounds, effort.verdict_rounds, effort.repeat
        ),
        "Connections are real sockets of a server in a network namespace, which has greeted their clients; first each \
         from a source of its own, then ten from each. The clients are packets only, which takes no socket on their \
         side. A recount is timed around `limiterctl top`, which makes one for its answer; memory of maps is what \
         the kernel says in `fdinfo`, and that of a connection is what its socket has in options (`ss --memory`), \
         where the kernel counts storage of BPF."
            .to_owned(),
    ]
}
