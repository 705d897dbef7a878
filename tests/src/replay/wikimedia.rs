//! wikimedia: the kernel dropped established mail (2021-11-24 to 12-08).
//!
//! After a kernel upgrade, packets of established SMTP connections did not match
//! the firewall's RELATED,ESTABLISHED rule any more and were dropped; mail
//! waited in the queue, and 37 hours passed before somebody acted. Here a mail
//! host with such a firewall sends mail to a real Postfix, and conntrack forgets
//! the connection in the middle of the session.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::{Act, Event, Figure, Replay, Stage};
use crate::daemon::Daemon;
use crate::mail::{POSTFIX, Postfix, Smtp};
use crate::record::{PROMTOOL, Recorder};
use crate::screen::Look;
use crate::veth::Bed;
use crate::wait;

/// The replay.
pub const REPLAY: Replay = Replay {
    name: "wikimedia",
    summary: "the kernel dropped established mail (2021-11-24 to 12-08)",
    needs: &[POSTFIX, PROMTOOL],
    acts: &[
        Act { title: "as it was: nobody watches what the kernel drops", play: as_it_was },
        Act { title: "the witness watches, IPv4", play: watched_ipv4 },
        Act { title: "the witness watches, IPv6", play: watched_ipv6 },
    ],
};

/// Where the other mail server listens.
const SMTP: u16 = 25;
/// How soon somebody is to be paged after the first lost packet.
const ALERT_TIME: Duration = Duration::from_secs(15);
/// How long the run goes on after the first lost packet, for the alert to fire in the worst phase.
const AFTER: Duration = Duration::from_secs(22);
/// How long the session is expected to go on, and does not.
const ANSWER_TIME: Duration = Duration::from_secs(6);

/// The firewall of the mail host: what it begins passes, and what belongs to that.
const FIREWALL: &str = "table inet filter {
  chain input {
    type filter hook input priority 0; policy drop
    iif lo accept
    meta l4proto ipv6-icmp accept
    ct state established,related accept
    tcp dport 25 ct state new accept
  }
  chain output {
    type filter hook output priority 0; policy drop
    oif lo accept
    meta l4proto ipv6-icmp accept
    ct state established,related accept
    tcp dport 25 ct state new accept
  }
}
";

fn config(witness: bool) -> String {
    format!(
        "mode = \"enforce\"\ninterfaces = [\"srv0\"]\n[witness]\nenabled = {witness}\n\
         [[service]]\nname = \"smtp\"\nports = [25]\nconnections_per_source = 50\n"
    )
}

/// What one act saw.
struct Course {
    /// Whether the session ended as it should.
    stalled: bool,
    /// From the first lost packet until each place showed it.
    metric: Option<Duration>,
    drops: Option<Duration>,
    alert: Option<Duration>,
    /// Alerts of other causes.
    other_pages: Result<(), String>,
    /// Who the metric says it was.
    reasons: Vec<String>,
    /// What limiter itself refused.
    refused: u64,
    status: String,
}

impl Course {
    fn run(v6: bool, witness: bool, stage: &mut Stage<'_>) -> Result<Self, String> {
        let began = Instant::now();
        let tell = |stage: &mut Stage<'_>, who, look, text: String| {
            (stage.tell)(Event { at: began.elapsed(), who, text, look });
        };
        let bed = Bed::new();
        let address = if v6 { bed.client().ipv6() } else { bed.client().ipv4() };
        let postfix = Postfix::start(&bed.client().namespace, &[]);
        bed.server.sysctl("net.netfilter.nf_conntrack_tcp_loose", "0");
        bed.server.nft(FIREWALL);
        let daemon = Daemon::start(&bed.server, &config(witness));
        let recorder = Recorder::start(&daemon);
        let mut session = greeted(&bed, address)?;
        tell(stage, "mail host", Look::Good, format!("a session with {address} is under way"));
        (stage.go_on)()?;

