//! The kernel's verdict against a reference model, on generated packets and states.
//!
//! - action, counter and every later trace: `the_kernel_agrees_with_the_model`, in XDP
//! - the same in tc: `tc_agrees_with_the_model`
//!
//! `LIMITER_SEED=N` repeats the run that printed N.

mod random;
mod reference;

use std::collections::BTreeMap;

use limiter_common::addr::{Addr, Family};
use limiter_common::event::Explanation;
use limiter_common::gcra::Quota;
use limiter_common::limits::{Limits, Service};
use limiter_common::map::{ClassOf, SourceKey};
use limiter_common::names;
use limiter_common::verdict::{Point, Verdict};
use limiter_tests::fixture::{Action, Fixture, KERNEL, Place, Rules, now_ns};
use limiter_tests::frame::Reply;
use limiter_tests::random::Random;
use limiter_tests::require;
use limiter_user::policy::CompiledPrefix;

use crate::reference::{CLASSES, Counted, Judgement, Mode, Rule, SERVICES, World};

const WORLDS: u64 = 260;
const STATES_PER_WORLD: u64 = 4;
const FRAMES_PER_STATE: u64 = 110;
const FRAMES_MIN: u64 = 100_000;
/// How far the programs' clock may lag behind: one tick at 100 Hz, and as much again.
const COARSE_NS: u64 = 20_000_000;
/// How long the daemon may be away.
const OBSERVE_AFTER_NS: u64 = 60_000_000_000;

fn id(index: usize) -> u32 {
    u32::try_from(index).expect("ids are small")
}

fn addr(number: u128) -> Addr {
    Addr::from_octets(number.to_be_bytes())
}

fn key(source: (u128, usize)) -> SourceKey {
    SourceKey { addr: addr(source.0), service: id(source.1) }
}

fn rules_of(world: &World) -> Rules {
    let mut rules = Rules::default();
    rules.policy.observe_after_ns = OBSERVE_AFTER_NS;
    rules.policy.ipv4_mask = Addr::mask(96 + world.v4_bits);
    rules.policy.ipv6_mask = Addr::mask(world.v6_bits);
    for (port, service) in &world.service_of {
        rules.policy.service_of_port[usize::from(*port)] = u8::try_from(*service).expect("small");
    }
    for service in 1..SERVICES {
        rules.policy.services[service] = service_of(&world.modes[service]);
        for class in 0..CLASSES {
            rules.policy.limits[service][class] = match world.rules[service][class] {
                Rule::Exempt => Limits::EXEMPT,
                Rule::Denied => Limits::DENIED,
                Rule::Limited { connections, interval_ns, burst_ns } => {
                    Limits::limited(connections, Quota { interval_ns, burst_ns })
                }
            };
        }
    }
    for prefix in &world.prefixes {
        let mut class_of = ClassOf { class: [0; names::SERVICES] };
        for (service, class) in prefix.classes.iter().enumerate() {
            class_of.class[service] = u8::try_from(*class).expect("small");
        }
        rules.prefixes.push(CompiledPrefix { addr: addr(prefix.address), prefix_len: prefix.bits, class_of });
    }
    rules
}

fn service_of(mode: &Mode) -> Service {
    let flags = [
        (mode.enforce, Service::ENFORCE),
        (mode.reset, Service::RESET),
        (mode.suspended, Service::SUSPENDED),
        (mode.count_local, Service::COUNT_LOCAL),
    ];
    let set = flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).sum();
    let syn_quota = if mode.syn_quota { Quota { interval_ns: 1, burst_ns: 0 } } else { Quota::NONE };
    Service { syn_quota, ceiling: mode.ceiling, flags: set }
}

/// Counters as they were last read, by service, class and family.
type Rows = BTreeMap<(usize, usize, bool), Vec<u64>>;

fn family(is_v6: bool) -> Family {
    if is_v6 { Family::V6 } else { Family::V4 }
}

fn row(fixture: &Fixture, (service, class, is_v6): (usize, usize, bool)) -> Vec<u64> {
    fixture.row(id(service), id(class), family(is_v6))
}

fn rows(fixture: &Fixture) -> Rows {
    let all = (0..SERVICES).flat_map(|s| (0..CLASSES).flat_map(move |c| [(s, c, false), (s, c, true)]));
    all.map(|at| (at, row(fixture, at))).collect()
}

