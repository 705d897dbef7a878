//! The one table of rules, whatever their origin, and which of them wins.
//!
//! The longest prefix that holds for the service wins; at equal length exempt
//! before limited before denied. What the packet path looks up is made of it by
//! [`compile`](super::compile); [`Table::winner`] is the same law in its
//! obvious, slow form, which `limiterctl check` explains verdicts with.

use std::{
    cmp::Reverse,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use limiter_common::{
    limits::Treatment,
    policy::{CLASS_ALLOW, CLASS_DENY, CLASS_LOCAL},
};
use serde::{Deserialize, Serialize};

use super::{Ids, Inputs, Verb};
use crate::config::{Class, ClassTreatment, prefix};

/// Prefixes that are exempt without asking: loopback and link-local.
pub const BUILT_IN_PREFIXES: [IpNet; 4] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10)),
];

/// A set of services, by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSet(u32);

impl ServiceSet {
    /// Every service.
    pub const ALL: Self = Self(u32::MAX);

    /// Returns the set of these ids.
    #[must_use]
    pub fn of(ids: impl IntoIterator<Item = u32>) -> Self {
        Self(ids.into_iter().fold(0, |bits, id| bits | 1 << (id & 31)))
    }

    /// Returns the set as bits by id.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Returns whether a service is in the set.
    #[must_use]
    pub const fn contains(self, id: u32) -> bool {
        self.0 >> (id & 31) & 1 == 1
    }
}

/// Where a rule comes from; at equal prefix and treatment the earlier variant wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Loopback, link-local and the host's own addresses.
    BuiltIn,
    /// A class of the configuration.
    Config,
    /// A rule added while the daemon runs.
    Runtime,
}

/// A prefix, and what becomes of its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whom it is about; never v4-mapped, without host bits.
    pub prefix: IpNet,
    /// The services it holds for.
    pub services: ServiceSet,
    /// The class id that its connections get.
    pub class: u32,
    /// How that class is treated.
    pub treatment: Treatment,
    /// Where it comes from.
    pub origin: Origin,
}

impl Rule {
    /// Returns its place among rules of the same prefix; the lowest wins.
    pub(crate) fn rank(&self) -> (u8, Origin, u32) {
        let treatment = match self.treatment {
            Treatment::Exempt => 0,
            Treatment::Limited => 1,
            Treatment::Denied => 2,
        };
        (treatment, self.origin, self.class)
    }
}

/// All rules in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    rules: Vec<Rule>,
}

impl Table {
    /// Joins the rules of every origin; `ids` must know the names of the configuration.
    ///
    /// Runtime rules that have ended, or whose service the configuration lacks, are left out.
    #[must_use]
    pub fn merge(inputs: &Inputs<'_>, ids: &Ids) -> Self {
        let own = inputs.local.iter().map(|address| prefix::canonical(IpNet::from(*address)));
        let mut rules: Vec<Rule> = BUILT_IN_PREFIXES
            .into_iter()
            .chain(own)
            .map(|prefix| Rule {
                prefix,
                services: ServiceSet::ALL,
                class: CLASS_LOCAL,
                treatment: Treatment::Exempt,
                origin: Origin::BuiltIn,
            })
            .collect();
        for class in &inputs.config.classes {
            rules.extend(class_rules(class, ids));
        }
        let in_force = inputs.runtime.iter().filter(|rule| !rule.is_expired(inputs.now_s));
        rules.extend(in_force.filter_map(|rule| {
            let services = match &rule.service {
                None => ServiceSet::ALL,
                Some(name) if inputs.config.services.iter().any(|service| service.name == *name) => {
                    ServiceSet::of(ids.service(name))
                }
                Some(_) => return None,
            };
            let (class, treatment) = match rule.verb {
                Verb::Allow => (CLASS_ALLOW, Treatment::Exempt),
                Verb::Deny => (CLASS_DENY, Treatment::Denied),
            };
            Some(Rule { prefix: rule.prefix, services, class, treatment, origin: Origin::Runtime })
        }));
        Self { rules }
    }

    /// Returns a table of these rules.
    #[must_use]
    pub fn of(rules: Vec<Rule>) -> Self {
        Self { rules }
    }

    /// Returns the rules, in no order that matters.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Returns the rule that decides on an address in a service; none: class `default`.
    #[must_use]
    pub fn winner(&self, address: IpAddr, service: u32) -> Option<&Rule> {
        let address = address.to_canonical();
        self.rules
            .iter()
            .filter(|rule| rule.services.contains(service) && rule.prefix.contains(&address))
            .min_by_key(|rule| (Reverse(rule.prefix.prefix_len()), rule.rank()))
    }
}

/// Returns the rules of a class, none if its id is unknown.
fn class_rules<'a>(class: &'a Class, ids: &Ids) -> impl Iterator<Item = Rule> + use<'a> {
    let services = match &class.services {
        None => ServiceSet::ALL,
        Some(names) => ServiceSet::of(names.iter().filter_map(|name| ids.service(name))),
    };
    let treatment = match class.treatment {
        ClassTreatment::Exempt => Treatment::Exempt,
        ClassTreatment::Denied => Treatment::Denied,
        ClassTreatment::Limited { .. } => Treatment::Limited,
    };
    let prefixes = ids.class(&class.name).map(|id| {
        class.prefixes.iter().map(move |entry| Rule {
            prefix: entry.prefix,
            services,
            class: id,
            treatment,
            origin: Origin::Config,
        })
    });
    prefixes.into_iter().flatten()
}