        bed.server.output("conntrack", &["-F"]);
        tell(
            stage,
            "conntrack",
            Look::Plain,
            "forgets every connection, as a fault of the kernel made it".into(),
        );
        let lost = Instant::now();
        // The command goes out and is lost, or its answer is.
        let stalled = std::thread::scope(|scope| {
            let answer = scope.spawn(|| session.command("MAIL FROM:<sender@example.org>"));
            let course = Self::watch(&daemon, lost);
            let stalled = answer.join().is_ok_and(|answer| answer.is_err());
            (stalled, course)
        });
        let (stalled, (metric, drops)) = stalled;
        if stalled {
            tell(stage, "mail host", Look::Bad, "the session stalls: mail stays in the queue".into());
        }
        for (place, at) in [("limiter_established_drops_total", metric), ("limiterctl drops", drops)] {
            let (look, text) = match at {
                Some(at) => (
                    Look::Good,
                    format!("{place} shows it {:.1} s after the first lost packet", at.as_secs_f64()),
                ),
                None => (Look::Bad, format!("{place} shows nothing")),
            };
            tell(stage, "limiter", look, text);
        }
        while lost.elapsed() < AFTER {
            (stage.go_on)()?;
            wait::holds_for("the run goes on", Duration::from_millis(200), || true);
        }
        let recording = recorder.stop();
        let labels = [("service", "outbound"), ("reason", "NETFILTER_DROP")];
        let alert = recording.fired("LimiterEstablishedDrops", &labels, lost);
        if let Some(alert) = alert {
            tell(
                stage,
                "Prometheus",
                Look::Good,
                format!("pages within {} s, in the worst phase of its clocks", alert.as_secs()),
            );
        } else {
            tell(stage, "Prometheus", Look::Bad, "nobody is paged".into());
        }
        let shown = daemon.metrics();
        let named = shown
            .iter()
            .filter(|sample| sample.name == "limiter_established_drops_total" && sample.value > 0.0);
        let reasons = named
            .filter_map(|sample| Some(format!("{} {}", sample.label("service")?, sample.label("reason")?)));
        let mut reasons: Vec<String> = reasons.collect();
        reasons.dedup();
        let course = Self {
            stalled,
            metric,
            drops,
            alert,
            other_pages: recording.try_silent("page", &["LimiterEstablishedDrops"]),
            reasons,
            refused: daemon.count("limiter_packets_total", &[("verdict", "refuse")]),
            status: daemon.ctl_json(&["status"])["findings"].to_string(),
        };
        postfix.stop();
        Ok(course)
    }

    /// Waits until the metric and `limiterctl drops` show the loss.
    fn watch(daemon: &Daemon<'_>, lost: Instant) -> (Option<Duration>, Option<Duration>) {
        let (mut metric, mut drops) = (None, None);
        while lost.elapsed() < ANSWER_TIME && (metric.is_none() || drops.is_none()) {
            if metric.is_none()
                && daemon.count("limiter_established_drops_total", &[("reason", "NETFILTER_DROP")]) > 0
            {
                metric = Some(lost.elapsed());
            }
            let answer = daemon.ctl_json(&["drops"]);
            let shown = answer["drops"].as_array().is_some_and(|answer| {
                answer.iter().any(|drop| drop["reason"] == "NETFILTER_DROP" && drop["established"] == true)
            });
            if drops.is_none() && shown {
                drops = Some(lost.elapsed());
            }
        }
        (metric, drops)
    }
}

/// A session that has said hello.
fn greeted(bed: &Bed, address: IpAddr) -> Result<Smtp, String> {
    let mut session = Smtp::connect(&bed.server, SocketAddr::new(address, SMTP))
        .map_err(|error| format!("connecting to the other mail server: {error}"))?;
    session.reply().map_err(|error| format!("its greeting: {error}"))?;
    session.command("EHLO mail.example.org").map_err(|error| format!("its answer: {error}"))?;
    Ok(session)
}

/// Without the witness the session stalls and nothing says why.
fn as_it_was(stage: &mut Stage<'_>) -> Result<Vec<Figure>, String> {
    let course = Course::run(false, false, stage)?;
    Ok(vec![
        Figure::equal("the session stalls", &true, &course.stalled),
        Figure::equal("places that name a drop", &0, &course.reasons.len()),
        Figure::equal("somebody is paged", &false, &course.alert.is_some()),
    ])
}

fn watched_ipv4(stage: &mut Stage<'_>) -> Result<Vec<Figure>, String> {
    watched(false, stage)
}

fn watched_ipv6(stage: &mut Stage<'_>) -> Result<Vec<Figure>, String> {
    watched(true, stage)
}

/// With it the loss is shown, named as netfilter's, and somebody is paged.
fn watched(v6: bool, stage: &mut Stage<'_>) -> Result<Vec<Figure>, String> {
    let course = Course::run(v6, true, stage)?;
    let other = course.other_pages.err().unwrap_or_else(|| "none".to_owned());
    Ok(vec![
        Figure::equal("the session stalls", &true, &course.stalled),
        Figure::within("the metric shows it", ALERT_TIME, course.metric),
        Figure::within("limiterctl drops shows it", ALERT_TIME, course.drops),
        Figure::within("the page fires", ALERT_TIME, course.alert),
        Figure::equal("pages of other causes", &"none".to_owned(), &other),
        Figure::equal("who dropped it", &"outbound NETFILTER_DROP".to_owned(), &course.reasons.join(", ")),
        Figure::equal("refused by limiter", &0, &course.refused),
        Figure::equal(
            "status names it",
            &true,
            &(course.status.contains("NETFILTER_DROP") && course.status.contains("conntrack")),
        ),
    ])
}
