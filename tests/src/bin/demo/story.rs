//! What happens on the stage, act by act, and what it should have come to.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use limiter_tests::client::{Burst, Target};
use limiter_tests::daemon::Daemon;
use limiter_tests::mail::Smtp;
use limiter_tests::veth::Bed;
use limiter_tests::{scene, wait};

use crate::cast::{self, MailServer, SMTP, Stage};
use limiter_tests::interrupt::Interrupt;
use limiter_tests::screen::{Look, Screen};

/// The limit that the greedy client meets.
const LIMIT: usize = 20;
/// How often the greedy client tries in vain.
const IN_VAIN: usize = 5;
/// How many connections the balancer opens at once: more than the limit.
const AT_ONCE: usize = 30;
/// How often the balancer probes.
const PROBE_EVERY: Duration = Duration::from_millis(200);
/// How long the kernel may take to free a closed connection's slot.
const RELEASE_TIME: Duration = Duration::from_secs(5);

/// What the policy has beside a limit of [`LIMIT`]: a quota, and the balancer exempt from both.
const MORE: &str = "\
new_connections_per_source = { per_minute = 600, burst = 100 }

[[class]]
name = \"balancer\"
prefixes = [\"10.90.0.2\"]
exempt = true
";

/// Who tried how often, and how it ended.
#[derive(Debug, Default)]
struct Tally {
    tried: usize,
    accepted: usize,
    refused: Vec<(io::ErrorKind, Duration)>,
}

/// What the acts share.
struct Play<'a> {
    stage: &'a Stage<'a>,
    daemon: &'a Daemon<'a>,
    screen: Screen,
    interrupt: &'a Interrupt,
    balancer: Tally,
    good: Tally,
    greedy: Tally,
}

impl Tally {
    fn add(&mut self, attempt: cast::Attempt) -> Option<Smtp> {
        self.tried += 1;
        match attempt.outcome {
            Ok(smtp) => {
                self.accepted += 1;
                Some(smtp)
            }
            Err(e) => {
                self.refused.push((e.kind(), attempt.took));
                None
            }
        }
    }

    /// How refusals looked to the client.
    fn how(&self) -> String {
        let Some((kind, _)) = self.refused.first() else {
            return "-".to_owned();
        };
        let slowest = self.refused.iter().map(|(_, took)| *took).max().unwrap_or_default();
        format!("{} within {}", errno(*kind), milliseconds(slowest))
    }
}

/// Starts the daemon, plays, and judges.
pub(crate) fn tell(bed: &Bed, screen: Screen, interrupt: &Interrupt) -> Result<(), String> {
    screen.heading("limiterd guards port 25: 20 connections per source, the balancer exempt");
    // Both take a second or two.
    let (server, mut daemon) = thread::scope(|scope| {
        let server = scope.spawn(|| MailServer::start(&bed.server, screen));
        let daemon = Daemon::start(&bed.server, &(scene::policy(bed.clients.len(), LIMIT) + MORE));
        server.join().map(|server| (server, daemon)).map_err(|_| "the mail server did not start")
    })?;
    let stage = &Stage::new(bed, server);
    let status = daemon.ctl_json(&["status"]);
    for attachment in status["attachments"].as_array().into_iter().flatten() {
        let text = |key: &str| attachment[key].as_str().unwrap_or_default().to_owned();
        screen.say("limiterd", Look::Plain, format!("attached to {}, {}", text("interface"), text("mode")));
    }

    let over = AtomicBool::new(false);
    let play = thread::scope(|scope| {
        let probes = scope.spawn(|| probe(stage, &over));
        let mut play = Play {
            stage,
            daemon: &daemon,
            screen,
            interrupt,
            balancer: Tally::default(),
            good: Tally::default(),
            greedy: Tally::default(),
        };
        let outcome = play.acts();
        over.store(true, Ordering::Relaxed);
        let probes = probes.join().map_err(|_| "the probes ended in a panic".to_owned())?;
        outcome?;
        play.balancer.tried += probes.tried;
        play.balancer.accepted += probes.accepted;
        play.balancer.refused.extend(probes.refused);
        play.summary();
        play.judge()?;
        Ok::<(), String>(())
    });
    play?;
    let ended = daemon.stop();
    screen.say("limiterd", Look::Plain, format!("stopped ({ended}), everything is detached"));
    if ended.success() { Ok(()) } else { Err(format!("limiterd ended with {ended}")) }
}

