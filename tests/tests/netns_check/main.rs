//! `check` and reality: what the daemon says of the next SYN, and what the SYN then gets.
//!
//! - 10,000 random cases in random states: `check_foretells_*`
//!
//! The SYN is answered by a SYN-ACK, by a reset or by silence, and moves the
//! counter of its service, class, verdict and reason. Counters are compared
//! after a batch, whose SYNs do not change each other's verdicts: nothing is
//! charged at a SYN. `LIMITER_SEED=N` repeats the run that printed N.
#![forbid(unsafe_code)]

mod world;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::panic::{self, AssertUnwindSafe};
use std::time::{Duration, Instant};

use limiter_tests::daemon::{DAEMON, Daemon};
use limiter_tests::frame::{Flags, Frame, Reply, Tcp};
use limiter_tests::random::Random;
use limiter_tests::raw::{Handshakes, Shape};
use limiter_tests::server::Server;
use limiter_tests::veth::Bed;
use limiter_tests::wire::Wire;
use limiter_tests::{host, require};
use limiter_user::control::client::Client;
use limiter_user::control::protocol::{
    self, Check, CheckAnswer, CheckQuery, Mode, ModeRequest, PolicyChange, RuleChange, RuleQuery,
    RuleRemoval, RuleRequest, Verb,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;

use crate::world::{PORTS, SERVICES, World};

/// Policies, states of each, and SYNs in each state. More policies follow, up to so many times as many, until
/// every verdict was met: which ones a policy leads to is a matter of the seed.
const WORLDS: u32 = 50;
const MORE: u32 = 4;
/// Rules made at run time outlive a policy; now and then all are taken back, or no limit would speak any more.
const CLEARED_EVERY: u32 = 5;
const STATES: u32 = 4;
const CASES: u32 = 52;
/// Cases that have to be compared.
const COMPARED_MIN: u32 = 10_000;
/// Verdicts with their reasons that the cases have to meet: three to pass, and each of four against
/// a connection, enforced and observed.
const VERDICTS: usize = 11;
/// A quota that lets the next one in so soon may have done so before the SYN comes.
const BOUNDARY_MS: u64 = 200;
/// How long the answers to a batch may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a set of handshakes may take: those refused in silence stay undecided.
const SETTLE_TIME: Duration = Duration::from_millis(10);
/// Source ports of cases; raw handshakes use those above.
const CASE_PORTS: std::ops::Range<u16> = 1_024..10_000;

/// What a verdict was counted under: service, class, verdict, reason and family.
type Cell = [String; 5];

/// What answers a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    SynAck,
    Reset,
    Silence,
}

/// A SYN that was sent, and what `check` had said.
struct Case {
    source: SocketAddr,
    server: SocketAddr,
    isn: u32,
    answer: CheckAnswer,
}

/// The daemon, its listeners, and everything that is open.
struct Trial<'a> {
    bed: &'a Bed,
    daemon: &'a Daemon<'a>,
    servers: Vec<Server>,
    runtime: Runtime,
    client: Client,
    wire: Wire,
    open: Vec<Handshakes>,
    /// Who has tried to open connections since everything was ended.
    recent: Vec<IpAddr>,
    prefixes: Vec<String>,
    next_port: u16,
    compared: u32,
    left_out: u32,
    tally: BTreeMap<(String, String), u32>,
    outcomes: BTreeMap<Outcome, u32>,
}

impl<'a> Trial<'a> {
    fn new(bed: &'a Bed, daemon: &'a Daemon<'a>) -> Self {
        let client = bed.client();
        client.add_ghosts(&world::addresses());
        let anywhere = |port| SocketAddr::from(([0_u16; 8], port));
        Self {
            bed,
            daemon,
            servers: PORTS.map(|port| Server::plan(anywhere(port)).dual_stack().listen(&bed.server)).into(),
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"),
            client: Client::new(&daemon.socket()),
            wire: Wire::open(&client.namespace, &client.device()),
            open: Vec::new(),
            recent: Vec::new(),
            prefixes: Vec::new(),
            next_port: CASE_PORTS.start,
            compared: 0,
            left_out: 0,
            tally: BTreeMap::new(),
            outcomes: BTreeMap::new(),
        }
    }

    fn post<T: DeserializeOwned>(&self, route: &str, body: &impl Serialize) -> T {
        self.runtime.block_on(self.client.post(route, body)).unwrap_or_else(|e| panic!("POST {route}: {e}"))
    }

    /// Where `source` reaches a port of the server.
    fn target(&self, source: IpAddr, port: u16) -> SocketAddr {
        let client = self.bed.client();
        let server = if source.is_ipv4() { client.server_ipv4() } else { client.server_ipv6() };
        SocketAddr::new(server, port)
    }

