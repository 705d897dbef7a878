//! The host that limiter runs on: its facts, and what of it changed since
//! somebody last acknowledged it.
//!
//! | module | what it owns |
//! | --- | --- |
//! | [`facts`] | facts that the daemon shows or acts upon |
//! | [`sysctl`] | settings of the network stack, without those that move by themselves |
//! | [`ruleset`] | what nftables holds, as one hash |
//! | [`changes`] | the acknowledged state, and what differs from it |
//!
//! Looking takes system calls by the hundred: it is done off the daemon's
//! thread, and the daemon is told what was seen.

pub mod changes;
pub mod facts;
pub mod ruleset;
pub mod sysctl;

pub use changes::{Acknowledged, Change, Facts, What};
pub use facts::{Host, local_addresses, server_fast_open};

/// What a look at the host has seen, beside what the daemon knows itself.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// What was read.
    pub facts: Facts,
    /// What could not be read, a sentence each.
    pub blind: Vec<String>,
}

impl Look {
    /// Looks at the host from the network namespace of the caller; `guarded` names the interfaces whose own settings
    /// matter.
    #[must_use]
    pub fn at_host(guarded: &[String]) -> Self {
        let mut look = Self::default();
        look.facts.note(What::Kernel, "release", Host::read().kernel);
        match sysctl::read(guarded) {
            Ok(values) => {
                for (name, value) in values {
                    look.facts.note(What::Sysctl, &name, value);
                }
            }
            Err(error) => look.blind.push(format!("the sysctls of the network cannot be read: {error}")),
        }
        match ruleset::read() {
            Ok(ruleset) => look.facts.note(What::Ruleset, "nftables", ruleset.to_string()),
            Err(error) => look.blind.push(format!("the ruleset of nftables cannot be read: {error}")),
        }
        if let Some(tables) = ruleset::legacy() {
            look.blind.push(format!(
                "iptables-legacy holds rules in {tables}, which are not watched; iptables-nft is"
            ));
        }
        look
    }
}
