//! What Prometheus would have seen of a run: the daemon's metrics once a second, as text over HTTP,
//! and the alerts that fire on them.
//!
//! A [`Recorder`] scrapes while the run goes on. A [`Recording`] makes series of it and gives them to
//! `promtool test rules` with the rules of `configs/prometheus/alerts.yml`, at scrape and evaluation
//! intervals of five seconds, in every phase of the two clocks against the run: what fires in time
//! fires in the worst of them, and what is silent is silent in all.
//!
//! ```text
//! require!(host::BED, DAEMON, PROMTOOL);
//! let recorder = Recorder::start(&daemon);
//! let lost = Instant::now();                 // the first packet is lost here
//! ...
//! let recording = recorder.stop();
//! let took = recording.fires("LimiterEstablishedDrops", &[("service", "smtp")], lost, ALERT_TIME);
//! recording.silent("page", &["LimiterEstablishedDrops"]);
//! assert_eq!(recording.highest("limiter_fail_open_total", &[]), 0.0);
//! ```
//!
//! Where the figure is to be shown and not asserted, [`Recording::fired`] returns it. A run has to
//! go on until an alert can have fired: at least as long as it may take.

mod promtool;

use std::fs::File;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};

use crate::daemon::{self, Daemon};
use crate::host::Requirement;
use crate::metrics::{self, Sample};

pub use promtool::{RULES, check_rules, check_rules_in, test_rules};

/// What a recording needs of the machine to be judged.
pub const PROMTOOL: &[Requirement] = &[Requirement::Command("promtool", "prometheus")];

/// How often the daemon is scraped, and the resolution of a recording.
const INTERVAL: Duration = Duration::from_secs(1);

/// Scrapes a daemon once a second, on a thread of its own, until it is stopped or dropped.
#[derive(Debug)]
pub struct Recorder {
    began: Instant,
    stop: Sender<()>,
    thread: JoinHandle<Vec<Scrape>>,
}

/// What was scraped, second by second.
#[derive(Debug)]
pub struct Recording {
    began: Instant,
    /// The last scrape in each second; none where the machine was too busy for one.
    seconds: Vec<Option<Scrape>>,
}

/// One scrape; without samples if it failed.
#[derive(Clone, Debug)]
struct Scrape {
    at: Duration,
    samples: Option<Vec<Sample>>,
}

impl Recorder {
    /// Begins to scrape a daemon.
    #[must_use]
    #[track_caller]
    pub fn start(daemon: &Daemon<'_>) -> Self {
        let path = daemon.namespace().path();
        let namespace = File::open(&path).unwrap_or_else(|e| panic!("opening {}: {e}", path.display()));
        let (stop, stopped) = mpsc::channel();
        let began = Instant::now();
        let thread = thread::spawn(move || {
            setns(&namespace, CloneFlags::CLONE_NEWNET).expect("entering the daemon's namespace");
            scrapes(began, &stopped)
        });
        Self { began, stop, thread }
    }

    /// Scrapes once more and hands out what was seen.
    #[must_use]
    #[track_caller]
    pub fn stop(self) -> Recording {
        drop(self.stop);
        let scrapes = self.thread.join().expect("scraping does not panic");
        Recording::new(self.began, scrapes)
    }
}

/// Scrapes until told to stop, and once more then.
fn scrapes(began: Instant, stopped: &Receiver<()>) -> Vec<Scrape> {
    let mut scrapes = Vec::new();
    let mut due = began;
    loop {
        let wait = due.saturating_duration_since(Instant::now());
        let goes_on = stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout);
        let at = began.elapsed();
        let answer = daemon::ask("/metrics").filter(|(status, _)| *status == 200);
        scrapes.push(Scrape { at, samples: answer.map(|(_, text)| metrics::parse(&text)) });
        if !goes_on {
            return scrapes;
        }
        due = (due + INTERVAL).max(Instant::now());
    }
}

