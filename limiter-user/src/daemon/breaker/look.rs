//! The look at what is refused, every two seconds, and what follows from it.
//!
//! Votes are counted where the breaker is disabled, too: a metric shows them.
//! Counters say whether anybody was refused at all, which costs next to nothing.
//! Only then are sources read, and no more often than a twentieth of the time
//! allows: with a million of them a read takes a good part of a second.

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use limiter_common::{event::SourceRecord, names, verdict::Verdict};

use crate::{
    clock::Now,
    config::{BreakerSettings, Mode},
    control::protocol::BreakerState,
    daemon::Daemon,
    recorder::EventKind,
};

use super::{
    Change, State, Why,
    evidence::{self, Span, Tally, Trip, Votes},
};

/// Seconds between two looks: less than the three probes, two seconds apart, after which a balancer gives a host up.
const LOOK_EVERY_S: u64 = 2;
/// How many times as long as a read of all sources took nothing is read after it.
const REST_FACTOR: u64 = 20;

/// The breakers of all services, and what the last look saw.
#[derive(Debug, Default)]
pub struct Breakers {
    states: BTreeMap<String, State>,
    tally: Option<Tally>,
    /// The votes that were last counted, by service, and when.
    votes: HashMap<u32, (u64, Votes)>,
    /// When a source of a critical class was last over a limit, by service, and which class that was.
    critical: HashMap<u32, (u64, u32)>,
    /// Services in which somebody was refused since sources were last read.
    refused: [bool; names::SERVICES],
    next_look_s: u64,
    rested_at_ns: u64,
    /// The revision that these breakers know of.
    revision: u32,
}

/// A service under guard.
struct Guarded {
    name: String,
    id: u32,
}

impl Breakers {
    /// Returns what the breaker of a service is up to.
    #[must_use]
    pub fn state(&self, service: &str) -> &State {
        self.states.get(service).unwrap_or(&State::Closed)
    }

    /// Returns the same for the control socket.
    #[must_use]
    pub fn shown(&self, service: &str) -> BreakerState {
        match self.state(service) {
            State::Closed => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::Trial { .. } => BreakerState::Trial,
        }
    }

    /// Returns the votes of a service that were counted within the last window: none while nobody is refused.
    #[must_use]
    pub fn votes(&self, service: u32, settings: &BreakerSettings, now: Now) -> Votes {
        let recent = self
            .votes
            .get(&service)
            .filter(|(at_s, _)| now.monotonic_s().saturating_sub(*at_s) < settings.window.as_secs());
        recent.map(|(_, votes)| votes.clone()).unwrap_or_default()
    }

    fn suspended(&self) -> Vec<String> {
        self.states.iter().filter(|(_, state)| state.is_open()).map(|(name, _)| name.clone()).collect()
    }
}

impl Daemon {
    /// Looks whether limits have become the outage, and suspends those that have.
    pub(in crate::daemon) fn guard(&mut self, now: Now) {
        if now.monotonic_s() < self.breakers.next_look_s {
            return;
        }
        self.breakers.next_look_s = now.monotonic_s() + LOOK_EVERY_S;
        let settings = self.intent.config.breaker;
        let guarded = self.guarded();
        let is_guarded = |name: &String| guarded.iter().any(|service| service.name == *name);
        self.breakers.states.retain(|name, _| settings.enabled && is_guarded(name));
        if self.breakers.revision != self.revision() {
            self.breakers.revision = self.revision();
            self.breakers.states.values_mut().for_each(|state| state.hurry(&settings, now.monotonic_s()));
        }
        if !guarded.is_empty() && self.tally(now) {
            self.move_on(&guarded, &settings, now);
        }
        self.suspend(now);
    }

