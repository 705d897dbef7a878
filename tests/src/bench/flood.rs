//! What refusing a flood costs: SYNs per second that limiter, its peers, and an empty XDP program get rid of.
//!
//! Each guard stands before a server of its own, on a veth; all are set up first,
//! and rounds go through them in turn. Ratios are of a round, a figure is the
//! median of the rounds. Frames come from a program in the kernel
//! ([`crate::generator`]), on the same CPU as what is done about them, so that
//! making them is part of every figure.

mod guard;
mod lane;
mod load;

use std::time::Duration;

use guard::Guard;
use lane::{Lane, Sample, Trips};
use load::{LIMIT, Load};

use super::report::{Bound, Figure, Report, Table, count, median, number};
use crate::host::{self, Requirement};
use crate::map_memory;
use crate::veth::Bed;

/// What this needs of the machine, beside the bed and the daemon.
pub const NEEDS: &[Requirement] = &[Requirement::Kernel((5, 18), "live frames of BPF_PROG_TEST_RUN")];

/// How much to do.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds.
    pub rounds: usize,
    /// How long a run takes, about.
    pub span: Duration,
    /// How long a connection is watched under each load.
    pub watch: Duration,
}

impl Effort {
    /// What `cargo xtask bench flood` takes: some two minutes.
    pub const FULL: Self =
        Self { rounds: 5, span: Duration::from_millis(900), watch: Duration::from_secs(2) };
    /// Enough to see that it works.
    pub const SMOKE: Self =
        Self { rounds: 1, span: Duration::from_millis(10), watch: Duration::from_millis(50) };
}

/// What was measured under one load.
struct Round {
    load: Load,
    rows: Vec<Row>,
    talk: Option<Trips>,
    /// Entries of unproven sources that stayed, and bytes by which the daemon's maps grew.
    grown: (f64, f64),
}

/// One guard of a load.
struct Row {
    guard: Guard,
    /// The load, if it is another than that of the rest.
    load: Load,
    samples: Vec<Sample>,
}

/// Measures; `progress` hears of each step.
#[must_use]
pub fn measure(effort: Effort, mut progress: impl FnMut(&str)) -> Report {
    let mut report =
        Report { name: "flood", title: "A flood of SYNs", method: method(effort), ..Report::default() };
    let mut guards = vec![Guard::EmptyDrop, Guard::Limiter];
    for guard in [Guard::XdpFilter, Guard::Meter, Guard::Count, Guard::Connlimit, Guard::Hashlimit] {
        let missing: Vec<_> = guard.needs().iter().filter_map(|need| need.missing()).collect();
        if missing.is_empty() {
            guards.push(guard);
        } else {
            report.not_measured.push(format!("{}: {}", guard.label(), missing.join(", ")));
        }
    }
    for load in Load::ALL {
        measure_load(load, &guards, effort, &mut progress).tell(&mut report);
    }
    report
}

