//! What limiter costs mail: sessions per second and the time of a session, over a
//! veth, without limiter, with it enforcing, and with the witness on top.
//!
//! Rounds go through all of them in turn, there and back, so that whatever else the
//! machine does falls on all alike. Ratios are of a round, which is what is compared; a figure
//! is the median of the rounds. The generator is Postfix' own `smtp-source`; the
//! server is its `smtp-sink`, which does nothing, or Postfix. `smtp-source`,
//! `smtp-sink` and the kernel's work on their packets have one CPU together: what
//! limiter takes is taken from them, and where the scheduler puts them makes no
//! difference.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::report::{Bound, Figure, Report, Table, count, median};
use crate::daemon::{DAEMON_RECOUNT_S, Daemon};
use crate::host::{self, Cgroup, Requirement};
use crate::mail::{DOMAIN, Mail, Postfix, Smtp};
use crate::netns::Namespace;
use crate::process::Process;
use crate::veth::Bed;
use crate::xdp::{Action, Attached, XdpMode};
use crate::{usage, wait};

/// What this needs of the machine, beside the bed and the daemon.
pub const NEEDS: &[Requirement] =
    &[Requirement::Command("smtp-source", "postfix"), Requirement::Command("smtp-sink", "postfix")];

/// The port of the server.
const SMTP: u16 = 25;
/// Runs `smtp-source` and `smtp-sink` on one CPU, and each until it has nothing to do: who is woken does not
/// interrupt the other, or the least difference in time would change how often they take turns.
const TURNS: [&str; 6] = ["taskset", "--cpu-list", "0", "chrt", "--batch", "0"];
/// Sessions at once.
const PARALLEL: usize = 10;
/// How long one run may take.
const RUN_TIME: Duration = Duration::from_mins(3);
/// Threads that measure how long sessions take, and sessions of each, twice in a round.
const CALLERS: usize = 4;
const CALLS: usize = 600;
/// Where Postfix has its queue: it waits for the disk with every mail, and how long that takes is a matter of the
/// disk.
const IN_MEMORY: &str = "/dev/shm";
/// Nothing is kept, and nobody is held up: by default Postfix pauses for a second whenever more mail comes in than
/// goes out, which decided how fast a run was.
const POSTFIX: &[(&str, &str)] = &[("virtual_transport", "discard:"), ("in_flow_delay", "0")];

/// How much to do.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds.
    pub rounds: usize,
    /// Sessions of a run against `smtp-sink`.
    pub sink_sessions: usize,
    /// Sessions of a run against Postfix; none is measured if 0.
    pub postfix_sessions: usize,
}

impl Effort {
    /// What `cargo xtask bench mail` takes: some seven minutes.
    pub const FULL: Self = Self { rounds: 5, sink_sessions: 18_000, postfix_sessions: 5_000 };
    /// Enough to see that it works.
    pub const SMOKE: Self = Self { rounds: 1, sink_sessions: 100, postfix_sessions: 0 };
}

/// What stands between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guard {
    Nothing,
    /// Not ours: what XDP itself costs here. A veth copies each frame that TCP sends for it.
    EmptyXdp,
    Limiter,
    Witness,
    /// Without XDP, and so without what a veth does for it.
    Tcx,
}

impl Guard {
    const ALL: [Self; 5] = [Self::Nothing, Self::EmptyXdp, Self::Limiter, Self::Witness, Self::Tcx];