    /// Returns the services whose limits a breaker may suspend: what only observes has nothing to suspend.
    fn guarded(&self) -> Vec<Guarded> {
        let services = self.intent.config.services.iter();
        let enforcing = services.filter(|service| self.intent.mode(service) == Mode::Enforce);
        enforcing
            .filter_map(|service| {
                Some(Guarded { id: self.ids.service(&service.name)?, name: service.name.clone() })
            })
            .collect()
    }

    /// Reads the counters and notes what has grown; `false` if they cannot be read.
    fn tally(&mut self, now: Now) -> bool {
        let ids = |names: &[String]| u32::try_from(names.len()).unwrap_or(u32::MAX);
        let names = &self.compiled.names;
        let rows = self.dataplane.counters(ids(&names.services), ids(&names.classes));
        let Some(rows) = self.faults.note("counters for the circuit breaker", rows) else {
            return false;
        };
        let mut tally = Tally::default();
        for row in rows {
            let (mut refused, mut would_refuse) = (0, 0);
            for (cell, count) in row.counters.cells.iter().enumerate().filter(|(_, count)| **count > 0) {
                match Verdict::of_cell(cell) {
                    Some((_, verdict)) if !verdict.is_over_own_limit() => {}
                    Some((_, Verdict::Refuse(_))) => refused += count,
                    Some((_, Verdict::WouldRefuse(_))) => would_refuse += count,
                    Some((_, Verdict::Pass(_))) | None => {}
                }
            }
            tally.add(row.service, row.class, refused, would_refuse);
        }
        match &self.breakers.tally {
            // Counters outlive a daemon: what they hold at its start may be old, sources tell.
            None => self.breakers.refused = [true; names::SERVICES],
            Some(before) => {
                let refused = tally.refused_since(before);
                self.breakers.refused.iter_mut().zip(refused).for_each(|(all, some)| *all |= some);
                for (service, class) in tally.over_since(before) {
                    if self.is_critical(class) {
                        self.breakers.critical.insert(service, (now.monotonic_s(), class));
                    }
                }
            }
        }
        self.breakers.tally = Some(tally);
        true
    }

    fn is_critical(&self, class: u32) -> bool {
        let name = self.compiled.names.class(class);
        self.intent.config.classes.iter().any(|class| class.critical && class.name == name)
    }

    /// Moves every breaker on that has reason to.
    fn move_on(&mut self, guarded: &[Guarded], settings: &BreakerSettings, now: Now) {
        let now_s = now.monotonic_s();
        let refused = self.breakers.refused;
        let wanting = guarded.iter().filter(|service| {
            let refused = refused.get(service.id as usize).is_some_and(|refused| *refused);
            self.breakers.state(&service.name).wants_evidence(refused, now_s)
        });
        let spans: BTreeMap<u32, Span> = wanting
            .map(|service| (service.id, self.breakers.state(&service.name).span(settings, now_s)))
            .collect();
        let mut trips = HashMap::new();
        if !spans.is_empty() {
            if now.monotonic_ns < self.breakers.rested_at_ns {
                return;
            }
            let started = Instant::now();
            let sources = self.dataplane.sources();
            let Some(sources) = self.faults.note("sources for the circuit breaker", sources) else {
                return;
            };
            let votes = evidence::count(&sources, &spans, &self.compiled);
            trips = self.trips(&sources, &spans, &votes, settings);
            let counted = votes.into_iter().map(|(service, votes)| (service, (now_s, votes)));
            self.breakers.votes.extend(counted);
            self.breakers.refused = [false; names::SERVICES];
            let took_ns = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.breakers.rested_at_ns = now.monotonic_ns.saturating_add(took_ns.saturating_mul(REST_FACTOR));
        }
        for service in guarded.iter().filter(|_| settings.enabled) {
            let state = self.breakers.states.entry(service.name.clone()).or_default();
            if let Some(change) = state.step(trips.remove(&service.id), settings, now_s) {
                let text = report(&service.name, state, change, now_s);
                self.events.note(EventKind::Breaker, Some(&service.name), text);
            }
        }
    }

