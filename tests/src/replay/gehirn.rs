//! gehirn: the limiter that ate the load balancer (2022-09-24, 5 h 46 min).
//!
//! A mail API limited TCP connections per source in the kernel. The provider's
//! balancer changed its access pattern, its probes of 465 and 587 were refused,
//! and it took every backend out; port 25 was fine, and the mail server healthy.
//! Here a balancer of four addresses probes the three ports every two seconds,
//! and then makes twelve probes where it made one.

mod course;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use self::course::{Course, Plan};
use super::{Act, Figure, Replay, Stage};
use crate::record::PROMTOOL;

/// The replay.
pub const REPLAY: Replay = Replay {
    name: "gehirn",
    summary: "the limiter that ate the load balancer (2022-09-24, 5 h 46 min)",
    needs: &[PROMTOOL],
    acts: &[
        Act { title: "as it was: no exemption, no circuit breaker", play: as_it_was },
        Act { title: "the balancer is an exempt class, by the preset `gcp-lb`", play: with_the_preset },
        Act { title: "no exemption: the circuit breaker alone", play: with_the_breaker },
        Act { title: "the circuit breaker tries limits again, and does no harm", play: trying_again },
    ],
};

/// Where the mail server listens.
pub(crate) const SMTP: u16 = 25;
/// The ports of the other service.
pub(crate) const SUBMISSION: [u16; 2] = [465, 587];
/// Within the range of the preset `gcp-lb`.
const ADDRESSES: [Ipv4Addr; 4] = [
    Ipv4Addr::new(35, 191, 0, 1),
    Ipv4Addr::new(35, 191, 0, 2),
    Ipv4Addr::new(35, 191, 0, 3),
    Ipv4Addr::new(35, 191, 0, 4),
];
/// Probes of an address to a port in a round once the pattern has changed: 720 a minute for the service.
const MANY: usize = 12;
/// The round in which the pattern changes.
const CHANGE: u32 = 3;
/// How soon the balancer ejects: a burst is used up, then three rounds fail; twice that on a busy machine.
const EJECT_TIME: Duration = Duration::from_secs(16);
/// How soon somebody can be paged.
const ALERT_TIME: Duration = Duration::from_secs(15);
/// How soon the circuit breaker has the service back.
const BACK_TIME: Duration = Duration::from_secs(45);

/// The addresses of the balancer.
pub(crate) fn addresses() -> Vec<IpAddr> {
    ADDRESSES.map(IpAddr::V4).to_vec()
}

/// The policy: limits with room for twice the probes there were, and too tight for what comes.
fn config(rest: &str) -> String {
    format!(
        "mode = \"enforce\"\ninterfaces = [\"srv0\"]\n\
         [[service]]\nname = \"smtp\"\nports = [25]\n\
         new_connections_per_source = {{ per_minute = 6000, burst = 1000 }}\n\
         [[service]]\nname = \"submission\"\nports = [465, 587]\n\
         new_connections_per_source = {{ per_minute = 120, burst = 20 }}\n{rest}"
    )
}

fn always_up(port: u16, course: &Course) -> Figure {
    let measured = course
        .ejected(port)
        .map_or_else(|| "never ejected".to_owned(), |at| format!("ejected at {:.1} s", at.as_secs_f64()));
    Figure::equal(format!("port {port}"), &"never ejected".to_owned(), &measured)
}

/// Without the guard the outage happens, on 465 and 587 alone, and stays.
fn as_it_was(stage: &mut Stage<'_>) -> Result<Vec<Figure>, String> {
    let plan =
        Plan { change: CHANGE, calm: None, rounds: 15, config: config("[breaker]\nenabled = false\n") };
    let course = Course::run(&plan, stage)?;
    let refused = course.first_failure();
    let mut figures = vec![always_up(SMTP, &course)];
    for port in SUBMISSION {
        let took = course.ejected(port).zip(course.changed_at).map(|(at, from)| at.saturating_sub(from));
        figures.push(Figure::within(format!("port {port} is ejected"), EJECT_TIME, took));
        figures.push(Figure::equal(format!("port {port} at the end"), &"ejected", &course.at_end(port)));
    }
    let shown = course.shown_at.zip(refused).map(|(at, from)| at.saturating_sub(from));
    figures.push(Figure::within("refusals of the balancer are in the metrics", ALERT_TIME, shown));
    figures.push(Figure::within(
        "the page LimiterMostSourcesRefused",
        ALERT_TIME,
        course.fired("LimiterMostSourcesRefused"),
    ));
    Ok(figures)
}

/// With the preset the balancer is never refused.
fn with_the_preset(stage: &mut Stage<'_>) -> Result<Vec<Figure>, String> {
    let class = "[[class]]\nname = \"balancer\"\nprefixes = [\"preset:gcp-lb\"]\nexempt = true\n\
                 [breaker]\nenabled = false\n";
    let plan = Plan { change: CHANGE, calm: None, rounds: 13, config: config(class) };
    let course = Course::run(&plan, stage)?;
    let mut figures: Vec<Figure> = course::PORTS.iter().map(|port| always_up(*port, &course)).collect();
    figures.push(Figure::equal("probes that were not greeted", &0, &course.failed));
    figures.push(Figure::equal("canaries that fail", &0, &course.canary_failures));
    figures.push(Figure::equal("pages", &"none".to_owned(), &course.pages()));
    Ok(figures)
}

/// With the circuit breaker alone the service is back before anybody has read the page.
fn with_the_breaker(stage: &mut Stage<'_>) -> Result<Vec<Figure>, String> {
    let plan = Plan { change: CHANGE, calm: None, rounds: 15, config: config("") };
    let course = Course::run(&plan, stage)?;
    let after =
        |at: Option<Duration>| at.zip(course.first_failure()).map(|(at, from)| at.saturating_sub(from));
    Ok(vec![
        always_up(SMTP, &course),
        Figure::within("/healthz is 503 and the breaker's metric 1", ALERT_TIME, after(course.opened_at)),
        Figure::within("the page LimiterBreakerOpen", ALERT_TIME, course.fired("LimiterBreakerOpen")),
        Figure::equal("/healthz names the command that helps", &true, &course.names_the_command),
        Figure::within(
            "465 and 587 are back: up, and every probe greeted",
            BACK_TIME,
            after(course.back_at()),
        ),
        Figure::equal(
            "465 and 587 at the end",
            &"up up".to_owned(),
            &SUBMISSION.map(|port| course.at_end(port)).join(" "),
        ),
    ])
}

/// Limits are tried again while the balancer goes on, and when it has calmed down: it is never ejected.
///
/// Times of the breaker are a fifth of the defaults, to see all of it in half a minute.
fn trying_again(stage: &mut Stage<'_>) -> Result<Vec<Figure>, String> {
    let breaker = "[breaker]\nwindow = \"6s\"\nretry_after = \"8s\"\n";
    let plan = Plan { change: 1, calm: Some(9), rounds: 25, config: config(breaker) };
    let course = Course::run(&plan, stage)?;
    let from_calm = |at: Option<Duration>| at.zip(course.calmed_at).map(|(at, from)| at.saturating_sub(from));
    let mut figures: Vec<Figure> = course::PORTS.iter().map(|port| always_up(*port, &course)).collect();
    // At most the wait that doubled once, then the window.
    figures.push(Figure::within(
        "limits are enforced again after the balancer calmed down",
        Duration::from_secs(30),
        from_calm(course.closed_at),
    ));
    figures.push(Figure::equal("the breaker at the end", &"closed".to_owned(), &course.breaker));
    Ok(figures)
}
