//! What the flight recorder is asked, and what it answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::recorder::minute::SourceRow;

/// Asks for a window of the recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryQuery {
    /// From when, in milliseconds since 1970.
    pub from_ms: u64,
    /// Until when, in milliseconds since 1970.
    pub until_ms: u64,
    /// Of which service; of all without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The moment that [`History::state`] is of; the end of the window without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<u64>,
    /// Whether sources are wanted, too: adding up those of weeks takes seconds.
    #[serde(default)]
    pub sources: bool,
}

/// A window of the recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Its beginning, in milliseconds since 1970.
    pub from_ms: u64,
    /// Its end.
    pub until_ms: u64,
    /// Milliseconds between two points of a line.
    pub step_ms: u64,
    /// Records within the window; 0 says that nothing was recorded.
    pub records: u64,
    /// When the oldest record of all was made; none if there is none.
    pub oldest_ms: Option<u64>,
    /// What happened, oldest first.
    pub events: Vec<HistoryEvent>,
    /// Events before those that are shown.
    pub events_left_out: u64,
    /// The services, by name.
    pub services: Vec<HistoryService>,
    /// What was in force; none if nothing was recorded by then.
    pub state: Option<HistoryState>,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEvent {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The same for people, in UTC.
    pub at: String,
    /// What kind: a word of [`EventKind`](crate::recorder::EventKind).
    pub kind: String,
    /// To which service; none for all.
    pub service: Option<String>,
    /// What happened.
    pub text: String,
}

/// What is recorded of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryService {
    /// Its name.
    pub service: String,
    /// Rates and levels over the window.
    pub lines: Vec<HistoryLine>,
    /// The sources with most refused, then most new, then most open connections; at most ten, and none unless asked for.
    pub sources: Vec<HistorySource>,
}

/// One rate or level over the window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryLine {
    /// What it is, such as `accepted`, `open` or `refused: connections_per_source`.
    pub what: String,
    /// `per_second` for what is counted, `level` for what is a state.
    pub unit: String,
    /// What was counted within the window, or the last level.
    pub total: f64,
    /// The highest point.
    pub max: f64,
    /// One point a step, none where nothing was recorded.
    pub points: Vec<Option<f64>>,
}

/// What a source did within the window, as far as it was among the first of its minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistorySource {
    /// The source.
    pub source: String,
    /// The most connections it had open at the end of a minute.
    pub open_max: u32,
    /// Connections that were accepted.
    pub new: u32,
    /// Connections that were refused, or would have been.
    pub refused: u32,
}

impl From<&SourceRow> for HistorySource {
    fn from(row: &SourceRow) -> Self {
        Self { source: row.source.clone(), open_max: row.open, new: row.new, refused: row.refused }
    }
}

/// What was in force at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryState {
    /// The record that says so, in milliseconds since 1970.
    pub at_ms: u64,
    /// The revision of the policy.
    pub revision: Option<u32>,
    /// The hash of the configuration.
    pub hash: Option<String>,
    /// The version of limiterd.
    pub version: Option<String>,
    /// The mode of each service.
    pub modes: BTreeMap<String, String>,
    /// Services whose circuit breaker was open or on trial.
    pub suspended: Vec<String>,
    /// Whether everything was detached in a panic.
    pub is_panic: bool,
    /// How interfaces were guarded.
    pub attachments: BTreeMap<String, String>,
}