    const fn label(self) -> &'static str {
        match self {
            Self::Nothing => "without limiter",
            Self::EmptyXdp => "an empty XDP program",
            Self::Limiter => "limiter enforces, witness off",
            Self::Witness => "limiter enforces, witness on",
            Self::Tcx => "the same by TCX instead of XDP",
        }
    }

    fn start<'a>(self, bed: &'a Bed, group: &Cgroup) -> Option<Daemon<'a>> {
        let (witness, attach) = match self {
            Self::Nothing | Self::EmptyXdp => return None,
            Self::Limiter => (false, "native"),
            Self::Witness => (true, "native"),
            Self::Tcx => (true, "tcx"),
        };
        let config = format!(
            "mode = \"enforce\"\ninterfaces = [\"srv0\"]\nattach = \"{attach}\"\n[witness]\nenabled = {witness}\n[[service]]\n\
             name = \"smtp\"\nports = [{SMTP}]\nconnections_per_source = 1000\nconnections_total = 5000\n\
             new_connections_per_source = {{ per_second = 100000, burst = 100000 }}\n"
        );
        let runtime = format!("cgroup = \"{}\"", group.path().display());
        let daemon = Daemon::start_with(&bed.server, &config, &runtime);
        // A start takes seconds of a CPU after the daemon is up, for the witness above all.
        usage::wait_rest(daemon.process());
        Some(daemon)
    }
}

/// What one run measured.
#[derive(Clone, Copy, Debug)]
struct Run {
    sessions_per_s: f64,
    /// Of all CPUs of the machine, per session.
    cpu_us: f64,
    p50: Duration,
    p99: Duration,
}

/// What was measured against one server.
#[derive(Debug)]
struct Figures {
    server: &'static str,
    /// By guard, by round.
    runs: [Vec<Run>; Guard::ALL.len()],
}

/// Measures; `progress` hears of each run.
#[must_use]
pub fn measure(effort: Effort, mut progress: impl FnMut(&str)) -> Report {
    let mut all = Vec::new();
    for (name, sessions) in [("smtp-sink", effort.sink_sessions), ("Postfix", effort.postfix_sessions)] {
        if sessions == 0 {
            continue;
        }
        let mut figures = Figures { server: name, runs: Default::default() };
        for round in 0..effort.rounds {
            let progress = |guard: Guard| {
                progress(&format!("{name}, round {} of {}, {}", round + 1, effort.rounds, guard.label()));
            };
            for (runs, run) in figures.runs.iter_mut().zip(measure_round(name, sessions, progress)) {
                runs.push(run);
            }
        }
        all.push(figures);
    }
    report(effort, &all)
}

/// Measures every guard twice against one server, there and back: what changes by and by falls on all alike, and
/// where the server lies in memory, and which CPU it came to, is the same for all.
fn measure_round(server: &str, sessions: usize, mut progress: impl FnMut(Guard)) -> [Run; Guard::ALL.len()] {
    let bed = Bed::plan().offloads().without_pass().build();
    // Clients are other machines: limiter looks at the sockets of the server alone.
    let group = Cgroup::create("mail");
    let client = &bed.client().namespace;
    // A connection's port may be used again while the server still waits for late segments.
    client.sysctl("net.ipv4.ip_local_port_range", "1024 65535");
    client.sysctl("net.ipv4.tcp_tw_reuse", "1");
    bed.server.sysctl("net.core.somaxconn", "4096");
    let address = SocketAddr::new(bed.client().server_ipv4(), SMTP);
    let (_sink, _postfix);
    let turns = if server == "smtp-sink" { TURNS.as_slice() } else { &[] };
    if server == "smtp-sink" {
        _sink = group.start(|| sink(&bed, address));
    } else {
        _postfix = group.start(|| Postfix::start_in(Path::new(IN_MEMORY), &bed.server, POSTFIX));
    }
    let mut seen: [Seen; Guard::ALL.len()] = Default::default();
    for guard in Guard::ALL.into_iter().chain(Guard::ALL.into_iter().rev()) {
        progress(guard);
        let daemon = guard.start(&bed, &group);
        let xdp = (guard == Guard::EmptyXdp)
            .then(|| Attached::new(&bed.server, "srv0", Action::Pass, XdpMode::Driver));
        seen[guard as usize].look(&bed, address, turns, sessions / 2);
        drop(xdp);
        if let Some(mut daemon) = daemon {
            assert!(daemon.stop().success(), "limiterd stops in order");
        }
    }
    seen.map(Seen::into_run)
}

