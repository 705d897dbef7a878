//! Rules: made, listed and taken back.

use serde::{Deserialize, Serialize};

use crate::policy::{Origin, Verb};

/// Asks for a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleRequest {
    /// What it does.
    pub verb: Verb,
    /// Whom it is for: a prefix, or an address.
    pub prefix: String,
    /// The service it holds for; all without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// How long it holds, such as `2h`; for ever without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// Why it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Names the rules to remove.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleQuery {
    /// Their prefix.
    pub prefix: String,
    /// Their service; every one without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

/// One line of the table of rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleView {
    /// Whom it is for.
    pub prefix: String,
    /// What happens to them: `exempt`, `denied` or `limited`.
    pub treatment: String,
    /// The class it puts them in.
    pub class: String,
    /// The services it holds for; all when empty.
    pub services: Vec<String>,
    /// Where it comes from.
    pub origin: Origin,
    /// Why it was made; empty when nobody said.
    pub note: String,
    /// Who made it, for a rule made at run time.
    pub who: String,
    /// When it was made, in seconds since 1970, for a rule made at run time.
    pub created_at_s: Option<u64>,
    /// In how many seconds it ends, if it does.
    pub expires_in_s: Option<u64>,
    /// What used it since limiterd started, for an exemption made at run time that is no longer than the
    /// prefix of a source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<RuleUse>,
}

/// What used a rule since limiterd started, by the sources that it decided on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleUse {
    /// Connections that were let in.
    pub accepted: u64,
    /// When the last of them was seen, in seconds since 1970.
    pub last_at_s: Option<u64>,
}

/// Asks for a rule for each prefix of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportRequest {
    /// What they do.
    pub verb: Verb,
    /// The name of the list, to name places in it.
    pub name: String,
    /// The list: a prefix a line, comments behind `#`.
    pub text: String,
    /// The service they hold for; all without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// How long they hold, such as `2h`; for ever without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// Why they are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Whether rules of the same verb, service and note that the list does not have make way.
    #[serde(default)]
    pub replace: bool,
}

/// What an import led to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportChange {
    /// Rules that were not there before.
    pub added: usize,
    /// Rules in whose place new ones are.
    pub replaced: usize,
    /// Rules that made way.
    pub removed: usize,
    /// The revision that has them.
    pub revision: u32,
    /// Why they will be gone when limiterd is started again, if the state directory did not take them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_saved: Option<String>,
}

/// Every rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleList {
    /// The rules, by prefix.
    pub rules: Vec<RuleView>,
}

/// What a [`RuleRequest`] led to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleChange {
    /// The rule in force.
    pub rule: RuleView,
    /// Whether a rule for the same prefix and service made way.
    pub replaced: bool,
    /// The revision that has it.
    pub revision: u32,
    /// Why it will be gone when limiterd is started again, if the state directory did not take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_saved: Option<String>,
}

/// What was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRemoval {
    /// The rules that are gone.
    pub removed: Vec<RuleView>,
    /// The revision without them.
    pub revision: u32,
    /// Why it will be gone when limiterd is started again, if the state directory did not take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_saved: Option<String>,
}
