//! The circuit breaker on a packet path in memory: who opens it, and who never does.

use std::path::Path;

use limiter_common::verdict::{RefuseReason, Verdict};

use super::{EXEMPT, LIMIT, NOW, SMTP, WITHIN, daemon, ip, rule};
use crate::{
    clock::Now,
    control::protocol::{BreakerState, Health, Mode, ModeRequest, Verb},
    daemon::Daemon,
    dataplane::memory::Memory,
};

const CONFIG: &str = r#"
mode = "enforce"
[[service]]
name = "smtp"
ports = [25]
connections_per_source = 1
[[service]]
name = "submission"
ports = [465, 587]
connections_per_source = 1
connections_total = 6
[[class]]
name = "probe"
prefixes = ["198.51.100.0/24"]
exempt = true
[[class]]
name = "webmail"
prefixes = ["203.0.113.7"]
connections_per_source = 1
critical = true
"#;

/// A daemon, its packet path, and the time that both are at.
struct Bench {
    daemon: Daemon,
    memory: Memory,
    now: Now,
}

impl Bench {
    fn new() -> Self {
        let (daemon, memory) = daemon(CONFIG, Path::new("limiter.toml"), NOW);
        Self { daemon, memory, now: NOW }.after(2)
    }

    /// Lets time pass, with the daemon looking every second.
    fn after(mut self, seconds: u64) -> Self {
        self.pass(seconds);
        self
    }

    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now = self.now.plus_s(1);
            self.memory.world().now_ns = self.now.monotonic_ns;
            self.daemon.second(self.now);
        }
    }

    /// Connects from the last octets of 192.0.2.0/24, so often each.
    fn connect(&self, port: u16, hosts: std::ops::Range<u8>, times: usize) -> Vec<Verdict> {
        let each = |host| std::iter::repeat_n(format!("192.0.2.{host}"), times);
        hosts.flat_map(each).map(|address| self.memory.connect(ip(&address), port)).collect()
    }

    fn state(&mut self, service: &str) -> BreakerState {
        let status = self.daemon.status(self.now);
        status.services.iter().find(|found| found.name == service).unwrap().breaker
    }

    /// What `/healthz` says of a service.
    fn health(&mut self, service: &str) -> (Health, String) {
        let status = self.daemon.status(self.now);
        let found = status.services.iter().find(|found| found.name == service).unwrap();
        (found.health, found.reasons.join("; "))
    }
}

/// When every address of a balancer is refused, limits of single sources are suspended within
/// seconds, for that service alone, and everything says so.
#[test]
fn a_balancer_whose_every_address_is_refused_opens_it() {
    let mut bench = Bench::new();
    bench.connect(465, 1..4, 2);
    assert!(bench.connect(465, 1..4, 1).iter().all(|verdict| *verdict == LIMIT));
    bench.pass(2);
    assert_eq!((bench.state("submission"), bench.state("smtp")), (BreakerState::Open, BreakerState::Closed));
    let observed = Verdict::WouldRefuse(RefuseReason::ConnectionsPerSource);
    assert_eq!(bench.connect(587, 1..4, 1), [observed; 3], "the balancer is back");
    let (health, reason) = bench.health("submission");
    assert_eq!(health, Health::Failing);
    for part in ["3 of 3 sources", "192.0.2.1", "limiterctl allow 192.0.2.1 --service submission"] {
        assert!(reason.contains(part), "{part} in: {reason}");
    }
    assert!(reason.starts_with("the circuit breaker is open: "), "the worst comes first: {reason}");
    assert_ne!(bench.health("smtp").0, Health::Failing);
    let metrics = crate::metrics::collect::text(&bench.daemon.snapshot(bench.now)).unwrap();
    assert!(metrics.contains("limiter_breaker_open{service=\"submission\"} 1\n"), "{metrics}");
    assert!(metrics.contains("limiter_breaker_open{service=\"smtp\"} 0\n"), "{metrics}");
}

