//! The state of the host that somebody acknowledged, and what differs from it.
//!
//! A fact that only one side has is no change: modules bring settings with
//! them, and interfaces come and go, which is said elsewhere. It is taken into
//! the acknowledged state when it is first seen, and watched from then on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Now;

/// A kind of fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// The release of the kernel.
    Kernel,
    /// A setting of the network stack.
    Sysctl,
    /// The rules of the firewall.
    Ruleset,
    /// How an interface is guarded.
    Attach,
}

impl What {
    /// Returns its word, as metrics have it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Sysctl => "sysctl",
            Self::Ruleset => "ruleset",
            Self::Attach => "attach",
        }
    }
}

/// What is so on a host, by kind and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts(BTreeMap<What, BTreeMap<String, String>>);

impl Facts {
    /// Takes note of a fact.
    pub fn note(&mut self, what: What, name: &str, value: String) {
        self.0.entry(what).or_default().insert(name.to_owned(), value);
    }

    fn get(&self, what: What, name: &str) -> Option<&String> {
        self.0.get(&what)?.get(name)
    }

    fn iter(&self) -> impl Iterator<Item = (What, &String, &String)> {
        self.0.iter().flat_map(|(what, facts)| facts.iter().map(|(name, value)| (*what, name, value)))
    }
}

/// A fact that is not as it was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its kind.
    pub what: What,
    /// Its name.
    pub name: String,
    /// The acknowledged value.
    pub was: String,
    /// The value now.
    pub is: String,
    /// When that was first seen, in seconds since 1970.
    pub seen_at_s: u64,
}

impl Change {
    /// Says what changed.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Self { what, name, was, is, .. } = self;
        format!("{} {name} was {was}, is {is}", what.label())
    }
}

/// The acknowledged state and what differs from it, as it is on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    facts: Facts,
    /// When somebody acknowledged it, in seconds since 1970; 0 before the first look.
    pub at_s: u64,
    /// Who did.
    pub who: String,
    /// What they had to say.
    pub note: String,
    /// What is different.
    pub changes: Vec<Change>,
}

impl Acknowledged {
    /// Compares it with what was seen; returns whether anything is to be kept.
    ///
    /// The first look of all is the acknowledged state.
    pub fn compare(&mut self, seen: &Facts, now: Now) -> bool {
        if self.at_s == 0 {
            self.at_s = now.unix_s();
            "first start".clone_into(&mut self.who);
        }
        let mut is_new = false;
        for (what, name, value) in seen.iter() {
            if self.facts.get(what, name).is_none() {
                self.facts.note(what, name, value.clone());
                is_new = true;
            }
        }
        let known = |what, name: &str, is: &str| {
            let same = |change: &&Change| change.what == what && change.name == name && change.is == is;
            self.changes.iter().find(same).map(|change| change.seen_at_s)
        };
        let changes: Vec<Change> = self
            .facts
            .iter()
            .filter_map(|(what, name, was)| {
                // What cannot be read at the moment is as it was last seen.
                let last = || self.changes.iter().find(|change| change.what == what && change.name == *name);
                let is = seen.get(what, name).or_else(|| last().map(|change| &change.is))?;
                let change = |seen_at_s| Change {
                    what,
                    name: name.clone(),
                    was: was.clone(),
                    is: is.clone(),
                    seen_at_s,
                };
                (is != was).then(|| change(known(what, name, is).unwrap_or(now.unix_s())))
            })
            .collect();
        let is_different = changes != self.changes;
        self.changes = changes;
        is_new || is_different
    }

    /// Takes what is different for what is meant; returns it.
    pub fn acknowledge(&mut self, who: &str, note: &str, now: Now) -> Vec<Change> {
        let changes = std::mem::take(&mut self.changes);
        for change in &changes {
            self.facts.note(change.what, &change.name, change.is.clone());
        }
        self.at_s = now.unix_s();
        who.clone_into(&mut self.who);
        note.clone_into(&mut self.note);
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now { monotonic_ns: 1_000_000_000_000, unix_ms: 1_700_000_000_000 };

    fn facts(pairs: &[(What, &str, &str)]) -> Facts {
        let mut facts = Facts::default();
        for (what, name, value) in pairs {
            facts.note(*what, name, (*value).to_owned());
        }
        facts
    }

    fn seen(state: &Acknowledged) -> Vec<(&str, &str, &str, u64)> {
        let changes = state.changes.iter();
        changes.map(|c| (c.name.as_str(), c.was.as_str(), c.is.as_str(), c.seen_at_s)).collect()
    }

    /// The first look is the acknowledged state; what differs later stands until it is back or acknowledged.
    #[test]
    fn a_change_stands_until_it_is_back_or_acknowledged() {
        let before = facts(&[(What::Kernel, "release", "6.1"), (What::Sysctl, "net.x", "0")]);
        let after = facts(&[(What::Kernel, "release", "6.12"), (What::Sysctl, "net.x", "1")]);
        let mut state = Acknowledged::default();
        assert!(state.compare(&before, NOW) && state.changes.is_empty());
        assert!(!state.compare(&before, NOW), "nothing to keep");
        assert!(state.compare(&after, NOW.plus_s(60)));
        let at = NOW.plus_s(60).unix_s();
        assert_eq!(seen(&state), [("release", "6.1", "6.12", at), ("net.x", "0", "1", at)]);
        // Kept, and read by the next daemon: when it was first seen stays.
        let kept = serde_json::to_string(&state).unwrap();
        let mut state: Acknowledged = serde_json::from_str(&kept).unwrap();
        assert!(!state.compare(&after, NOW.plus_s(120)));
        assert_eq!(seen(&state).len(), 2);
        let half = facts(&[(What::Kernel, "release", "6.12"), (What::Sysctl, "net.x", "0")]);
        assert!(state.compare(&half, NOW.plus_s(180)));
        assert_eq!(seen(&state), [("release", "6.1", "6.12", at)]);
        assert_eq!(state.acknowledge("uid 0", "upgrade", NOW.plus_s(200)).len(), 1);
        assert!(!state.compare(&half, NOW.plus_s(240)) && state.changes.is_empty());
    }

    /// What one side lacks is no change, and is watched from when it is first seen.
    #[test]
    fn what_appears_or_cannot_be_read_is_no_change() {
        let mut state = Acknowledged::default();
        state.compare(&facts(&[(What::Ruleset, "nftables", "a")]), NOW);
        assert!(state.compare(&facts(&[(What::Sysctl, "net.new", "1")]), NOW), "it is taken in");
        assert!(state.changes.is_empty());
        assert!(state.compare(&facts(&[(What::Sysctl, "net.new", "2")]), NOW));
        assert_eq!(seen(&state).len(), 1);
        assert!(state.compare(&facts(&[(What::Ruleset, "nftables", "b")]), NOW));
        assert_eq!(seen(&state).len(), 2, "what is not seen at the moment is as it was last seen");
    }
}