/// Probes like a balancer's health check, until the play is over.
fn probe(stage: &Stage<'_>, over: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    loop {
        if let Some(mut smtp) = tally.add(cast::connect(stage.balancer()))
            && stage.takes_mail()
        {
            // A probe that is answered has done its work, however the goodbye ends.
            drop(smtp.command("QUIT"));
        }
        let end = wait::until_some(PROBE_EVERY, || over.load(Ordering::Relaxed).then_some(()));
        if end.is_some() {
            return tally;
        }
    }
}

impl Play<'_> {
    fn acts(&mut self) -> Result<(), String> {
        let every = format!("probes port {SMTP} every {} ms from here on", PROBE_EVERY.as_millis());
        self.screen.say("balancer", Look::Plain, every);
        self.good_clients("before")?;
        let held = self.greedy_client()?;
        self.explain();
        self.good_clients("while the greedy one is refused")?;
        self.balancer_at_once()?;
        self.room_again(held)
    }

    fn good_clients(&mut self, when: &str) -> Result<(), String> {
        self.screen.heading(format!("Good clients, {when}"));
        for (who, client, server) in self.stage.good() {
            self.interrupt.check()?;
            let dialogue = cast::send(self.stage, client, server, when);
            self.good.tried += 1;
            if !cast::is_accepted(self.stage, &dialogue) {
                return Err(format!("{who} was not served: {dialogue:?}"));
            }
            self.good.accepted += 1;
            let text = format!("sent a mail to {server}: {:?}", dialogue.codes());
            self.screen.say(who, Look::Good, text);
            if self.good.tried > 1 {
                continue;
            }
            let commands = ["(greeting)", "EHLO", "MAIL FROM", "RCPT TO", "DATA", "(text)", "QUIT"];
            for (command, reply) in commands.iter().zip(&dialogue.replies) {
                let line = reply.lines.first().map(String::as_str).unwrap_or_default();
                self.screen.more(Look::Dim, format!("{command:<10} -> {} {line}", reply.code));
            }
        }
        Ok(())
    }

    /// Opens one connection after the other and keeps them.
    fn greedy_client(&mut self) -> Result<Vec<Smtp>, String> {
        self.screen.heading("The greedy client opens one connection after the other");
        let mut held = Vec::new();
        self.screen.begin("greedy");
        for n in 1..=LIMIT {
            self.interrupt.check()?;
            held.extend(self.greedy.add(cast::connect(self.stage.greedy())));
            self.screen.go_on(Look::Good, format!("{n} "));
        }
        self.screen.end(Look::Good, "accepted");
        for n in LIMIT + 1..=LIMIT + IN_VAIN {
            self.interrupt.check()?;
            let attempt = cast::connect(self.stage.greedy());
            let text = match &attempt.outcome {
                Ok(_) => "accepted".to_owned(),
                Err(e) => format!("{} after {}", errno(e.kind()), milliseconds(attempt.took)),
            };
            self.screen.say("greedy", Look::Bad, format!("connection {n}: {text}"));
            held.extend(self.greedy.add(attempt));
        }
        Ok(held)
    }

    /// Shows what an operator sees of it.
    fn explain(&self) {
        self.screen.heading("What the operator sees");
        let address = self.stage.greedy().ipv4().to_string();
        self.screen.say("operator", Look::Plain, format!("limiterctl check {address} --port {SMTP}"));
        let check = self.daemon.ctl_json(&["check", &address, "--port", &SMTP.to_string()]);
        for sentence in check["answers"][0]["explanation"].as_array().into_iter().flatten() {
            self.screen.more(Look::Dim, sentence.as_str().unwrap_or_default());
        }
        self.screen.say("operator", Look::Plain, "GET /metrics");
        let (_, metrics) = self.daemon.get("/metrics");
        for line in metrics.lines().filter(|line| line.contains("verdict=\"refuse\"")) {
            self.screen.more(Look::Bad, line);
        }
    }

    /// More connections at once than anybody else may have, from the exempt source.
    fn balancer_at_once(&mut self) -> Result<(), String> {
        self.interrupt.check()?;
        self.screen.heading("The balancer is exempt: it may have more than the limit");
        let client = self.stage.balancer();
        let target = Target::greeting((client.server_ipv4(), SMTP).into());
        let burst = Burst::connect(&client.namespace, &target, AT_ONCE);
        self.balancer.tried += AT_ONCE;
        self.balancer.accepted += burst.greeted();
        let failed = burst.attempts.iter().filter(|a| a.stream.is_none());
        self.balancer.refused.extend(failed.map(|a| (io::ErrorKind::Other, a.took)));
        let text = format!("opened {AT_ONCE} at once: {} greeted", burst.greeted());
        self.screen.say("balancer", Look::Good, text);
        Ok(())
    }

    /// A connection that is closed makes room for exactly one.
    fn room_again(&mut self, mut held: Vec<Smtp>) -> Result<(), String> {
        self.screen.heading("A closed connection makes room for one");
        // Connections that were open all the time have not noticed anything.
        for smtp in &mut held {
            if self.stage.takes_mail() {
                let reply = smtp.command("NOOP").map_err(|e| format!("an open connection broke: {e}"))?;
                if reply.code != 250 {
                    return Err(format!("an open connection was answered {reply:?}"));
                }
            }
        }
        let open = held.len();
        self.screen.say(
            "greedy",
            Look::Plain,
            format!("all {open} open connections still answer; closes one"),
        );
        held.pop();
        let labels = [("service", "smtp"), ("class", "default")];
        wait::until("the slot is free", RELEASE_TIME, || {
            self.daemon.metric("limiter_connections", &labels) < f64::from(u32::try_from(LIMIT).unwrap_or(0))
        });
        for what in ["in its place", "one more"] {
            self.interrupt.check()?;
            let attempt = cast::connect(self.stage.greedy());
            let (look, text) = match &attempt.outcome {
                Ok(_) => (Look::Good, "accepted".to_owned()),
                Err(e) => (Look::Bad, errno(e.kind())),
            };
            self.screen.say("greedy", look, format!("connection {what}: {text}"));
            held.extend(self.greedy.add(attempt));
        }
        Ok(())
    }

    fn summary(&self) {
        self.screen.heading("Summary");
        let row = |who: &str, tally: &Tally, metrics: String, look| {
            let numbers = [tally.tried, tally.accepted, tally.refused.len()].map(|n| n.to_string());
            let [tried, accepted, refused] = numbers;
            ([who.to_owned(), tried, accepted, refused, tally.how(), metrics], look)
        };
        let pass = |class: &str, reason: &str| {
            let labels = [("verdict", "pass"), ("class", class), ("reason", reason), ("point", "gate")];
            format!("{} {reason} ({class})", self.daemon.count("limiter_packets_total", &labels))
        };
        let refused = self.daemon.refused("smtp", "connections_per_source");
        let rows = [
            row("balancer", &self.balancer, pass("balancer", "exempt"), Look::Plain),
            row("good clients", &self.good, pass("default", "within_limits"), Look::Plain),
            row(
                "greedy client",
                &self.greedy,
                format!("{refused} connections_per_source (default)"),
                Look::Bad,
            ),
        ];
        self.screen.table(["who", "tried", "accepted", "refused", "how", "reason in the metrics"], &rows);
        self.screen
            .end(Look::Dim, "  (within_limits counts whom the greedy client got in, too: all of one class)");
    }

    /// Compares what was shown with what should be shown.
    fn judge(&self) -> Result<(), String> {
        let refused = self.daemon.refused("smtp", "connections_per_source");
        let others = self.daemon.count("limiter_packets_total", &[("verdict", "refuse")]) - refused;
        let reset = |(kind, _): &(io::ErrorKind, Duration)| {
            matches!(kind, io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset)
        };
        let checks = [
            (self.balancer.refused.is_empty(), "the exempt balancer is never refused"),
            (self.good.refused.is_empty(), "good clients are never refused"),
            (
                self.greedy.accepted == LIMIT + 1,
                "the greedy client gets 20, and one in place of a closed one",
            ),
            (self.greedy.refused.len() == IN_VAIN + 1, "the greedy client is refused from the 21st on"),
            (self.greedy.refused.iter().all(reset), "who is refused sees a reset"),
            (
                refused == self.greedy.refused.len() as u64,
                "the metrics count each refusal once, by its reason",
            ),
            (others == 0, "nothing is refused for another reason"),
            (self.stage.delivered(self.good.accepted) == self.good.accepted, "every mail is delivered"),
        ];
        let broken: Vec<&str> = checks.iter().filter(|(holds, _)| !holds).map(|(_, law)| *law).collect();
        if broken.is_empty() { Ok(()) } else { Err(broken.join("; ")) }
    }
}

/// An error as C and mail logs call it.
fn errno(kind: io::ErrorKind) -> String {
    match kind {
        io::ErrorKind::ConnectionRefused => "refused by a reset (ECONNREFUSED)".to_owned(),
        io::ErrorKind::ConnectionReset => "reset (ECONNRESET)".to_owned(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "timed out".to_owned(),
        other => other.to_string(),
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1_000.0)
}
