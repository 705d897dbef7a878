//! The numbers of services and classes.
//!
//! Pinned maps know services and classes by number: counters, charges of open
//! connections. A name keeps its number as long as the pins live, over reloads
//! and restarts, even while the configuration lacks it.

use std::collections::HashSet;

use limiter_common::{names, policy::CLASS_FIRST};
use serde::{Deserialize, Serialize};

use super::error::CompileError;
use crate::config::Config;

/// The class names that come before those of a configuration, by id.
pub const BUILT_IN_CLASSES: [&str; CLASS_FIRST as usize] = ["default", "local", "allow", "deny"];
/// The name of service id 0, which is no service.
pub const NO_SERVICE: &str = "none";

/// Services that a configuration may have.
pub const SERVICES_MAX: usize = names::SERVICES - 1;
/// Classes that a configuration may have.
pub const CLASSES_MAX: usize = names::CLASSES - BUILT_IN_CLASSES.len();

/// Service and class names in the order in which they got their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Ids {
    /// The service with id n is at n - 1.
    services: Vec<String>,
    /// The class with id n is at n - [`CLASS_FIRST`].
    classes: Vec<String>,
}

impl Ids {
    /// Returns the ids that give these names.
    #[must_use]
    pub fn of(names: &Names) -> Self {
        let own = |names: &[String], built_in: usize| names.iter().skip(built_in).cloned().collect();
        Self { services: own(&names.services, 1), classes: own(&names.classes, BUILT_IN_CLASSES.len()) }
    }

    /// Gives an id to every name of a configuration that has none.
    ///
    /// # Errors
    ///
    /// When no id is left; then nothing is changed.
    pub fn extend(&mut self, config: &Config) -> Result<(), CompileError> {
        let services: Vec<&str> = config.services.iter().map(|service| service.name.as_str()).collect();
        let classes: Vec<&str> = config.classes.iter().map(|class| class.name.as_str()).collect();
        let extended = Self {
            services: extended("service", &self.services, &services, SERVICES_MAX)?,
            classes: extended("class", &self.classes, &classes, CLASSES_MAX)?,
        };
        *self = extended;
        Ok(())
    }

    /// Returns the id of a service.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<u32> {
        position(&self.services, name).map(|at| at + 1)
    }

    /// Returns the id of a class of the configuration.
    #[must_use]
    pub fn class(&self, name: &str) -> Option<u32> {
        position(&self.classes, name).map(|at| at + CLASS_FIRST)
    }

    /// Returns the names by id.
    #[must_use]
    pub fn names(&self) -> Names {
        let services = std::iter::once(NO_SERVICE).chain(self.services.iter().map(String::as_str));
        let classes = BUILT_IN_CLASSES.into_iter().chain(self.classes.iter().map(String::as_str));
        Names {
            services: services.map(str::to_owned).collect(),
            classes: classes.map(str::to_owned).collect(),
        }
    }
}

/// Names by id, built-in ones and those that only old counters know included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// Service names; id 0 is `none`.
    pub services: Vec<String>,
    /// Class names.
    pub classes: Vec<String>,
}

impl Names {
    /// Returns the name of a service, or `unknown`.
    #[must_use]
    pub fn service(&self, id: u32) -> &str {
        name(&self.services, id)
    }

    /// Returns the name of a class, or `unknown`.
    #[must_use]
    pub fn class(&self, id: u32) -> &str {
        name(&self.classes, id)
    }
}

fn name(names: &[String], id: u32) -> &str {
    usize::try_from(id).ok().and_then(|id| names.get(id)).map_or("unknown", String::as_str)
}

fn position(names: &[String], name: &str) -> Option<u32> {
    names.iter().position(|known| known == name).and_then(|at| u32::try_from(at).ok())
}

/// Returns the known names followed by those wanted that are not among them.
fn extended(
    kind: &'static str,
    known: &[String],
    wanted: &[&str],
    limit: usize,
) -> Result<Vec<String>, CompileError> {
    let mut names = known.to_vec();
    for name in wanted {
        if names.iter().any(|known| known == name) {
            continue;
        }
        if names.len() >= limit {
            let removed: Vec<&str> =
                known.iter().map(String::as_str).filter(|known| !wanted.contains(known)).collect();
            return Err(CompileError::IdsExhausted {
                kind,
                name: (*name).to_owned(),
                limit,
                removed: removed.len(),
                names: removed.join(", "),
            });
        }
        names.push((*name).to_owned());
    }
    Ok(names)
}

/// Ids as they were stored, which may be damaged.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    services: Vec<String>,
    classes: Vec<String>,
}

/// Why stored ids cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("stored ids are damaged: {0}")]
struct Damaged(&'static str);

impl TryFrom<Stored> for Ids {
    type Error = Damaged;

    fn try_from(stored: Stored) -> Result<Self, Damaged> {
        if stored.services.len() > SERVICES_MAX || stored.classes.len() > CLASSES_MAX {
            return Err(Damaged("more names than ids"));
        }
        for names in [&stored.services, &stored.classes] {
            if names.iter().collect::<HashSet<_>>().len() != names.len() {
                return Err(Damaged("a name appears twice"));
            }
        }
        Ok(Self { services: stored.services, classes: stored.classes })
    }
}