    /// Opens connections, changes a rule or a mode, or ends everything that is open.
    fn change_state(&mut self, random: &mut Random) {
        if random.one_in(4) {
            self.end_all();
        }
        for _ in 0..=random.below(3) {
            self.open_some(random);
        }
        let service = random.one_in(2).then(|| random.pick(&SERVICES).0.to_owned());
        match random.below(4) {
            0 => {
                let mode = random.pick(&[Mode::Observe, Mode::Enforce]);
                let _: PolicyChange = self.post(protocol::MODE, &ModeRequest { mode, service });
            }
            1 if !self.prefixes.is_empty() => self.take_back_one(),
            _ => {
                let (verb, prefix) = (random.pick(&[Verb::Allow, Verb::Deny]), world::prefix(random));
                if !self.prefixes.contains(&prefix) {
                    self.prefixes.push(prefix.clone());
                }
                let request = RuleRequest { verb, prefix, service, ttl: None, note: None };
                let _: RuleChange = self.post(protocol::RULES, &request);
            }
        }
    }

    fn take_back_one(&mut self) {
        let query = RuleQuery { prefix: self.prefixes.remove(0), service: None };
        let removal = self.runtime.block_on(self.client.delete(protocol::RULES, &query));
        let _: RuleRemoval = removal.unwrap_or_else(|e| panic!("removing {query:?}: {e}"));
    }

    /// Completes handshakes of a few sources of one family, as far as limits let them.
    fn open_some(&mut self, random: &mut Random) {
        let first = random.pick(&world::addresses());
        let others = (0..random.below(3)).map(|_| random.pick(&world::addresses()));
        let sources: Vec<IpAddr> =
            [first].into_iter().chain(others).filter(|other| other.is_ipv4() == first.is_ipv4()).collect();
        let count = u16::try_from(sources.len() as u64 * (1 + random.below(4))).expect("small");
        let target = self.target(first, random.pick(&PORTS));
        let mut set = Handshakes::prepare(self.bed.client(), target, &sources, count);
        set.send_syns();
        set.wait_for(SETTLE_TIME, |h| h.server_isn.is_some() || h.reset.is_some());
        set.complete(&Shape::Ack);
        self.open.push(set);
        self.recent.extend(sources);
    }

    /// Resets everything, and closes it at the server.
    fn end_all(&mut self) {
        for set in &mut self.open {
            set.send_each(|handshake| Some(handshake.segment(Flags::RST | Flags::ACK)));
        }
        self.open.clear();
        self.recent.clear();
        for server in &self.servers {
            server.close(server.held());
        }
    }

    /// Asks about random SYNs, sends each, and compares what was said with what comes of them.
    fn compare(&mut self, world: &World, random: &mut Random) {
        let before = self.counted();
        let cases: Vec<Case> = (0..CASES).filter_map(|_| self.ask_and_send(random)).collect();
        let expected: HashMap<SocketAddr, Outcome> =
            cases.iter().map(|case| (case.source, foretold(&case.answer, world))).collect();
        let answered = expected.values().filter(|outcome| **outcome != Outcome::Silence).count();
        let replies = self.replies(answered);
        let mut moved = self.counted();
        for (cell, count) in before {
            *moved.get_mut(&cell).expect("no counter goes away") -= count;
        }
        moved.retain(|_, count| *count > 0);
        for case in &cases {
            let came = replies.get(&case.source).map_or(Outcome::Silence, |reply| came(case, reply));
            assert_eq!(came, expected[&case.source], "from {}: {:?}", case.source, case.answer);
            self.note(case, came);
        }
        assert_eq!(moved, cells(&cases), "the counters that move are those that were foretold");
    }

    /// Asks about one SYN and sends it, unless the answer hangs on the clock.
    fn ask_and_send(&mut self, random: &mut Random) -> Option<Case> {
        let anybody = self.recent.is_empty() || random.one_in(2);
        let address = if anybody { random.pick(&world::addresses()) } else { random.pick(&self.recent) };
        let port = random.pick(&PORTS);
        let query = CheckQuery { address, port: Some(port) };
        let check = self.runtime.block_on(self.client.get::<Check>(protocol::CHECK, &query));
        let answer = check.unwrap_or_else(|e| panic!("{query:?}: {e}")).answers.remove(0);
        let soon = answer.quota_wait_ms.is_some_and(|wait_ms| wait_ms < BOUNDARY_MS);
        if answer.reason == "new_connection_quota" && soon {
            self.left_out += 1;
            return None;
        }
        let source = SocketAddr::new(address, self.next_port);
        self.next_port =
            if self.next_port + 1 < CASE_PORTS.end { self.next_port + 1 } else { CASE_PORTS.start };
        let case = Case { source, server: self.target(address, port), isn: random.next() as u32, answer };
        self.send(&case, Tcp::syn().seq(case.isn));
        Some(case)
    }

    fn send(&self, case: &Case, tcp: Tcp) {
        let client = self.bed.client();
        let frame = Frame::tcp(case.source, case.server, tcp);
        self.wire.send(&frame.between(client.ghost_mac(), client.server_mac()).to_bytes());
    }

