//! What a verdict costs: each path through the programs against an empty program
//! of its type, in one run.
//!
//! The kernel repeats a program on one frame (`BPF_PROG_TEST_RUN`) and reports
//! the mean. Rounds go through all paths in turn, each right after the empty
//! program, so that whatever else the machine does falls on both alike; a
//! path's cost is the median, and so is its ratio.

pub mod flood;
pub mod mail;
pub mod report;
pub mod scale;

mod paths;

use aya::programs::{CgroupSkb, ProgramError, TestRun as _, TestRunOptions, TestRunResult, Xdp};
use aya::{Ebpf, EbpfLoader};

pub use paths::Bed;

use crate::xdp::{NAME, object};
use report::{Bound, Figure, Report, Table, median};

/// Whether the kernel reads its clock around every run of a program.
const TIMED: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// How long and how often to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Passes over all paths; a median wants at least five.
    pub rounds: u32,
    /// Runs of a program in one go.
    pub repeat: u32,
}

impl Effort {
    /// What `cargo xtask bench verdict` takes: some forty seconds, each path a few hundredths of one at a time.
    pub const FULL: Self = Self { rounds: 51, repeat: 200_000 };
    /// Enough to see that it works.
    pub const SMOKE: Self = Self { rounds: 1, repeat: 1_000 };
}

/// Where a program is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hook {
    /// XDP, with the program `ingress`.
    Xdp,
    /// `cgroup_skb/ingress`, with the program `gate`.
    CgroupSkb,
}

/// What one path costs.
struct Cost {
    /// The path, in words.
    path: &'static str,
    /// Nanoseconds per packet.
    ns: f64,
    /// The same over what an empty program of this type takes.
    ratio: f64,
    /// What the ratio should be at most; none where nothing was asked for.
    wanted: Option<f64>,
}

/// Programs that do nothing: what the call itself takes.
struct Empty {
    xdp: Ebpf,
    cgroup_skb: Ebpf,
}

impl Empty {
    fn load() -> Self {
        let load = |section, returned| {
            EbpfLoader::new().btf(None).load(&object(section, returned)).expect("the object is well-formed")
        };
        let mut empty = Self { xdp: load("xdp.frags", 2), cgroup_skb: load("cgroup_skb/ingress", 1) };
        let xdp: &mut Xdp = program_mut(&mut empty.xdp);
        xdp.load().expect("loading an XDP program needs CAP_BPF");
        let cgroup_skb: &mut CgroupSkb = program_mut(&mut empty.cgroup_skb);
        cgroup_skb.load().expect("loading a cgroup program needs CAP_BPF");
        empty
    }

    fn mean_ns(&self, hook: Hook, frame: &[u8], repeat: u32) -> f64 {
        let result = match hook {
            Hook::Xdp => self.xdp().test_run(options(frame, repeat)),
            Hook::CgroupSkb => self.cgroup_skb().test_run(options(frame, repeat)),
        };
        mean_ns(result)
    }

    fn xdp(&self) -> &Xdp {
        self.xdp.program(NAME).and_then(|p| p.try_into().ok()).expect("the section says XDP")
    }

    fn cgroup_skb(&self) -> &CgroupSkb {
        self.cgroup_skb.program(NAME).and_then(|p| p.try_into().ok()).expect("the section says cgroup_skb")
    }
}

fn program_mut<'a, T>(ebpf: &'a mut Ebpf) -> &'a mut T
where
    &'a mut T: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let program = ebpf.program_mut(NAME).expect("the object holds the program");
    program.try_into().expect("the section says the type")
}

/// Measures every path; `progress` hears of each round.
#[must_use]
pub fn measure(effort: Effort, mut progress: impl FnMut(&str)) -> Report {
    let bed = Bed::new();
    let empty = Empty::load();
    let paths = bed.paths();
    let mut empties: [Vec<f64>; 2] = Default::default();
    let mut samples = vec![(Vec::new(), Vec::new()); paths.len()];
    for round in 0..effort.rounds {
        progress(&format!("round {} of {}", round + 1, effort.rounds));
        for (path, (times, ratios)) in paths.iter().zip(&mut samples) {
            let empty_ns = empty.mean_ns(path.hook, &path.frame, effort.repeat);
            let ns = path.mean_ns(effort.repeat);
            empties[path.hook as usize].push(empty_ns);
            times.push(ns);
            ratios.push(ns / empty_ns);
        }
    }
    let empties = empties.map(median);
    let empty_cost = |path, hook| Cost { path, ns: empties[hook as usize], ratio: 1.0, wanted: None };
    let mut costs = vec![
        empty_cost("empty XDP program", Hook::Xdp),
        empty_cost("empty cgroup_skb program", Hook::CgroupSkb),
    ];
    costs.extend(paths.iter().zip(samples).map(|(path, (times, ratios))| Cost {
        path: path.name,
        ns: median(times),
        ratio: median(ratios),
        wanted: path.wanted,
    }));
    report(effort, &costs)
}

fn report(effort: Effort, costs: &[Cost]) -> Report {
    let row =
        |cost: &Cost| vec![cost.path.to_owned(), format!("{:.1}", cost.ns), format!("{:.2}", cost.ratio)];
    let figure = |cost: &Cost| {
        let name = format!("{}, to an empty program", cost.path);
        Some(Figure::wanted(name, cost.ratio, "", Bound::Most(cost.wanted?)))
    };
    let timed = std::fs::read_to_string(TIMED).is_ok_and(|value| value.trim() != "0");
    let timed = timed.then(|| {
        "kernel.bpf_stats_enabled is on: the kernel times every run, which flatters the ratios.".to_owned()
    });
    Report {
        name: "verdict",
        title: "A verdict",
        method: vec![format!(
            "Medians of {} rounds of {} runs each (`BPF_PROG_TEST_RUN`), in which the kernel repeats a program on one \
             frame; ratios to an empty program of the same type right before it.",
            effort.rounds, effort.repeat
        )],
        tables: vec![Table {
            title: "Each path through the programs".to_owned(),
            columns: vec!["path", "ns/packet", "ratio"],
            rows: costs.iter().map(row).collect(),
        }],
        figures: costs.iter().filter_map(figure).collect(),
        notes: timed.into_iter().collect(),
        ..Report::default()
    }
}

fn options(frame: &[u8], repeat: u32) -> TestRunOptions<'_> {
    TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() }
}

/// The mean of a run. The kernel cuts it to whole nanoseconds: half a one makes up for that.
fn mean_ns(result: Result<TestRunResult, ProgramError>) -> f64 {
    result.expect("running a program needs CAP_BPF").duration.as_secs_f64() * 1e9 + 0.5
}
