//! What of the host changed since somebody acknowledged it.

use serde::{Deserialize, Serialize};

pub use crate::host::Change as HostChange;

/// The host as it was acknowledged, and what is different now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostView {
    /// When it was acknowledged, in seconds since 1970; 0 before the first look.
    pub acknowledged_at_s: u64,
    /// By whom.
    pub acknowledged_by: String,
    /// What they had to say.
    pub note: String,
    /// What is different.
    pub changes: Vec<HostChange>,
    /// What cannot be looked at, a sentence each.
    pub blind: Vec<String>,
}

/// Asks to take what is different for what is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostAckRequest {
    /// Why, for whoever reads the audit log later.
    #[serde(default)]
    pub note: String,
}

/// What was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostAck {
    /// What was different.
    pub acknowledged: Vec<HostChange>,
    /// Why it will be forgotten when limiterd is started again, if the state directory did not take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_saved: Option<String>,
}