    /// Collects answers to cases until there are as many as were foretold, by client.
    ///
    /// An answer comes in the softirq call that sending its SYN makes: whoever has none by then is met by silence.
    fn replies(&mut self, wanted: usize) -> HashMap<SocketAddr, Reply> {
        let (mut replies, end) = (HashMap::new(), Instant::now() + PATIENCE);
        loop {
            let end = if replies.len() < wanted { end } else { Instant::now() };
            let Some(frame) = self.wire.receive(end) else {
                return replies;
            };
            let reply = Reply::parse(&frame);
            if let Some(reply) = reply.filter(|reply| CASE_PORTS.contains(&reply.destination.port())) {
                replies.insert(reply.destination, reply);
            }
        }
    }

    /// Notes a case that came out as foretold, and takes back what its SYN has left at the server.
    fn note(&mut self, case: &Case, outcome: Outcome) {
        if outcome == Outcome::SynAck {
            self.send(case, Tcp::new(Flags::RST).seq(case.isn.wrapping_add(1)));
        }
        self.compared += 1;
        *self.outcomes.entry(outcome).or_default() += 1;
        let verdict = (case.answer.verdict.clone(), case.answer.reason.clone());
        *self.tally.entry(verdict).or_default() += 1;
    }

    /// Reads the counters of verdicts on SYNs.
    fn counted(&self) -> BTreeMap<Cell, u64> {
        let samples = self.daemon.metrics();
        let at_syn = samples
            .iter()
            .filter(|sample| sample.name == "limiter_packets_total" && sample.label("point") == Some("syn"));
        let cell = |sample: &limiter_tests::metrics::Sample| {
            let labels = ["service", "class", "verdict", "reason", "family"];
            labels.map(|label| sample.label(label).unwrap_or_default().to_owned())
        };
        at_syn.map(|sample| (cell(sample), sample.count())).collect()
    }
}

/// What answers a SYN of which this was said.
fn foretold(answer: &CheckAnswer, world: &World) -> Outcome {
    let resets = answer.service.as_deref().is_some_and(|service| world.resets[service]);
    match answer.verdict.as_str() {
        "refuse" if resets => Outcome::Reset,
        "refuse" => Outcome::Silence,
        _ => Outcome::SynAck,
    }
}

/// What a reply is; it must answer this very SYN.
fn came(case: &Case, reply: &Reply) -> Outcome {
    assert_eq!(reply.tcp.ack, case.isn.wrapping_add(1), "{reply:?}");
    if reply.tcp.flags.has(Flags::SYN | Flags::ACK) {
        return Outcome::SynAck;
    }
    assert!(reply.refuses(case.source, case.server, case.isn), "{reply:?}");
    Outcome::Reset
}

/// The counters that these cases have to move.
fn cells(cases: &[Case]) -> BTreeMap<Cell, u64> {
    let mut cells = BTreeMap::new();
    for Case { source, answer, .. } in cases {
        let family = if source.is_ipv4() { "ipv4" } else { "ipv6" };
        let Some(service) = &answer.service else { continue };
        let cell = [service, &answer.class, &answer.verdict, &answer.reason, family].map(str::to_owned);
        *cells.entry(cell).or_default() += 1;
    }
    cells
}

/// For 10,000 random sources, ports and states `check` says what the next SYN from there then gets.
#[test]
fn check_foretells_what_the_next_syn_gets() {
    require!(host::BED, DAEMON);
    let mut random = Random::seeded();
    let bed = Bed::new();
    let first = world::world(&mut random);
    let daemon = Daemon::start(&bed.server, &first.text);
    let mut trial = Trial::new(&bed, &daemon);
    let (start, mut world) = (Instant::now(), first);
    for number in 0..MORE * WORLDS {
        if number >= WORLDS && trial.tally.len() == VERDICTS {
            break;
        }
        while number % CLEARED_EVERY == 0 && !trial.prefixes.is_empty() {
            trial.take_back_one();
        }
        for state in 0..STATES {
            trial.change_state(&mut random);
            let compared = panic::catch_unwind(AssertUnwindSafe(|| trial.compare(&world, &mut random)));
            if let Err(cause) = compared {
                println!("world {number}, state {state}:\n{}", world.text);
                panic::resume_unwind(cause);
            }
        }
        world = world::world(&mut random);
        daemon.configure(&world.text);
        let _: PolicyChange = trial.post(protocol::RELOAD, &());
    }
    println!(
        "{} cases in {:?}, {} left out: {:?}\n{:?}",
        trial.compared,
        start.elapsed(),
        trial.left_out,
        trial.outcomes,
        trial.tally
    );
    assert!(trial.compared >= COMPARED_MIN, "{} cases hung on the clock", trial.left_out);
    assert_eq!(trial.tally.len(), VERDICTS, "every verdict was met: {:?}", trial.tally);
    assert_eq!(trial.outcomes.len(), 3, "SYN-ACK, reset and silence were met: {:?}", trial.outcomes);
    trial.end_all();
    daemon.recount(3);
    daemon.assert_sound();
}
