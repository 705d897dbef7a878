//! Changes of the policy as a whole.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Mode;

/// Asks for another mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModeRequest {
    /// The mode.
    pub mode: Mode,
    /// The service; every one without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

/// What a change of the policy led to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyChange {
    /// The revision in force.
    pub revision: u32,
    /// What changed, in sentences.
    pub changes: Vec<String>,
    /// Why it will be gone when limiterd is started again, if the state directory did not take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_saved: Option<String>,
    /// In how many seconds the policy before returns unless this one is confirmed; final without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_within_s: Option<u64>,
}

/// Asks for a configuration on probation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// The file it is from, to name places in it.
    pub path: String,
    /// Its text.
    pub text: String,
    /// How long it may be in force unconfirmed, such as `60s`.
    pub confirm: String,
}

/// Asks what a configuration would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiffRequest {
    /// The file it is from, to name places in it.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// What a configuration would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffAnswer {
    /// At once, a sentence each.
    pub changes: Vec<String>,
    /// When limiterd is started again, a sentence each.
    pub at_restart: Vec<String>,
    /// What is allowed but likely to hurt.
    pub warnings: Vec<String>,
}

/// Asks to detach everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PanicRequest {
    /// Why, for whoever reads `status` later.
    #[serde(default)]
    pub note: String,
    /// When it was sent, in milliseconds since 1970: a daemon that hung for longer than
    /// [`PANIC_ANSWER_TIME`] was passed by, and must not do later what was done without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_ms: Option<u64>,
}

/// Asks to attach everything again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResumeRequest {
    /// When it was sent, as above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_ms: Option<u64>,
}

/// How long a daemon may take to answer to a panic or its end before it is passed by.
pub const PANIC_ANSWER_TIME: Duration = Duration::from_secs(3);

/// What a panic, or its end, led to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PanicState {
    /// Whether there is a panic by now.
    pub is_panic: bool,
    /// Why it will be forgotten when limiterd is started again, if the state directory did not take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_saved: Option<String>,
    /// What was done, in sentences.
    pub done: Vec<String>,
}
