//! Changes of the policy as a whole.

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
}
