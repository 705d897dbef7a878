//! The programs on a real kernel, attached to nothing: one frame, one verdict.
//!
//! A [`Fixture`] has maps of its own, so that a test sets every fact a verdict
//! rests on and reads every count it leaves. Frames go through
//! `BPF_PROG_TEST_RUN`: the verdict is the kernel's own.

mod build;
mod judge;
mod rules;
mod sources;

use std::net::IpAddr;

use aya::Ebpf;
use aya::maps::{Array, ArrayOfMaps, HashMap, MapData, PerCpuArray, PerCpuValues};
use aya::programs::{
    CgroupSkb, ProgramError, SchedClassifier, TestRun as _, TestRunOptions, TestRunResult, Xdp,
};
use limiter_common::addr::Family;
use limiter_common::event::{Amendment, Explanation};
use limiter_common::map::{
    Bounds, Control, Counters, FailOpen, PortHints, ResetBudget, Source, SourceKey, Standing, Total,
};
use limiter_common::names;
use limiter_common::policy::Policy;
use limiter_common::ranges::RangePage;
use limiter_common::verdict::{Point, Verdict};
use limiter_common::word::Word;
use limiter_user::dataplane::kernel::local::LocalAddresses;
use limiter_user::dataplane::kernel::ranges;
use limiter_user::policy::Ranges;
use nix::time::{ClockId, clock_gettime};
use zerocopy::{FromBytes as _, FromZeros as _, IntoBytes as _};

pub use build::{KERNEL, objects, verified_instructions};
pub use judge::{FAMILIES, HOSTS, IMAP, Judge, LIMIT, Law, SMTP};
pub use rules::Rules;

/// Seed of the hashes: any number will do, and the same one makes a run repeatable.
pub const SEED: u64 = 0x5eed_0f11_317e_4a11;
/// Shortest frame that `BPF_PROG_TEST_RUN` takes (an Ethernet header).
pub const FRAME_BYTES_MIN: usize = 14;

/// Where frames are judged as they arrive; the verdicts are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// XDP, by the program `ingress`.
    Xdp,
    /// tc, by the program `ingress_tc`.
    Tc,
}

impl Place {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Xdp, Self::Tc];

    /// Returns whether the kernel runs this frame here: it refuses a socket buffer without payload, and one of
    /// IP whose header is not whole (`bpf_prog_test_run_skb`, `net/bpf/test_run.c`).
    #[must_use]
    pub fn takes(self, frame: &[u8]) -> bool {
        let payload_min = match frame.get(12..FRAME_BYTES_MIN) {
            Some([0x08, 0x00]) => 20,
            Some([0x86, 0xdd]) => 40,
            _ => 1,
        };
        self == Self::Xdp || frame.len() >= FRAME_BYTES_MIN + payload_min
    }

    /// Returns what an action is called here (`enum xdp_action`, `include/uapi/linux/bpf.h`; `TC_ACT_*`,
    /// `include/uapi/linux/pkt_cls.h`).
    fn action(self, returned: u32) -> Option<Action> {
        const UNSPEC: u32 = u32::MAX;
        match (self, returned) {
            (Self::Xdp, 1) | (Self::Tc, 2) => Some(Action::Drop),
            (Self::Xdp, 2) | (Self::Tc, UNSPEC) => Some(Action::Pass),
            (Self::Xdp, 3) | (Self::Tc, 7) => Some(Action::Tx),
            _ => None,
        }
    }
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Loses it.
    Drop,
    /// Lets it through.
    Pass,
    /// Sends it back.
    Tx,
}

/// Whom a verdict was counted for, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// The service id.
    pub service: u32,
    /// The class id.
    pub class: u32,
    /// The IP version.
    pub family: Family,
    /// Where it fell.
    pub point: Point,
    /// The verdict.
    pub verdict: Verdict,
}

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the program did with it.
    pub action: Action,
    /// The frame as the program left it.
    pub bytes: Vec<u8>,
}

