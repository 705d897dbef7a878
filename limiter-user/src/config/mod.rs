//! What an operator writes, and what is wrong with it.
//!
//! Two stages: [`raw`] is what was typed, with the place of every value;
//! `resolve` turns it into [`Config`], what is meant. Both go on after a
//! mistake, so that one look at the errors shows all of them.
//!
//! | module | what it owns |
//! | --- | --- |
//! | `file` | the file itself, bounded |
//! | `syntax` | what helps whoever wrote something that is no TOML |
//! | `schema` | which keys there are, and what each takes |
//! | `read` | typed values out of TOML |
//! | `raw` | the file as it was typed |
//! | `resolve`, `breaker`, `witness`, `recorder`, `service`, `class` | the file as it is meant |
//! | `owner` | which class a prefix belongs to |
//! | `head` | what is absent from a table |
//! | `problem` | mistakes while they are being collected |
//! | `value` | names, numbers, durations, paths |
//! | [`model`] | the result |
//! | [`prefix`] | prefixes as people write them |
//! | [`preset`] | address ranges of known balancers, dated |
//! | [`diff`] | what one configuration changes about another |
//! | [`error`] | mistakes, with place and remedy |

use std::{io, path::Path};

use sha2::{Digest, Sha256};

pub mod diff;
pub mod error;
pub mod model;
pub mod prefix;
pub mod preset;

mod breaker;
mod class;
mod file;
mod head;
mod owner;
mod problem;
mod raw;
mod read;
mod recorder;
mod resolve;
mod schema;
mod service;
mod syntax;
mod value;
mod witness;

#[cfg(test)]
mod broken;
#[cfg(test)]
mod shipped;
#[cfg(test)]
mod tests;

pub use error::{ConfigError, ConfigErrors, Place};
pub use resolve::PIN_DIR;

pub use model::{
    Attach, BreakerSettings, Cgroup, Class, ClassPrefix, ClassTreatment, Config, ConfigFile, ControlGroup,
    ControlRead, Interfaces, Mode, Period, QuotaSetting, RecorderSettings, RefuseWith, Runtime, Service,
    SourceLengths, Upstream, WitnessSettings,
};
pub use preset::Preset;
pub use value::duration;

/// Bytes of a hash that are shown. A choice: enough to tell the policies of one host apart.
const HASH_BYTES: usize = 6;

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, or that it cannot be read.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        Self::parse(&file::read(path)?, path)
    }

    /// Checks a text; `name` is what errors call it.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn parse(text: &str, name: impl AsRef<Path>) -> Result<Self, ConfigErrors> {
        let name = name.as_ref();
        let mut problems = problem::Problems::default();
        let raw = raw::RawConfig::read(text, &mut problems);
        let config = resolve::config(&raw, ConfigFile::new(name, text), &mut problems);
        problems.finish(name, text).map(|()| config)
    }

    /// Returns a short hash of what the configuration means: comments, layout and
    /// the order of services, classes and prefixes have no part in it.
    #[must_use]
    pub fn hash(&self) -> String {
        let mut sorted = self.clone();
        sorted.services.sort_by(|a, b| a.name.cmp(&b.name));
        sorted.classes.sort_by(|a, b| a.name.cmp(&b.name));
        for service in &mut sorted.services {
            service.ports.sort_unstable();
        }
        for class in &mut sorted.classes {
            class.prefixes.sort_unstable_by_key(|entry| entry.prefix);
            if let Some(services) = &mut class.services {
                services.sort_unstable();
            }
        }
        let mut hasher = Sha256::new();
        // Paths that are no UTF-8 do not serialise; a configuration is text, so it has none.
        if serde_json::to_writer(Hashing(&mut hasher), &sorted).is_err() {
            hasher.update(self.file.text.as_bytes());
        }
        let shown =
            hasher.finalize().iter().take(HASH_BYTES).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        format!("{shown:012x}")
    }

    /// Returns the presets in use, each once.
    #[must_use]
    pub fn presets(&self) -> Vec<&'static Preset> {
        let used = |preset: &&Preset| {
            let mut prefixes = self.classes.iter().flat_map(|class| &class.prefixes);
            prefixes.any(|entry| entry.preset == Some(preset.name))
        };
        preset::ALL.iter().filter(used).collect()
    }

    /// Returns what is allowed but likely to hurt, a sentence each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let exempts = |service: &Service| {
            self.classes
                .iter()
                .any(|class| class.treatment == ClassTreatment::Exempt && class.holds_for(&service.name))
        };
        let exposed = self
            .services
            .iter()
            .filter(|service| service.mode == Mode::Enforce && !exempts(service))
            .map(|service| {
                format!(
                    "service `{}` enforces and no class is exempt from its limits: a load balancer or health \
                     check in front of it will be refused like everybody else; add a [[class]] with \
                     `exempt = true`",
                    service.name
                )
            });
        exposed.collect()
    }
}

/// Feeds what is written to a hash.
struct Hashing<'a>(&'a mut Sha256);

impl io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