    /// Returns what opens a breaker, by service, with some of the sources.
    fn trips(
        &self,
        sources: &[SourceRecord],
        spans: &BTreeMap<u32, Span>,
        votes: &BTreeMap<u32, Votes>,
        settings: &BreakerSettings,
    ) -> HashMap<u32, (Trip, Vec<String>)> {
        let ranges = &self.compiled.ranges;
        let named = |keys: &[_]| keys.iter().map(|key| self.source_name(*key)).collect();
        let trip = |(&service, span): (&u32, &Span)| {
            let critical = self.breakers.critical.get(&service).filter(|(at_s, _)| *at_s > span.over_from_s);
            if let Some(&(_, class)) = critical {
                let keys = evidence::of_class(sources, (service, class), span.over_from_s, ranges);
                let class = self.compiled.names.class(class).to_owned();
                return Some((service, (Trip::Critical { class }, named(&keys))));
            }
            let votes = votes.get(&service)?;
            Some((service, (votes.trip(settings)?, named(&votes.named))))
        };
        spans.iter().filter_map(trip).collect()
    }

    /// Puts in force what the breakers say.
    fn suspend(&mut self, now: Now) {
        let suspended = self.breakers.suspended();
        if suspended == self.intent.suspended {
            return;
        }
        let changed = self.change(now, |intent| intent.suspended = suspended);
        if self.faults.note("circuit breaker", changed).is_some() {
            // Its own change is no reason to hurry.
            self.breakers.revision = self.revision();
        }
    }
}

/// Logs what changed, and returns it in words; whoever reads only that must know what happens and what helps.
fn report(service: &str, state: &State, change: Change, now_s: u64) -> String {
    match (change, state) {
        (Change::Opened, State::Open { why, retry_at_s }) => {
            let (helps, retry_in_s) = (why.remedy(service), retry_at_s.saturating_sub(now_s));
            tracing::error!(
                service,
                why = why.sentence(),
                helps,
                retry_in_s,
                "circuit breaker open: limits of single sources only observe"
            );
            format!("opened: limits of single sources only observe, since {}", why.sentence())
        }
        (Change::StayedOpen, State::Open { why, retry_at_s }) => {
            let retry_in_s = retry_at_s.saturating_sub(now_s);
            tracing::error!(
                service,
                why = why.sentence(),
                retry_in_s,
                "circuit breaker stays open: most would be refused again"
            );
            format!("stays open: {}", why.sentence())
        }
        (Change::Tried, _) => {
            tracing::warn!(service, "circuit breaker on trial: limits are enforced again");
            "on trial: limits are enforced again".to_owned()
        }
        _ => {
            tracing::warn!(service, "circuit breaker closed: limits are enforced");
            "closed: limits are enforced".to_owned()
        }
    }
}

impl Why {
    /// Returns what was seen, as a clause.
    #[must_use]
    pub fn sentence(&self) -> String {
        let sources = self.sources.join(", ");
        match &self.trip {
            Trip::Most { over, seen } => {
                let more = if *over as usize > self.sources.len() { ", ..." } else { "" };
                format!("{over} of {seen} sources were over limits of their own ({sources}{more})")
            }
            Trip::Critical { class } if sources.is_empty() => {
                format!("a source of the critical class `{class}` was over a limit of its own")
            }
            Trip::Critical { class } => {
                format!("{sources} of the critical class `{class}` was over a limit of its own")
            }
        }
    }

    /// Returns the commands that help.
    #[must_use]
    pub fn remedy(&self, service: &str) -> String {
        let exempt = match self.sources.first() {
            Some(source) => format!(
                "if they are a balancer: `limiterctl allow {source} --service {service}`, and so for the others; "
            ),
            None => String::new(),
        };
        format!(
            "{exempt}`limiterctl top --service {service} --by refused` shows all of them; else raise the limits and \
             `limiterctl reload`, or `limiterctl mode observe --service {service}`"
        )
    }
}
