//! Suggestions: asked for, and given.

use serde::{Deserialize, Serialize};

/// Asks for limits and exemptions, as observed traffic has them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuggestQuery {
    /// Only of this service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The share of sources that the limits must not touch, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantile: Option<f64>,
    /// What to multiply with what was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headroom: Option<f64>,
    /// How far to look back, such as `2h`; to the hour, a day at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// Limits and exemptions that observed traffic suggests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Suggestion {
    /// How long was observed.
    pub observed_s: u64,
    /// Every service that was asked for.
    pub services: Vec<SuggestedService>,
    /// Sources that look like probes and are not exempt.
    pub probes: Vec<SuggestedProbe>,
    /// What an operator should know before pasting anything.
    pub remarks: Vec<String>,
    /// All of it as configuration, with the evidence as comments.
    pub toml: String,
}

/// What was seen of a service, and what it suggests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SuggestedService {
    /// Its name.
    pub name: String,
    /// Sources that were followed, without exempt ones and probes.
    pub sources: usize,
    /// The quantile of each source's peak of open connections.
    pub open: u32,
    /// The peak of the source with most.
    pub open_max: u32,
    /// The quantile of each source's peak of new connections in a minute.
    pub per_minute: u32,
    /// The peak of the source with most.
    pub per_minute_max: u32,
    /// The most connections of all sources together.
    pub total: u32,
    /// The suggested limit.
    pub connections_per_source: u32,
    /// The suggested quota.
    pub new_per_minute: u32,
    /// How many of it at once.
    pub burst: u32,
}

/// A source that looks like a probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SuggestedProbe {
    /// Its prefix.
    pub prefix: String,
    /// The service it was seen at.
    pub service: String,
    /// Seconds between its connections.
    pub interval_s: f64,
    /// Its connections that ended.
    pub ended: u64,
    /// The share of them in which it sent nothing.
    pub silent: f64,
    /// The share of them that did not last.
    pub brief: f64,
    /// How even the intervals are: variance over mean of connections per window; 1 is chance, 0 is a clock.
    pub dispersion: f64,
    /// Windows that this rests on.
    pub windows: usize,
}
