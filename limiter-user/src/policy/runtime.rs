//! Rules that an operator adds while the daemon runs.
//!
//! Where they are kept on disk is the matter of [`state`](crate::state). Times are Unix seconds:
//! expiry holds across a restart.

use std::{collections::BTreeMap, fmt};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::config::prefix;

/// What a rule added at run time does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Exempts the prefix from every limit.
    Allow,
    /// Refuses every connection of the prefix.
    Deny,
}

impl Verb {
    /// Returns the command that makes such a rule.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A rule added at run time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeRule {
    /// Whom it is about.
    pub prefix: IpNet,
    /// What it does.
    pub verb: Verb,
    /// The service it holds for; all of them if absent.
    #[serde(default)]
    pub service: Option<String>,
    /// When it was added.
    pub created_at_s: u64,
    /// When it ends; never if absent.
    #[serde(default)]
    pub expires_at_s: Option<u64>,
    /// Why, in the words of who added it.
    #[serde(default)]
    pub note: String,
    /// Who added it.
    #[serde(default)]
    pub who: String,
}

impl RuntimeRule {
    /// Returns whether it has ended.
    #[must_use]
    pub fn is_expired(&self, now_s: u64) -> bool {
        self.expires_at_s.is_some_and(|at_s| at_s <= now_s)
    }
}

/// All rules added at run time, at most one per prefix and service.
///
/// The last word on a prefix counts: a `deny` replaces an `allow` of the same
/// prefix and service, and the other way round.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<RuntimeRule>", into = "Vec<RuntimeRule>")]
pub struct RuntimeRules {
    rules: BTreeMap<(IpNet, Option<String>), RuntimeRule>,
}

impl RuntimeRules {
    /// Adds a rule and returns the one it replaces; host bits are cut off.
    pub fn insert(&mut self, mut rule: RuntimeRule) -> Option<RuntimeRule> {
        rule.prefix = prefix::canonical(rule.prefix);
        self.rules.insert((rule.prefix, rule.service.clone()), rule)
    }

    /// Removes the rules of exactly this prefix: the one for a service, or all of them.
    pub fn remove(&mut self, prefix: IpNet, service: Option<&str>) -> Vec<RuntimeRule> {
        let prefix = prefix::canonical(prefix);
        self.take(|rule| {
            rule.prefix == prefix && service.is_none_or(|name| rule.service.as_deref() == Some(name))
        })
    }

    /// Removes the rules that `wanted` says.
    pub fn remove_where(&mut self, wanted: impl Fn(&RuntimeRule) -> bool) -> Vec<RuntimeRule> {
        self.take(wanted)
    }

    /// Removes the rules that have ended.
    pub fn expire(&mut self, now_s: u64) -> Vec<RuntimeRule> {
        self.take(|rule| rule.is_expired(now_s))
    }

    /// Returns when the next rule ends.
    #[must_use]
    pub fn next_expiry_s(&self) -> Option<u64> {
        self.rules.values().filter_map(|rule| rule.expires_at_s).min()
    }

    /// Returns the rule of exactly this prefix and service.
    #[must_use]
    pub fn get(&self, prefix: IpNet, service: Option<&str>) -> Option<&RuntimeRule> {
        self.rules.get(&(prefix::canonical(prefix), service.map(str::to_owned)))
    }

    /// Returns the rules, by prefix.
    pub fn iter(&self) -> impl Iterator<Item = &RuntimeRule> {
        self.rules.values()
    }

    /// Returns how many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Returns whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    fn take(&mut self, wanted: impl Fn(&RuntimeRule) -> bool) -> Vec<RuntimeRule> {
        self.rules.extract_if(.., |_, rule| wanted(rule)).map(|(_, rule)| rule).collect()
    }
}

impl From<Vec<RuntimeRule>> for RuntimeRules {
    fn from(rules: Vec<RuntimeRule>) -> Self {
        let mut all = Self::default();
        for rule in rules {
            all.insert(rule);
        }
        all
    }
}

impl From<RuntimeRules> for Vec<RuntimeRule> {
    fn from(rules: RuntimeRules) -> Self {
        rules.rules.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(prefix: &str, verb: Verb, service: Option<&str>, expires_at_s: Option<u64>) -> RuntimeRule {
        RuntimeRule {
            prefix: prefix.parse().unwrap(),
            verb,
            service: service.map(str::to_owned),
            created_at_s: 0,
            expires_at_s,
            note: String::new(),
            who: String::new(),
        }
    }

    /// The last word on a prefix replaces the one before, however the prefix is written.
    #[test]
    fn the_last_word_on_a_prefix_counts() {
        let mut rules = RuntimeRules::default();
        assert_eq!(rules.insert(rule("192.0.2.0/24", Verb::Allow, None, None)), None);
        let replaced = rules.insert(rule("::ffff:192.0.2.7/120", Verb::Deny, None, None));
        assert_eq!(replaced.map(|rule| rule.verb), Some(Verb::Allow));
        assert_eq!(rules.len(), 1);
        assert_eq!(rules.iter().next().unwrap().prefix.to_string(), "192.0.2.0/24");
    }

    /// Rules end at their time and not a second before.
    #[test]
    fn rules_end_at_their_time() {
        let mut rules = RuntimeRules::default();
        rules.insert(rule("192.0.2.0/24", Verb::Allow, None, Some(100)));
        rules.insert(rule("198.51.100.0/24", Verb::Allow, None, None));
        assert_eq!(rules.next_expiry_s(), Some(100));
        assert!(rules.expire(99).is_empty());
        assert_eq!(rules.expire(100).len(), 1);
        assert_eq!(rules.next_expiry_s(), None);
    }

    /// `remove PREFIX` takes every rule of that prefix, `--service` only one.
    #[test]
    fn remove_takes_one_service_or_all() {
        let mut rules = RuntimeRules::default();
        for service in [None, Some("smtp"), Some("imap")] {
            rules.insert(rule("192.0.2.0/24", Verb::Allow, service, None));
        }
        let prefix = "192.0.2.0/24".parse().unwrap();
        assert_eq!(rules.remove(prefix, Some("smtp")).len(), 1);
        assert_eq!(rules.remove(prefix, None).len(), 2);
        assert!(rules.is_empty());
    }

    /// Rules come back from storage as they were.
    #[test]
    fn rules_survive_storage() {
        let mut rules = RuntimeRules::default();
        rules.insert(rule("2001:db8::/32", Verb::Deny, Some("smtp"), Some(7)));
        let stored = serde_json::to_string(&rules).unwrap();
        assert_eq!(serde_json::from_str::<RuntimeRules>(&stored).unwrap(), rules);
    }
}
