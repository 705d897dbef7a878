//! The policy of the configuration as it is kept: texts, since presets and
//! defaults are the matter of the version that reads them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::config::Config;

/// A configuration as it was in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredConfig {
    /// Where it was read from.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// The hash of what it means, as `status` shows it.
    pub hash: String,
    /// When it came into force, in seconds since 1970.
    pub at_s: u64,
    /// Who put it in force.
    pub who: String,
}

impl StoredConfig {
    /// Returns a configuration as it is kept.
    #[must_use]
    pub fn of(config: &Config, at_s: u64, who: &str) -> Self {
        Self {
            path: config.file.path.clone(),
            text: config.file.text.to_string(),
            hash: config.hash(),
            at_s,
            who: who.to_owned(),
        }
    }
}

/// A configuration that is in force until somebody confirms it or its time is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probation {
    /// The configuration.
    pub config: StoredConfig,
    /// When the one before it returns, in seconds since 1970: clocks that begin anew at a boot cannot say.
    pub until_s: u64,
    /// How long it was given.
    pub given_s: u64,
}

impl Probation {
    /// Returns how many seconds are left; never more than were given, whatever the calendar says.
    #[must_use]
    pub fn left_s(&self, now_s: u64) -> u64 {
        self.until_s.saturating_sub(now_s).min(self.given_s)
    }
}

/// A text that the configured file may have, and that must not come into force by a start or a reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unwanted {
    /// The SHA-256 of the text.
    pub sha256: String,
    /// Why not, as the rest of a sentence that begins with the file.
    pub why: String,
}

/// What is kept of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptPolicy {
    /// What returns when nothing better is there.
    pub confirmed: Option<StoredConfig>,
    /// What is tried.
    #[serde(default)]
    pub probation: Option<Probation>,
    /// What the file must not bring back.
    #[serde(default)]
    pub unwanted: Vec<Unwanted>,
}

impl KeptPolicy {
    /// Marks a text as one that must not come back by the file alone.
    pub fn reject(&mut self, text: &str, why: String) {
        self.accept(text);
        self.unwanted.push(Unwanted { sha256: sha256(text), why });
    }

    /// Takes the mark off a text.
    pub fn accept(&mut self, text: &str) {
        let sha256 = sha256(text);
        self.unwanted.retain(|unwanted| unwanted.sha256 != sha256);
    }

    /// Returns why a text must not come into force by the file alone, if so.
    #[must_use]
    pub fn objection(&self, text: &str) -> Option<&str> {
        let sha256 = sha256(text);
        self.unwanted.iter().find(|unwanted| unwanted.sha256 == sha256).map(|unwanted| unwanted.why.as_str())
    }
}

fn sha256(text: &str) -> String {
    super::file::hex(&Sha256::digest(text.as_bytes()))
}