fn measure_load(load: Load, guards: &[Guard], effort: Effort, progress: &mut impl FnMut(&str)) -> Round {
    let mut wanted: Vec<_> = guards.iter().map(|&guard| (guard, load)).collect();
    if load == Load::Random {
        wanted.extend([(Guard::Limiter, Load::One), (Guard::EmptyPass, load), (Guard::LimiterPasses, load)]);
    }
    let beds: Vec<_> =
        wanted.iter().map(|(guard, _)| Bed::plan().clients(guard.links()).without_pass().build()).collect();
    let mut lanes: Vec<_> = wanted
        .iter()
        .zip(&beds)
        .map(|(&(guard, load), bed)| {
            progress(&format!("{}: sets up {}", load.label(), guard.label()));
            Lane::new(guard, load, bed, effort.span)
        })
        .collect();
    let before = footprint(&lanes, load);
    let mut rows: Vec<_> =
        wanted.iter().map(|&(guard, load)| Row { guard, load, samples: Vec::new() }).collect();
    for round in 0..effort.rounds {
        progress(&format!("{}: round {} of {}", load.label(), round + 1, effort.rounds));
        // Every other round the other way round: what warms up or wears out favours nobody.
        let mut order: Vec<_> = (0..lanes.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for n in order {
            rows[n].samples.push(lanes[n].measure(effort.span));
        }
    }
    let after = footprint(&lanes, load);
    progress(&format!("{}: a connection beside it", load.label()));
    let limiter = lanes.iter_mut().find(|lane| (lane.guard, lane.load) == (Guard::Limiter, load));
    let talk = limiter.and_then(|lane| lane.talk(effort.watch));
    Round { load, rows, talk, grown: (after.0 - before.0, after.1 - before.1) }
}

/// Entries of sources, and bytes of maps, of all daemons under the load.
fn footprint(lanes: &[Lane<'_>], load: Load) -> (f64, f64) {
    let daemons = lanes.iter().filter(|lane| lane.load == load).filter_map(|lane| lane.protection.daemon());
    daemons.fold((0.0, 0.0), |(entries, bytes), daemon| {
        // What is read of sources is what the last recount found.
        daemon.recount(1);
        (entries + map_memory::known_sources(daemon), bytes + count(map_memory::map_bytes(daemon)))
    })
}

impl Round {
    /// Adds what was measured to a report.
    fn tell(&self, report: &mut Report) {
        let of = |guard| self.row(guard, self.load).expect("these two are always measured");
        let (empty, limiter) = (of(Guard::EmptyDrop), of(Guard::Limiter));
        report.tables.push(self.table(empty, limiter));
        let named = |what: &str| format!("{}: {what}", self.load.label());
        let mut figure =
            |what: &str, value, bound| report.figures.push(Figure::wanted(named(what), value, "", bound));
        if self.load == Load::Random {
            if let Some(one) = self.row(Guard::Limiter, Load::One) {
                figure("limiter to itself with one source", limiter.ratio(one), Bound::Least(0.8));
            }
            let (entries, bytes) = self.grown;
            figure("entries that unproven sources left", entries, Bound::Most(0.0));
            // A page: the witness has a row of some 100 bytes for each reason for which the kernel drops packets.
            figure("bytes by which all maps of limiter grew", bytes, Bound::Most(4_096.0));
        } else {
            for (guard, least) in
                [(Guard::EmptyDrop, 0.65), (Guard::Count, 7.0), (Guard::Connlimit, 5.0), (Guard::Meter, 2.5)]
            {
                if let Some(row) = self.row(guard, self.load) {
                    figure(&format!("limiter to {}", guard.label()), limiter.ratio(row), Bound::Least(least));
                }
            }
        }
        let answered = 100.0 * limiter.median(|sample| sample.answered);
        report
            .notes
            .push(named(&format!("limiter answered {answered:.1} % by a reset, the rest by silence.")));
        if let Some(talk) = self.talk {
            let retransmitted = count(talk.retransmitted);
            figure("segments that a connection beside it sent again", retransmitted, Bound::Most(0.0));
            report.notes.push(named(&format!(
                "{} round trips on a connection of a known source over another link: {} ms in the middle, {} ms for 99.9 %, \
                 {} ms at most.",
                talk.count,
                number(talk.median.as_secs_f64() * 1e3),
                number(talk.most.as_secs_f64() * 1e3),
                number(talk.slowest.as_secs_f64() * 1e3),
            )));
        }
    }

    fn row(&self, guard: Guard, load: Load) -> Option<&Row> {
        self.rows.iter().find(|row| row.guard == guard && row.load == load)
    }

    fn table(&self, empty: &Row, limiter: &Row) -> Table {
        let percent = |share: f64| format!("{:.1}", 100.0 * share.max(0.0));
        let row = |row: &Row| {
            let per_second = row.median(|sample| sample.per_second);
            let other = if row.load == self.load { "" } else { ", one source" };
            vec![
                format!("{}{other}", row.guard.label()),
                format!("{:.2}", per_second / 1e6),
                format!("{:.0}", 1e9 / per_second),
                format!("{:.2}", row.ratio(empty)),
                format!("{:.2}", limiter.ratio(row)),
                percent(row.median(|sample| sample.passed)),
                percent(row.median(|sample| sample.lost)),
            ]
        };
        Table {
            title: format!("A flood from {}", self.load.label()),
            columns: vec![
                "guard",
                "Mpps",
                "ns/packet",
                "to empty drop",
                "limiter to it",
                "let in %",
                "lost %",
            ],
            rows: self.rows.iter().map(row).collect(),
        }
    }
}

impl Row {
    fn median(&self, value: fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(value).collect())
    }

    /// The median over all rounds of how much faster this one is than another.
    fn ratio(&self, other: &Self) -> f64 {
        let pairs = self.samples.iter().zip(&other.samples);
        median(pairs.map(|(this, other)| this.per_second / other.per_second).collect())
    }
}

fn method(effort: Effort) -> Vec<String> {
    let version = |command: &str, flag: &str| {
        let found = host::find_command(command)?;
        let text = host::run(std::process::Command::new(found).arg(flag));
        Some(text.lines().next()?.trim().to_owned())
    };
    let versions = [version("nft", "--version"), version("iptables", "--version")];
    vec![
        format!(
            "Medians of {} rounds of some {} ms per guard, ratios within each round. A program in the kernel makes \
             SYNs of 60 bytes to port 25, with right checksums, and sends them through a veth into a network \
             namespace; one CPU does that and what follows, so that making them is part of every figure.",
            effort.rounds,
            effort.span.as_millis()
        ),
        format!(
            "One source, and each of 200, has {LIMIT} real connections open and so is at its limit, in limiter, \
             nftables ct count and iptables connlimit. The circuit breaker of limiter is off: with 200 of 201 sources \
             over their limit it would open. nftables' meter and iptables' hashlimit know a rate only; xdp-filter \
             has a fixed list of addresses, or for random sources of the port. With random sources nobody has \
             connections of its own: limiter, ct count and connlimit are at a ceiling of {LIMIT} connections of all \
             together, which limiter finds out after it has looked up source and class of every SYN."
        ),
        "limiter is the real daemon in `enforce`, refusing by resets with the default budget: 20,000 in each \
         second of the clock and on each CPU, the rest in silence. A run lies within such a second. An XDP program \
         drops the resets at the far end of the veth, as who floods is another machine. The witness is off: it looks at \
         every packet that the kernel drops for anybody, and peers would have to pay for it. nftables and iptables have an empty XDP program before them, without which \
         a veth takes nothing in. Before it is measured each guard is proved: its own \
         counter moves, no SYN reaches TCP, and another source is let in. `let in %` is what reached TCP all the \
         same: what a table of 65,535 sources has no room for."
            .to_owned(),
        format!("Peers: {}.", versions.into_iter().flatten().collect::<Vec<_>>().join(", ")),
    ]
}
