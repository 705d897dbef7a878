//! How one act goes: servers, daemon, balancer, round by round, with a look at the daemon in between.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{MANY, SMTP, SUBMISSION, addresses};
use crate::daemon::Daemon;
use crate::record::{Recorder, Recording};
use crate::replay::balancer::{Balancer, INTERVAL, Round};
use crate::replay::{Event, Stage};
use crate::screen::Look;
use crate::server::Server;
use crate::veth::Bed;
use crate::wait;

/// What the balancer probes.
pub(super) const PORTS: [u16; 3] = [SMTP, SUBMISSION[0], SUBMISSION[1]];
/// How often the daemon is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// What an act is made of.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The round from which on the balancer makes many probes.
    pub(super) change: u32,
    /// The round from which on it makes few again.
    pub(super) calm: Option<u32>,
    /// How many rounds there are.
    pub(super) rounds: u32,
    /// The policy.
    pub(super) config: String,
}

/// What was seen, in times since the act began.
#[derive(Debug, Default)]
pub(super) struct Course {
    pub(super) changed_at: Option<Duration>,
    pub(super) calmed_at: Option<Duration>,
    /// When refusals of the balancer were first in the metrics.
    pub(super) shown_at: Option<Duration>,
    /// When `/healthz` was first 503 for an open breaker, with its metric at 1.
    pub(super) opened_at: Option<Duration>,
    /// When the breaker was last seen to close.
    pub(super) closed_at: Option<Duration>,
    pub(super) names_the_command: bool,
    /// What the breaker of `submission` is up to.
    pub(super) breaker: String,
    pub(super) canary_failures: u64,
    /// Probes that were not greeted.
    pub(super) failed: usize,
    /// What Prometheus saw.
    pub(super) recording: Option<(Instant, Recording)>,
    rounds: Vec<(Duration, Vec<Round>)>,
}