impl Recording {
    fn new(began: Instant, scrapes: Vec<Scrape>) -> Self {
        let mut seconds = Vec::new();
        for scrape in scrapes {
            let second = usize::try_from(scrape.at.as_secs()).expect("a run ends within its test");
            seconds.resize(seconds.len().max(second + 1), None);
            seconds[second] = Some(scrape);
        }
        Self { began, seconds }
    }

    /// How long the run was.
    #[must_use]
    pub fn length(&self) -> Duration {
        INTERVAL * u32::try_from(self.seconds.len()).expect("a run ends within its test")
    }

    /// The sum of the samples of `name` that carry all of `labels`, by second; a failed scrape has none.
    fn sums(&self, name: &str, labels: &[(&str, &str)]) -> impl DoubleEndedIterator<Item = f64> {
        let samples = self.seconds.iter().flatten().filter_map(|scrape| scrape.samples.as_ref());
        samples.map(move |samples| metrics::sum(samples, name, labels))
    }

    /// The highest sum of the samples of `name` that carry all of `labels`; 0 if there were none.
    #[must_use]
    pub fn highest(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.sums(name, labels).fold(0.0, f64::max)
    }

    /// The same sum in the last scrape that succeeded.
    #[must_use]
    pub fn last(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.sums(name, labels).next_back().unwrap_or_default()
    }

    /// Whether a sample of this name was ever seen.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        let mut samples =
            self.seconds.iter().flatten().filter_map(|scrape| scrape.samples.as_ref()).flatten();
        samples.any(|sample| sample.name == name)
    }

    /// How long after `since` an alert with these labels fired, in whole seconds and in the worst
    /// phase of scrapes and evaluations; `None` if it did not in some phase.
    #[must_use]
    pub fn fired(&self, alert: &str, labels: &[(&str, &str)], since: Instant) -> Option<Duration> {
        let since = since.saturating_duration_since(self.began);
        let mut fires_by = |within| promtool::fires(self, alert, labels, since + within);
        first(self.length().saturating_sub(since), &mut fires_by)
    }

    /// Panics unless an alert with these labels fires `within` a time after `since`; returns how
    /// long it took in the worst phase of scrapes and evaluations.
    #[expect(clippy::must_use_candidate, reason = "most callers want the panic")]
    #[track_caller]
    pub fn fires(&self, alert: &str, labels: &[(&str, &str)], since: Instant, within: Duration) -> Duration {
        let took = self.fired(alert, labels, since);
        let in_time = took.filter(|took| *took <= within);
        in_time.unwrap_or_else(|| {
            panic!(
                "{alert} with {labels:?} fires within {within:?}; it took {took:?} (none: never, of {:?})",
                { self.length() }
            )
        })
    }

    /// Panics if an alert of this severity fires at any time, other than those named.
    #[track_caller]
    pub fn silent(&self, severity: &str, but: &[&str]) {
        if let Err(said) = self.try_silent(severity, but) {
            panic!("no alert of severity {severity} fires, but for {but:?}; promtool says:\n{said}");
        }
    }

    /// Checks that no alert of this severity fires at any time, other than those named.
    ///
    /// # Errors
    ///
    /// What promtool says of those that do.
    pub fn try_silent(&self, severity: &str, but: &[&str]) -> Result<(), String> {
        promtool::silent(self, severity, but)
    }
}

/// The least whole number of seconds up to `most` for which `holds`, which goes on to hold.
fn first(most: Duration, holds: &mut dyn FnMut(Duration) -> bool) -> Option<Duration> {
    let (mut low, mut high) = (0, most.as_secs());
    if !holds(Duration::from_secs(high)) {
        return None;
    }
    while low < high {
        let middle = u64::midpoint(low, high);
        if holds(Duration::from_secs(middle)) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Some(Duration::from_secs(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first second is found, wherever it is, and none where there is none.
    #[test]
    fn the_first_second_is_found() {
        let from = |second| first(Duration::from_secs(9), &mut |at: Duration| at.as_secs() >= second);
        for second in 0..=9 {
            assert_eq!(from(second), Some(Duration::from_secs(second)));
        }
        assert_eq!(from(10), None);
    }
}
