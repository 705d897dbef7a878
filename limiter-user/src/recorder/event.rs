//! What happened, and how the daemon notes it.

use std::{path::Path, time::Duration};

use serde::{Deserialize, Serialize};

use super::thread::{Figures, Recorder};
use crate::clock::Now;

/// Events that wait for a recorder at most: those of a start.
const WAITING_MAX: usize = 256;
/// Characters of an event's text that are kept.
const TEXT_MAX: usize = 2_000;
/// How long the end of the daemon waits for what is not on disk yet.
const LAST_WRITE: Duration = Duration::from_secs(2);

/// What kind of an event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// The daemon started.
    Start,
    /// The daemon stopped in order.
    Stop,
    /// A policy came into force, or did not; an apply, a confirm, a return.
    Policy,
    /// A mode was switched.
    Mode,
    /// A rule was added or removed, or ended.
    Rule,
    /// A circuit breaker opened, was tried or closed.
    Breaker,
    /// An exempt address would be refused, or passes again.
    Canary,
    /// An interface was attached to, or ceased to be.
    Attach,
    /// Everything was detached, or attached again.
    Panic,
    /// A count had drifted.
    Drift,
    /// A step fails, or works again.
    Fault,
    /// The conntrack watcher lost events, or is in step again.
    Conntrack,
    /// The host changed.
    Host,
}

impl EventKind {
    /// Returns its word, as it is recorded.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Policy => "policy",
            Self::Mode => "mode",
            Self::Rule => "rule",
            Self::Breaker => "breaker",
            Self::Canary => "canary",
            Self::Attach => "attach",
            Self::Panic => "panic",
            Self::Drift => "drift",
            Self::Fault => "fault",
            Self::Conntrack => "conntrack",
            Self::Host => "host",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What kind it is.
    pub kind: EventKind,
    /// To which service, if to one.
    pub service: Option<String>,
    /// What happened, in words.
    pub text: String,
}

/// What the daemon notes events with.
///
/// Without a recorder, as in a daemon of unit tests, the first ones are kept and nothing else happens.
#[derive(Debug, Default)]
pub struct Events {
    recorder: Option<Recorder>,
    waiting: Vec<Event>,
}

impl Events {
    /// Notes that something happened, at this moment; never waits.
    pub fn note(&mut self, kind: EventKind, service: Option<&str>, text: impl Into<String>) {
        let mut text = text.into();
        if let Some((end, _)) = text.char_indices().nth(TEXT_MAX) {
            text.truncate(end);
        }
        let event = Event { at_ms: Now::read().unix_ms, kind, service: service.map(str::to_owned), text };
        match &self.recorder {
            Some(recorder) => recorder.event(event),
            None if self.waiting.len() < WAITING_MAX => self.waiting.push(event),
            None => {}
        }
    }

    /// Gives events a recorder, and those that waited for one to it.
    pub fn record_with(&mut self, recorder: Recorder) {
        self.waiting.drain(..).for_each(|event| recorder.event(event));
        self.recorder = Some(recorder);
    }

    /// Returns the recorder, if there is one.
    #[must_use]
    pub fn recorder(&mut self) -> Option<&mut Recorder> {
        self.recorder.as_mut()
    }

    /// Returns where the recorder writes, if there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.recorder.as_ref().map(Recorder::path)
    }

    /// Returns what metrics show of the recorder.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.recorder.as_ref().map(Recorder::figures).unwrap_or_default()
    }

    /// Returns the events that no recorder has taken.
    #[must_use]
    pub fn waiting(&self) -> &[Event] {
        &self.waiting
    }

    /// Ends the recorder, after what it has in hand is written or took too long.
    pub fn finish(&mut self) {
        if let Some(recorder) = self.recorder.take() {
            recorder.finish(LAST_WRITE);
        }
    }
}