/// The kernel with the model beside it.
struct Trial {
    fixture: Fixture,
    rows: Rows,
    /// Frames whose verdict hangs on the nanosecond at which the kernel read its clock.
    undecided: u64,
    tally: BTreeMap<(&'static str, &'static str), u64>,
}

impl Trial {
    fn new(place: Place) -> Self {
        let mut fixture = Fixture::load_at(place);
        for own in random::OWN {
            fixture.add_local(std::net::Ipv6Addr::from(own).to_canonical());
        }
        let rows = rows(&fixture);
        Self { fixture, rows, undecided: 0, tally: BTreeMap::new() }
    }

    /// Puts the state of the world into the maps, in place of `before`.
    fn put(&mut self, world: &World, before: &World, random: &mut Random) {
        for source in before.sources.keys().filter(|source| !world.sources.contains_key(source)) {
            self.fixture.forget(&key(*source));
        }
        for (source, known) in &world.sources {
            self.fixture.set_source(key(*source), known.open, known.tat_ns);
            if random.one_in(2) {
                self.fixture.mark_at_limit(&key(*source));
            }
        }
        for service in 1..SERVICES {
            self.fixture.set_total(id(service), world.totals[service]);
        }
        self.fixture.set_heartbeat(if world.unwatched { 0 } else { now_ns() });
        self.fixture.set_resets_sent(0, 0);
    }

    /// Runs one frame and compares everything that can be seen of it.
    fn compare(&mut self, world: &World, frame: &[u8], written_ns: u64) {
        let refused_before = |key: &SourceKey, fixture: &Fixture| fixture.source(key).map(|s| s.refused);
        let start_ns = now_ns();
        let explained = self.fixture.explain(frame);
        let any = world.judge(frame, start_ns);
        let entry = any.source.map(key);
        let before = entry.and_then(|entry| refused_before(&entry, &self.fixture));
        let outcome = self.fixture.run(frame);
        let end_ns = now_ns();
        let at = any.counted.map(|counted| (counted.service, counted.class, counted.is_v6));
        let now = at.map(|at| row(&self.fixture, at));

        let expected = agreed(world, frame, written_ns, [start_ns - COARSE_NS, end_ns]);
        if let Some(expected) = expected {
            check_action(outcome.action, &outcome.bytes, frame, &expected);
            if let (Some(at), Some(now), Some(counted)) = (at, &now, &expected.counted) {
                check_count(&self.rows[&at], now, counted);
                *self.tally.entry((counted.verdict, counted.reason)).or_default() += 1;
            }
            if let (Some(source), Some(counted)) = (expected.source, &expected.counted) {
                check_explanation(&explained.expect("a SYN is explained"), world, source, counted);
                let more = u32::from(counted.verdict != "pass");
                let after = refused_before(&key(source), &self.fixture);
                assert_eq!(after, before.map(|refused| refused + more), "refusals of the source");
            }
        } else {
            self.undecided += 1;
        }
        if let (Some(at), Some(now)) = (at, now) {
            self.rows.insert(at, now);
        }
    }
}

/// The model's judgement, unless it differs between the times at which the
/// kernel may have judged, or with a debt that an earlier frame has cut down.
fn agreed(world: &World, frame: &[u8], written_ns: u64, times_ns: [u64; 2]) -> Option<Judgement> {
    let first = world.judge(frame, times_ns[0]);
    let Some(source) = first.source else { return Some(first) };
    // A source is cut down by whichever class its last SYN belonged to, and its addresses may belong to several.
    let debts = world.rules[source.1].iter().filter_map(|rule| match rule {
        Rule::Limited { interval_ns, burst_ns, .. } if *interval_ns > 0 => Some(burst_ns + interval_ns),
        Rule::Limited { .. } | Rule::Exempt | Rule::Denied => None,
    });
    let mut cut = world.clone();
    if let (Some(known), Some(least_ns)) = (cut.sources.get_mut(&source), debts.min()) {
        known.tat_ns = known.tat_ns.min(written_ns - COARSE_NS + least_ns);
    }
    let others =
        [world.judge(frame, times_ns[1]), cut.judge(frame, times_ns[0]), cut.judge(frame, times_ns[1])];
    others.iter().all(|other| *other == first).then_some(first)
}