/// What was seen with one guard in a round.
#[derive(Debug, Default)]
struct Seen {
    sessions: usize,
    took: Duration,
    cpu: Duration,
    times: Vec<Duration>,
}

impl Seen {
    fn look(&mut self, bed: &Bed, address: SocketAddr, turns: &[&str], sessions: usize) {
        // What is loaded at the first session is loaded now.
        source(bed, address, turns, 200);
        let (began, cpu_before) = (Instant::now(), usage::machine_cpu_time());
        source(bed, address, turns, sessions);
        self.took += began.elapsed();
        self.cpu += usage::machine_cpu_time().saturating_sub(cpu_before);
        self.sessions += sessions;
        self.times.extend(calls(bed, address));
    }

    fn into_run(mut self) -> Run {
        self.times.sort_unstable();
        let at = |share: usize| self.times[(self.times.len() - 1) * share / 100];
        let sessions = count(self.sessions);
        Run {
            sessions_per_s: sessions / self.took.as_secs_f64(),
            cpu_us: self.cpu.as_secs_f64() * 1e6 / sessions,
            p50: at(50),
            p99: at(99),
        }
    }
}

fn sink(bed: &Bed, address: SocketAddr) -> Process {
    let user = nix::unistd::User::from_name("postfix").ok().flatten().map_or("nobody", |_| "postfix");
    let mut command = command(&bed.server, &TURNS, "smtp-sink");
    command.args(["-u", user, "-c", &address.to_string(), "4000"]);
    let process = Process::start("smtp-sink", &mut command);
    wait::until("smtp-sink listens", RUN_TIME, || bed.server.listens(SMTP));
    process
}

/// A program of Postfix in a namespace, run by these words.
fn command(namespace: &Namespace, words: &[&str], program: &str) -> Command {
    let program = host::find_command(program).expect("it comes with postfix");
    let program = program.to_string_lossy();
    let mut words = words.iter().copied().chain([&*program]);
    let mut command = namespace.command(words.next().expect("the program is one"));
    command.args(words);
    command
}

fn source(bed: &Bed, address: SocketAddr, turns: &[&str], sessions: usize) {
    let mut command = command(&bed.client().namespace, turns, "smtp-source");
    let (parallel, count, to) = (PARALLEL.to_string(), sessions.to_string(), format!("inbox@{DOMAIN}"));
    command.args(["-s", &parallel, "-m", &count, "-l", "2048", "-f", "sender@example.org", "-t", &to]);
    let process = Process::start("smtp-source", command.arg(address.to_string()));
    let status = process.wait_exit(RUN_TIME);
    assert!(status.success(), "smtp-source: {status}\n{}", process.log());
}

/// How long whole sessions take, from the SYN to the answer to QUIT.
fn calls(bed: &Bed, address: SocketAddr) -> Vec<Duration> {
    let caller = || {
        let session = |_| {
            let began = Instant::now();
            bed.client().namespace.run(|| talk(bed, address));
            began.elapsed()
        };
        (0..CALLS).map(session).collect::<Vec<Duration>>()
    };
    thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(caller)).collect();
        callers.into_iter().flat_map(|caller| caller.join().expect("a session succeeds")).collect()
    })
}

fn talk(bed: &Bed, address: SocketAddr) {
    let mail = Mail::new("bench");
    let mut session = Smtp::connect(&bed.client().namespace, address).expect("a connection");
    session.reply().expect("a greeting");
    for command in [
        "EHLO client.example.org",
        &format!("MAIL FROM:<{}>", mail.from),
        &format!("RCPT TO:<{}>", mail.to),
        "DATA",
        "Subject: bench\r\n\r\nbench\r\n.",
        "QUIT",
    ] {
        let reply = session.command(command).expect("an answer");
        assert!(reply.code < 400, "{command}: {}", reply.code);
    }
}

