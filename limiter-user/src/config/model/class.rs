//! Classes as they are meant.

use ipnet::IpNet;
use serde::Serialize;

use super::QuotaSetting;

/// A named set of prefixes that is treated in a way of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Class {
    /// Its name, which is its label in metrics.
    pub name: String,
    /// Its prefixes, presets spelled out.
    pub prefixes: Vec<ClassPrefix>,
    /// The names of the services it holds for; all of them if absent.
    pub services: Option<Vec<String>>,
    /// How it is treated.
    pub treatment: ClassTreatment,
    /// Whether a refusal of one of its sources opens the circuit breaker.
    pub critical: bool,
}

impl Class {
    /// Returns whether it holds for a service.
    #[must_use]
    pub fn holds_for(&self, service: &str) -> bool {
        self.services.as_ref().is_none_or(|services| services.iter().any(|name| name == service))
    }
}

/// A prefix of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ClassPrefix {
    /// The prefix, without host bits; never v4-mapped.
    pub prefix: IpNet,
    /// The preset it comes from.
    pub preset: Option<&'static str>,
}

/// How a class is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassTreatment {
    /// Never refused, still counted.
    Exempt,
    /// Always refused.
    Denied,
    /// Limited; what is absent is inherited from the service, 0 stands for no limit.
    Limited {
        /// Connections of one source open at once.
        connections_per_source: Option<u32>,
        /// New connections of one source per time.
        new_connections_per_source: Option<QuotaSetting>,
    },
}