fn check_action(action: Action, out: &[u8], frame: &[u8], expected: &Judgement) {
    let word = match action {
        Action::Drop => "drop",
        Action::Pass => "pass",
        Action::Tx => "tx",
    };
    assert_eq!(word, expected.action, "the action; {expected:?}");
    if action == Action::Tx {
        let reply = Reply::parse(out).expect("what is sent back is a segment");
        assert!(reply.checksum_ok && reply.ip_checksum_ok, "{reply:?}");
    } else {
        assert_eq!(out, frame, "the frame is left alone");
    }
}

fn check_count(before: &[u64], now: &[u64], expected: &Counted) {
    let added: Vec<_> = before.iter().zip(now).map(|(before, now)| now - before).enumerate().collect();
    let added: Vec<_> = added.into_iter().filter(|(_, more)| *more > 0).collect();
    let [(cell, 1)] = added[..] else { panic!("counted once, in one cell: {added:?}, not {expected:?}") };
    check_cell(cell, expected);
}

fn check_cell(cell: usize, expected: &Counted) {
    let (point, verdict) = Verdict::of_cell(cell).expect("every cell has a verdict");
    let said = (point, verdict.label(), verdict.reason_label());
    assert_eq!(said, (Point::Syn, expected.verdict, expected.reason), "the verdict; {expected:?}");
}

/// The read-only twin says what the program does, and on what grounds.
fn check_explanation(said: &Explanation, world: &World, source: (u128, usize), counted: &Counted) {
    check_cell(said.cell as usize, counted);
    let known = world.sources.get(&source);
    let held = known.map_or(0, |known| known.open);
    assert_eq!((said.service, said.class), (id(counted.service), id(counted.class)), "explained");
    assert_eq!((said.known, said.held), (u32::from(known.is_some()), held), "explained");
    assert_eq!(said.total, world.totals[counted.service], "explained");
    assert_eq!(said.unwatched, u32::from(world.unwatched), "explained");
}

/// On every generated frame in every generated state the kernel does, counts
/// and explains what the model says, and nothing else.
#[test]
fn the_kernel_agrees_with_the_model() {
    require!(KERNEL);
    agrees_at(Place::Xdp);
}

/// The same in tc, where another XDP program owns the interface.
#[test]
fn tc_agrees_with_the_model() {
    require!(KERNEL);
    agrees_at(Place::Tc);
}

fn agrees_at(place: Place) {
    let mut random = Random::seeded();
    let mut trial = Trial::new(place);
    let mut before = random::world(&mut random);
    let mut untaken = 0;
    for world_index in 0..WORLDS {
        let mut world = random::world(&mut random);
        trial.fixture.apply(&rules_of(&world));
        for state in 0..STATES_PER_WORLD {
            let written_ns = now_ns();
            random::populate(&mut world, &mut random, written_ns);
            trial.put(&world, &before, &mut random);
            before = world.clone();
            for n in 0..FRAMES_PER_STATE {
                let frame = random::frame(&mut random);
                if !place.takes(&frame) {
                    untaken += 1;
                    continue;
                }
                let judged = std::panic::AssertUnwindSafe(|| trial.compare(&world, &frame, written_ns));
                if let Err(cause) = std::panic::catch_unwind(judged) {
                    println!("world {world_index}, state {state}, frame {n}");
                    println!("{frame:02x?}\n{:?}\n{world:?}", world.judge(&frame, now_ns()));
                    std::panic::resume_unwind(cause);
                }
            }
            assert_eq!(rows(&trial.fixture), trial.rows, "nothing is counted for anyone else");
        }
    }
    let total = WORLDS * STATES_PER_WORLD * FRAMES_PER_STATE;
    let compared = total - trial.undecided - untaken;
    println!("{total} frames, {untaken} not taken, {} undecided: {:?}", trial.undecided, trial.tally);
    assert!(compared >= FRAMES_MIN, "{} frames hung on the clock", trial.undecided);
    assert_eq!(trial.tally.len(), 13, "every verdict that a SYN can get was met: {:?}", trial.tally);
}