impl Figures {
    fn of(&self, guard: Guard, value: fn(&Run) -> f64) -> f64 {
        median(self.runs[guard as usize].iter().map(value).collect())
    }

    /// The median over all rounds of how much more one guard has of something than another.
    fn ratio(&self, guard: Guard, to: Guard, value: fn(&Run) -> f64) -> f64 {
        let pairs = self.runs[guard as usize].iter().zip(&self.runs[to as usize]);
        median(pairs.map(|(one, other)| value(one) / value(other)).collect())
    }

    /// What is compared with what is wanted.
    fn verdicts(&self) -> [Figure; 6] {
        let figure =
            |what: &str, ratio, bound| Figure::wanted(format!("{}: {what}", self.server), ratio, "", bound);
        let rate = |run: &Run| run.sessions_per_s;
        let p99 = |run: &Run| run.p99.as_secs_f64();
        [
            figure(
                "sessions, limiter and witness to none",
                self.ratio(Guard::Witness, Guard::Nothing, rate),
                Bound::Least(0.98),
            ),
            figure(
                "sessions, limiter and witness by TCX to none",
                self.ratio(Guard::Tcx, Guard::Nothing, rate),
                Bound::Least(0.98),
            ),
            figure(
                "sessions, limiter and witness to an empty XDP program",
                self.ratio(Guard::Witness, Guard::EmptyXdp, rate),
                Bound::Least(0.98),
            ),
            figure(
                "sessions, witness on to off",
                self.ratio(Guard::Witness, Guard::Limiter, rate),
                Bound::Least(0.97),
            ),
            figure(
                "p99, limiter and witness to none",
                self.ratio(Guard::Witness, Guard::Nothing, p99),
                Bound::Most(1.05),
            ),
            figure(
                "p99, limiter and witness to an empty XDP program",
                self.ratio(Guard::Witness, Guard::EmptyXdp, p99),
                Bound::Most(1.05),
            ),
        ]
    }

    fn table(&self) -> Table {
        let row = |guard: Guard| {
            vec![
                guard.label().to_owned(),
                format!("{:.0}", self.of(guard, |run| run.sessions_per_s)),
                format!("{:.0}", self.of(guard, |run| run.cpu_us)),
                format!("{:.2}", self.of(guard, |run| run.p50.as_secs_f64() * 1e3)),
                format!("{:.2}", self.of(guard, |run| run.p99.as_secs_f64() * 1e3)),
            ]
        };
        Table {
            title: format!("Against {}", self.server),
            columns: vec!["", "sessions/s", "CPU us", "p50 ms", "p99 ms"],
            rows: Guard::ALL.map(row).to_vec(),
        }
    }
}

fn report(effort: Effort, all: &[Figures]) -> Report {
    Report {
        name: "mail",
        title: "Mail",
        method: vec![format!(
            "Medians of {} rounds, ratios within each round, in which all are measured against the same server there and \
             back. Postfix' own `smtp-source` sends over a veth to its `smtp-sink`, which does nothing, and to Postfix, {PARALLEL} sessions at once; both ends and the kernel \
             share the CPUs (with `smtp-sink` one CPU, in the batch class), so that what limiter takes is taken from \
             them. Postfix has its queue in memory, discards what it is sent, and does not pause for its queue \
             (`in_flow_delay = 0`). limiter is attached to the control group of the server, as clients are other machines; it recounts \
             every {DAEMON_RECOUNT_S} seconds, five times as often as by default. CPU is that of the whole machine, \
             per session. A daemon has come to rest before a run. For any XDP program a veth copies each frame that \
             TCP sends, where a network card does not: what an empty program costs is shown beside, and limiter is \
             measured by TCX too, which takes frames as they are.",
            effort.rounds
        )],
        tables: all.iter().map(Figures::table).collect(),
        figures: all.iter().flat_map(Figures::verdicts).collect(),
        ..Report::default()
    }
}