/// The programs, loaded.
pub struct Fixture {
    place: Place,
    ebpf: Ebpf,
    policies: ArrayOfMaps<MapData, Array<MapData, Policy>>,
    ranges: ArrayOfMaps<MapData, Array<MapData, RangePage>>,
    local: LocalAddresses,
    sources: HashMap<MapData, SourceKey, Source>,
    known: Array<MapData, u32>,
    bounds: Array<MapData, Bounds>,
    class_notes: Array<MapData, u64>,
    totals: Array<MapData, Total>,
    class_connections: Array<MapData, u64>,
    ports: Array<MapData, PortHints>,
    at_limit: Array<MapData, u32>,
    marked_services: Array<MapData, [u32; names::SERVICES]>,
    counters: PerCpuArray<MapData, Counters>,
    fail_opens: PerCpuArray<MapData, u64>,
    budgets: PerCpuArray<MapData, ResetBudget>,
    standing: PerCpuArray<MapData, Standing>,
    control: Array<MapData, Control>,
    heartbeat_ns: u64,
    times_said: u64,
}

impl Fixture {
    /// Puts rules in force, whole, as the daemon does.
    pub fn apply(&mut self, rules: &Rules) {
        let mut policy = rules.policy.clone();
        let made = Ranges::of(&rules.prefixes);
        let pages = ranges::make(&made, &rules.prefixes, now_ns(), &mut policy).expect("making ranges");
        self.ranges.set(policy.range_slot, &pages, 0).expect("placing ranges");
        let mut array = Array::<_, Policy>::create(1, 0).expect("an inner array");
        array.set(0, *policy, 0).expect("writing a policy");
        self.policies.set(0, &array, 0).expect("switching the policy");
        let hints = PortHints { service: rules.policy.service_of_port };
        self.ports.set(0, hints, 0).expect("writing the ports");
        self.set_heartbeat(self.heartbeat_ns);
    }

    /// Says that some policy guards every port, as this service.
    pub fn hint_every_port(&mut self, service: u8) {
        let mut hints = PortHints::new_box_zeroed().expect("memory for the hints");
        hints.service.fill(service);
        self.ports.set(0, *hints, 0).expect("writing the ports");
    }

    /// Makes an address one of the host's own.
    pub fn add_local(&mut self, address: IpAddr) {
        self.local.insert(address.into()).expect("inserting a local address");
    }

    /// Sets the connections of a whole service.
    pub fn set_total(&mut self, service: u32, open: u32) {
        let total = Total { word: Word(u64::from(open)), ..Total::default() };
        self.totals.set(service, total, 0).expect("writing a total");
    }

    /// Returns how many connections of a class are counted.
    #[must_use]
    pub fn connections_of(&self, service: u32, class: u32) -> u64 {
        self.class_connections.get(&names::class_cell(service, class), 0).expect("reading a count")
    }

    /// Sets when the daemon was last alive, or a few nanoseconds later: it never says the same twice.
    pub fn set_heartbeat(&mut self, heartbeat_ns: u64) {
        // Not one more than the last: 0, 1 and 0 again within a tick would let stand what stood at the first.
        self.times_said += 1;
        self.heartbeat_ns = heartbeat_ns;
        let control = Control { heartbeat_ns: heartbeat_ns + self.times_said, ..Control::default() };
        self.control.set(0, control, 0).expect("writing the heartbeat");
    }

    /// Notes that every CPU has sent this many resets in the second of the clock.
    pub fn set_resets_sent(&mut self, second: u64, sent: u64) {
        let cpus = aya::util::nr_cpus().expect("counting CPUs");
        let budgets =
            PerCpuValues::try_from(vec![
                ResetBudget { ends_at_ns: (second + 1) * 1_000_000_000, sent };
                cpus
            ])
            .expect("one per CPU");
        self.budgets.set(0, budgets, 0).expect("writing budgets");
    }

    /// Runs a frame through the program of the place.
    #[must_use]
    pub fn run(&self, frame: &[u8]) -> Outcome {
        let (returned, bytes) = match self.place {
            Place::Xdp => run_program(|options| self.xdp("ingress").test_run(options), frame),
            Place::Tc => run_program(|options| self.tc().test_run(options), frame),
        };
        let action = self.place.action(returned);
        let action = action.unwrap_or_else(|| panic!("at {:?} the program returned {returned}", self.place));
        Outcome { action, bytes }
    }

    /// Returns where frames are judged.
    #[must_use]
    pub fn place(&self) -> Place {
        self.place
    }

