//! What outlives the daemon, under `[runtime] state_dir`.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `rules` | rules made and modes switched at run time |
//! | `policy` | the last confirmed configuration, and one on probation |
//! | `host` | the acknowledged state of the host, and what differs from it |
//! | `panic` | there is one: nothing is to be attached |
//! | `audit.log` | who changed what |
//!
//! Nothing here decides what to do with it; that is the matter of the daemon.
//! `.previous` is the generation before, `.damaged` one that could not be read.

use std::{
    collections::BTreeMap,
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{config::Mode, host::Acknowledged, policy::RuntimeRules};

pub mod audit;
pub mod file;
pub mod marker;
pub mod policy;

#[cfg(test)]
mod tests;

pub use file::WriteError;
pub use marker::Panic;
pub use policy::{KeptPolicy, Probation, StoredConfig};

use self::{audit::Audit, file::StateFile};

/// The state directory unless the configuration says otherwise.
pub const DIRECTORY: &str = "/var/lib/limiter";

/// What operators changed at run time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptRules {
    /// Rules.
    pub rules: RuntimeRules,
    /// Modes, by service.
    pub modes: BTreeMap<String, Mode>,
}

/// Everything that was kept, and what of it is lost.
#[derive(Debug, Default)]
pub struct Kept {
    /// Rules and modes.
    pub rules: KeptRules,
    /// The policy of the configuration.
    pub policy: KeptPolicy,
    /// The acknowledged state of the host.
    pub host: Acknowledged,
    /// Since when nothing is to be attached.
    pub panic: Option<Panic>,
    /// What is lost, a sentence each.
    pub losses: Vec<String>,
    /// Whether rules have to be written anew.
    pub rules_damaged: bool,
    /// Whether the policy has to be written anew.
    pub policy_damaged: bool,
    /// Whether the state of the host has to be written anew.
    pub host_damaged: bool,
}

/// The state directory.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    rules: StateFile,
    policy: StateFile,
    host: StateFile,
    audit: Audit,
}

impl Store {
    /// Reads what is kept in a directory; one that is absent holds nothing.
    #[must_use]
    pub fn open(directory: &Path) -> (Self, Kept) {
        let mut store = Self {
            directory: directory.to_owned(),
            rules: StateFile::new(directory, "rules"),
            policy: StateFile::new(directory, "policy"),
            host: StateFile::new(directory, "host"),
            audit: Audit::new(directory),
        };
        let (mut losses, rules, policy) = (Vec::new(), store.rules.read(), store.policy.read());
        let host = store.host.read();
        let host_damaged = !host.damage.is_empty();
        let rules_damaged = !rules.damage.is_empty();
        let policy_damaged = !policy.damage.is_empty();
        let value = lost(rules, "the rules and modes set at run time", "the last change", &mut losses);
        let policy = lost(policy, "the last confirmed policy", "what was confirmed last", &mut losses);
        let host = lost(host, "the acknowledged state of the host", "the last `host ack`", &mut losses);
        let kept = Kept {
            rules: value,
            policy,
            host,
            host_damaged,
            panic: marker::read(directory),
            losses,
            rules_damaged,
            policy_damaged,
        };
        (store, kept)
    }

    /// Returns the directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Keeps rules and modes.
    ///
    /// # Errors
    ///
    /// When the disk does not take them; then those kept before are.
    pub fn keep_rules(&mut self, rules: &impl Serialize) -> Result<(), WriteError> {
        self.make_directory()?;
        self.rules.write(rules)
    }

    /// Keeps the policy of the configuration.
    ///
    /// # Errors
    ///
    /// When the disk does not take it; then the one kept before is.
    pub fn keep_policy(&mut self, policy: &KeptPolicy) -> Result<(), WriteError> {
        self.make_directory()?;
        self.policy.write(policy)
    }

    /// Keeps the acknowledged state of the host.
    ///
    /// # Errors
    ///
    /// When the disk does not take it; then the one kept before is.
    pub fn keep_host(&mut self, host: &Acknowledged) -> Result<(), WriteError> {
        self.make_directory()?;
        self.host.write(host)
    }

    /// Marks that nothing is to be attached.
    ///
    /// # Errors
    ///
    /// When the disk does not take the mark.
    pub fn keep_panic(&self, panic: &Panic) -> Result<(), WriteError> {
        self.make_directory()?;
        marker::write(&self.directory, panic)
    }

    /// Takes the mark away.
    ///
    /// # Errors
    ///
    /// When it stays.
    pub fn end_panic(&self) -> Result<(), WriteError> {
        marker::remove(&self.directory)
    }

    /// Adds a line to the audit log.
    ///
    /// # Errors
    ///
    /// When the disk does not take it.
    pub fn audit(&self, entry: &audit::Entry<'_>) -> io::Result<()> {
        self.make_directory().map_err(|error| error.source)?;
        self.audit.write(entry)
    }

    fn make_directory(&self) -> Result<(), WriteError> {
        make_directory(&self.directory)
    }
}

/// Makes a directory for its owner alone, if there is none.
pub(crate) fn make_directory(directory: &Path) -> Result<(), WriteError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|source| WriteError { path: directory.to_owned(), source })
}

/// Returns what was read; what was not becomes a sentence.
fn lost<T: Default>(read: file::Read<T>, what: &str, last: &str, losses: &mut Vec<String>) -> T {
    let found = read.value.is_some();
    let damage: Vec<String> =
        read.damage.iter().map(|(path, damage)| format!("{}: {damage}", path.display())).collect();
    if !damage.is_empty() {
        let damage = damage.join("; ");
        losses.push(if found {
            format!("{what} come from the generation before, and {last} may be missing ({damage}); audit.log beside it says what was changed")
        } else {
            format!("{what} are lost ({damage}); audit.log beside it says what was changed")
        });
    }
    read.value.unwrap_or_default()
}