impl Course {
    /// Plays an act.
    pub(super) fn run(plan: &Plan, stage: &mut Stage<'_>) -> Result<Self, String> {
        let bed = Bed::new();
        let client = bed.client();
        let servers = PORTS.map(|port| Server::greeting(&bed.server, (client.server_ipv4(), port).into()));
        let mut balancer = Balancer::new(client, addresses(), &PORTS);
        let daemon = Daemon::start(&bed.server, &plan.config);
        let recorder = Recorder::start(&daemon);
        let mut course = Self { breaker: "closed".to_owned(), ..Self::default() };
        let began = Instant::now();
        let tell = |stage: &mut Stage<'_>, who, look, text: String| {
            (stage.tell)(Event { at: began.elapsed(), who, text, look });
        };
        tell(stage, "balancer", Look::Plain, "one probe per address and port, every 2 s".to_owned());
        for round in 0..plan.rounds {
            let due = INTERVAL * round;
            let mut next_look = Instant::now();
            // The deadline is far beyond what a busy machine needs; the condition ends it.
            wait::until_some(INTERVAL * 10, || {
                if Instant::now() >= next_look {
                    next_look = Instant::now() + LOOK;
                    course.look(&daemon, began, stage);
                }
                (began.elapsed() >= due).then_some(())
            });
            (stage.go_on)()?;
            if round == plan.change {
                balancer.probes = MANY;
                course.changed_at = Some(began.elapsed());
                tell(stage, "balancer", Look::Bold, format!("changes: {MANY} probes where there was one"));
            } else if Some(round) == plan.calm {
                balancer.probes = 1;
                course.calmed_at = Some(began.elapsed());
                tell(stage, "balancer", Look::Bold, "calms down: one probe again".to_owned());
            }
            let rounds = balancer.round();
            for server in &servers {
                server.close(server.held());
            }
            for round in &rounds {
                course.failed += round.probes - round.greeted;
                course.narrate(round, began, stage);
            }
            course.rounds.push((began.elapsed(), rounds));
        }
        course.look(&daemon, began, stage);
        course.canary_failures = daemon.count("limiter_canary_failures", &[]);
        course.recording = Some((began, recorder.stop()));
        Ok(course)
    }

    /// Tells what is different from the round before.
    fn narrate(&self, round: &Round, began: Instant, stage: &mut Stage<'_>) {
        let number = round.port.number;
        let before = self
            .rounds
            .last()
            .and_then(|(_, rounds)| rounds.iter().find(|before| before.port.number == number));
        let was_good = before.is_none_or(Round::is_good);
        let (look, text) = match (round.changed, round.port.is_up) {
            (true, false) => {
                (Look::Bad, format!("port {number} is EJECTED: three rounds in a row have failed"))
            }
            (true, true) => (Look::Good, format!("port {number} is taken back")),
            (false, _) if was_good != round.is_good() => {
                let look = if round.is_good() { Look::Good } else { Look::Bad };
                (look, format!("port {number}: {} of {} probes greeted", round.greeted, round.probes))
            }
            (false, _) => return,
        };
        (stage.tell)(Event { at: began.elapsed(), who: "balancer", text, look });
    }

    /// Looks at what the daemon shows.
    fn look(&mut self, daemon: &Daemon<'_>, began: Instant, stage: &mut Stage<'_>) {
        let mut tell = |look, text| (stage.tell)(Event { at: began.elapsed(), who: "limiterd", text, look });
        if self.shown_at.is_none() && daemon.refused("submission", "new_connection_quota") > 0 {
            self.shown_at = Some(began.elapsed());
            tell(
                Look::Plain,
                "limiter_packets_total{verdict=\"refuse\",service=\"submission\"} grows".to_owned(),
            );
        }
        let status = daemon.ctl_json(&["status"]);
        let services = status["services"].as_array().map_or(&[][..], Vec::as_slice);
        let Some(submission) = services.iter().find(|service| service["name"] == "submission") else {
            return;
        };
        let breaker = submission["breaker"].as_str().unwrap_or_default();
        if breaker == self.breaker {
            return;
        }
        let look = if breaker == "open" { Look::Bad } else { Look::Good };
        tell(look, format!("circuit breaker of `submission`: {} -> {breaker}", self.breaker));
        breaker.clone_into(&mut self.breaker);
        match breaker {
            "open" if self.opened_at.is_none() => {
                let (status, body) = daemon.get("/healthz");
                let metric = daemon.count("limiter_breaker_open", &[("service", "submission")]);
                let reason = reason(&body);
                let first = reason.split("; ").next().unwrap_or_default();
                tell(Look::Plain, format!("/healthz: {status}, {first}"));
                self.opened_at = (status == 503 && metric == 1).then(|| began.elapsed());
                self.names_the_command = reason.contains("limiterctl allow 35.191.0.");
            }
            "closed" => self.closed_at = Some(began.elapsed()),
            _ => {}
        }
    }

    /// How long after the first failed probe an alert about `submission` fired.
    pub(super) fn fired(&self, alert: &str) -> Option<Duration> {
        let (began, recording) = self.recording.as_ref()?;
        recording.fired(alert, &[("service", "submission")], *began + self.first_failure()?)
    }

    /// What promtool says of pages that fired, or `none`.
    pub(super) fn pages(&self) -> String {
        let said = self.recording.as_ref().map(|(_, recording)| recording.try_silent("page", &[]));
        said.and_then(Result::err).unwrap_or_else(|| "none".to_owned())
    }

    /// When most probes of a port first failed.
    pub(super) fn first_failure(&self) -> Option<Duration> {
        let mut rounds = self.rounds.iter();
        rounds.find(|(_, rounds)| rounds.iter().any(|round| round.greeted < round.probes)).map(|(at, _)| *at)
    }

    /// When a port was first ejected.
    pub(super) fn ejected(&self, port: u16) -> Option<Duration> {
        let down = |round: &Round| round.port.number == port && !round.port.is_up;
        self.rounds.iter().find(|(_, rounds)| rounds.iter().any(down)).map(|(at, _)| *at)
    }

    /// Since when, to the end, every port is up and every probe greeted; none if the last round is not so.
    pub(super) fn back_at(&self) -> Option<Duration> {
        let is_well =
            |rounds: &[Round]| rounds.iter().all(|round| round.port.is_up && round.greeted == round.probes);
        self.rounds.iter().rev().take_while(|(_, rounds)| is_well(rounds)).last().map(|(at, _)| *at)
    }

    /// What the balancer thinks of a port at the end.
    pub(super) fn at_end(&self, port: u16) -> &'static str {
        let last =
            self.rounds.last().and_then(|(_, rounds)| rounds.iter().find(|round| round.port.number == port));
        if last.is_some_and(|round| round.port.is_up) { "up" } else { "ejected" }
    }
}

/// What `/healthz` says of `submission`.
fn reason(body: &str) -> String {
    let report: Value = serde_json::from_str(body).unwrap_or_default();
    let services = report["services"].as_array().map_or(&[][..], Vec::as_slice);
    let submission = services.iter().find(|service| service["name"] == "submission");
    submission.and_then(|service| service["reason"].as_str()).unwrap_or_default().to_owned()
}