/// Votes are counted for who looks at metrics, with the circuit breaker and without it, and are
/// over when nobody was refused for a window.
#[test]
fn votes_are_counted_without_a_breaker() {
    let disabled = format!("{CONFIG}[breaker]\nenabled = false\n");
    let (daemon, memory) = daemon(&disabled, Path::new("limiter.toml"), NOW);
    let mut bench = Bench { daemon, memory, now: NOW }.after(2);
    let shown = |bench: &mut Bench, vote: &str| {
        let metrics = crate::metrics::collect::text(&bench.daemon.snapshot(bench.now)).unwrap();
        let series = format!("limiter_breaker_votes{{service=\"submission\",vote=\"{vote}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&series).map(str::to_owned)).unwrap()
    };
    bench.connect(465, 1..4, 2);
    bench.connect(465, 4..6, 1);
    bench.pass(2);
    assert_eq!(bench.state("submission"), BreakerState::Closed);
    assert_eq!(
        (shown(&mut bench, "over_limit"), shown(&mut bench, "within_limits")),
        ("3".into(), "2".into())
    );
    bench.pass(30);
    assert_eq!(
        (shown(&mut bench, "over_limit"), shown(&mut bench, "within_limits")),
        ("0".into(), "0".into())
    );
}

/// One loud source is one vote, however loud it is: among good ones, and alone on a quiet host.
#[test]
fn one_loud_source_never_opens_it() {
    for good in [0, 1, 5] {
        let mut bench = Bench::new();
        bench.connect(SMTP, 100..100 + good, 1);
        for _ in 0..120 {
            bench.connect(SMTP, 7..8, 50);
            bench.pass(1);
            assert_eq!(bench.state("smtp"), BreakerState::Closed);
        }
    }
}

/// A few loud sources among as many good ones are not most.
#[test]
fn half_is_not_most() {
    let mut bench = Bench::new();
    bench.connect(SMTP, 100..104, 1);
    bench.connect(SMTP, 1..5, 9);
    bench.pass(4);
    assert_eq!(bench.state("smtp"), BreakerState::Closed);
    bench.connect(SMTP, 5..6, 9);
    bench.pass(2);
    assert_eq!(bench.state("smtp"), BreakerState::Open, "five of nine are");
}

/// Exempt sources have no vote: they do not hide that all others are refused.
#[test]
fn exempt_sources_have_no_vote() {
    let mut bench = Bench::new();
    for host in 0..9 {
        assert_eq!(bench.memory.connect(ip(&format!("198.51.100.{host}")), SMTP), EXEMPT);
    }
    bench.connect(SMTP, 1..4, 2);
    bench.pass(2);
    assert_eq!(bench.state("smtp"), BreakerState::Open);
}

/// Denials and ceilings never count, and stay while limits of single sources are suspended.
#[test]
fn denials_and_ceilings_never_count() {
    let mut bench = Bench::new();
    bench.connect(465, 1..7, 1);
    let full = Verdict::Refuse(RefuseReason::ConnectionsTotal);
    assert_eq!(bench.connect(465, 7..10, 1), [full; 3], "the ceiling");
    bench.daemon.add_rule(rule(Verb::Deny, "192.0.2.0/29"), "uid 0".into(), bench.now).unwrap();
    let denied = Verdict::Refuse(RefuseReason::Deny);
    assert_eq!(bench.connect(465, 1..5, 1), [denied; 4]);
    bench.pass(10);
    assert_eq!(bench.state("submission"), BreakerState::Closed);

    bench.connect(SMTP, 8..11, 2);
    bench.pass(2);
    assert_eq!(bench.state("smtp"), BreakerState::Open);
    assert_eq!(bench.connect(SMTP, 1..5, 1), [denied; 4], "the denial stays");
}

/// One refused source of a critical class is enough.
#[test]
fn a_critical_source_opens_it_at_once() {
    let mut bench = Bench::new();
    bench.connect(SMTP, 1..9, 1);
    let webmail = ip("203.0.113.7");
    assert_eq!(bench.memory.connect(webmail, SMTP), WITHIN);
    assert_eq!(bench.memory.connect(webmail, SMTP), LIMIT);
    bench.pass(2);
    assert_eq!(bench.state("smtp"), BreakerState::Open);
    let (_, reason) = bench.health("smtp");
    assert!(reason.contains("203.0.113.7 of the critical class `webmail`"), "{reason}");
}

/// It closes when fewer would be refused: on trial first, and for good after a window.
#[test]
fn it_closes_when_that_is_safe() {
    let mut bench = Bench::new();
    bench.connect(SMTP, 1..5, 2);
    bench.pass(2);
    assert_eq!(bench.state("smtp"), BreakerState::Open);
    bench.pass(62);
    assert_eq!(bench.state("smtp"), BreakerState::Trial);
    assert_eq!(bench.connect(SMTP, 1..2, 1), [LIMIT], "enforced again");
    bench.pass(32);
    assert_eq!(bench.state("smtp"), BreakerState::Closed, "one loud source does not stop that");
}

/// While most would still be refused there is no trial; one that goes wrong ends in two seconds.
#[test]
fn a_trial_is_not_the_outage() {
    let mut bench = Bench::new();
    bench.connect(SMTP, 1..5, 2);
    for _ in 0..90 {
        bench.pass(1);
        bench.connect(SMTP, 1..5, 1);
    }
    assert_eq!(bench.state("smtp"), BreakerState::Open, "no trial after 60 s");
    bench.pass(120);
    assert_eq!(bench.state("smtp"), BreakerState::Trial, "but twice as long after that");
    assert_eq!(bench.connect(SMTP, 1..5, 1), [LIMIT; 4]);
    bench.pass(2);
    assert_eq!(bench.state("smtp"), BreakerState::Open);
}

/// It has nothing to do with a service that observes, and lets go of one that is switched to it.
#[test]
fn what_observes_is_left_alone() {
    let mut bench = Bench::new();
    bench.connect(SMTP, 1..5, 2);
    bench.pass(2);
    let request = ModeRequest { mode: Mode::Observe, service: Some("smtp".into()) };
    bench.daemon.set_mode(&request, "uid 0", bench.now).unwrap();
    bench.connect(SMTP, 1..5, 2);
    bench.pass(4);
    assert_eq!(bench.state("smtp"), BreakerState::Closed);
    assert_eq!(bench.daemon.intent.suspended, Vec::<String>::new());
}

/// A policy that is put right does not wait for the back-off.
#[test]
fn whoever_exempts_the_balancer_is_served_soon() {
    let mut bench = Bench::new();
    bench.connect(SMTP, 1..5, 2);
    bench.pass(4);
    for _ in 0..200 {
        bench.connect(SMTP, 1..5, 1);
        bench.pass(1);
    }
    assert_eq!(bench.state("smtp"), BreakerState::Open);
    bench.daemon.add_rule(rule(Verb::Allow, "192.0.2.0/29"), "uid 0".into(), bench.now).unwrap();
    for _ in 0..34 {
        assert_eq!(bench.connect(SMTP, 1..5, 1), [EXEMPT; 4]);
        bench.pass(1);
    }
    assert_eq!(bench.state("smtp"), BreakerState::Trial);
}