    /// Asks the read-only twin about a frame; `None` if it has no answer.
    #[must_use]
    pub fn explain(&self, frame: &[u8]) -> Option<Explanation> {
        let (action, bytes) = run_program(|options| self.xdp("explain").test_run(options), frame);
        let answer = || Explanation::read_from_prefix(&bytes).ok().map(|(explanation, _)| explanation);
        (action == 2).then(answer).flatten()
    }

    /// Carries out amendments, as the daemon has them carried out.
    pub fn amend(&self, amendments: &[Amendment]) {
        let options = TestRunOptions { data_in: Some(amendments.as_bytes()), ..TestRunOptions::new() };
        self.xdp("amend").test_run(options).expect("the program runs");
    }

    /// Returns what was noted of refusals that stand, on any CPU.
    #[must_use]
    pub fn standing(&self) -> Vec<Standing> {
        let places = 0..u32::try_from(names::STANDING_REFUSALS).expect("a capacity fits");
        let noted = places.flat_map(|place| {
            let by_cpu = self.standing.get(&place, 0).expect("reading what stands");
            by_cpu.iter().copied().collect::<Vec<_>>()
        });
        noted.filter(|standing| standing.row != 0).collect()
    }

    /// Returns an XDP program.
    #[must_use]
    pub fn xdp(&self, name: &str) -> &Xdp {
        self.ebpf.program(name).and_then(|program| program.try_into().ok()).expect("an XDP program")
    }

    /// Returns the program of tc.
    #[must_use]
    pub fn tc(&self) -> &SchedClassifier {
        self.ebpf.program("ingress_tc").and_then(|program| program.try_into().ok()).expect("a classifier")
    }

    /// Returns the gate.
    #[must_use]
    pub fn gate(&self) -> &CgroupSkb {
        self.ebpf.program("gate").and_then(|program| program.try_into().ok()).expect("the gate")
    }

    /// Returns one row of the counters, summed over all CPUs.
    #[must_use]
    pub fn row(&self, service: u32, class: u32, family: Family) -> Vec<u64> {
        let row = names::counter_row(service, class, family as u32);
        let per_cpu = self.counters.get(&row, 0).expect("reading counters");
        let cells = per_cpu.iter().map(|counters| counters.cells);
        cells.fold(Vec::new(), |sum, cells| {
            let at = |n: usize| sum.get(n).copied().unwrap_or(0);
            cells.iter().enumerate().map(|(n, count)| at(n) + count).collect()
        })
    }

    /// Returns everything that was counted so far, and how often.
    #[must_use]
    pub fn counted(&self) -> Vec<(Count, u64)> {
        self.counted_below(names::SERVICES, names::CLASSES)
    }

    /// Returns what was counted for the first `services` and `classes`, and how often.
    #[must_use]
    pub fn counted_below(&self, services: usize, classes: usize) -> Vec<(Count, u64)> {
        let ids = |count: usize| 0..u32::try_from(count).expect("ids are small");
        let mut all = Vec::new();
        for service in ids(services) {
            for class in ids(classes) {
                for family in Family::ALL {
                    for (cell, n) in self.row(service, class, family).into_iter().enumerate() {
                        if n > 0 {
                            let (point, verdict) = Verdict::of_cell(cell).expect("every cell has a verdict");
                            all.push((Count { service, class, family, point, verdict }, n));
                        }
                    }
                }
            }
        }
        all
    }

    /// Returns how often a doubt was counted.
    #[must_use]
    pub fn fail_opens(&self, why: FailOpen) -> u64 {
        self.fail_opens.get(&(why as u32), 0).expect("reading doubts").iter().sum()
    }
}

/// Returns what a program returned on a frame, and the frame as it left it.
fn run_program(
    program: impl FnOnce(TestRunOptions<'_>) -> Result<TestRunResult, ProgramError>,
    frame: &[u8],
) -> (u32, Vec<u8>) {
    let mut out = vec![0; frame.len()];
    let options = TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::new() };
    let result = program(options).unwrap_or_else(|e| panic!("running a program: {e:?}"));
    out.truncate(result.data_size_out as usize);
    (result.return_value, out)
}

/// Returns `CLOCK_MONOTONIC`, the clock that the programs go by.
#[must_use]
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("the clock");
    let part = |n: i64| u64::try_from(n).expect("the clock is positive");
    part(now.tv_sec()) * 1_000_000_000 + part(now.tv_nsec())
}
