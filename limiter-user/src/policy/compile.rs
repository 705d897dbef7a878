//! The table of rules as the packet path reads it.
//!
//! Every prefix holds the class in every service, what it inherits
//! from wider prefixes included: one look-up of the longest prefix answers for
//! all services.

use std::{collections::BTreeMap, net::IpAddr};

use limiter_common::{
    addr::{Addr, V4_OFFSET},
    limits::{Limits, Service as ServiceFlags},
    map::ClassOf,
    names,
    policy::{CLASS_ALLOW, CLASS_DENY, CLASS_LOCAL, Policy},
};
use zerocopy::FromZeros;

use super::{CompileError, Ids, Names, Ranges, RuntimeRules, Table, lookup};
use crate::config::{Class, ClassTreatment, Config, Mode, QuotaSetting, RefuseWith, Service};

/// Everything that a policy is made of.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// What the operator wrote.
    pub config: &'a Config,
    /// What the operator added since.
    pub runtime: &'a RuntimeRules,
    /// The host's own addresses.
    pub local: &'a [IpAddr],
    /// Modes switched at run time, by service; they stand above the configuration.
    pub modes: &'a BTreeMap<String, Mode>,
    /// Services whose per-source limits are suspended.
    pub suspended: &'a [String],
    /// The time, in Unix seconds.
    pub now_s: u64,
    /// The number of the policy.
    pub revision: u32,
}

/// A policy ready for the packet path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// Everything but the prefixes; its `range_slot` is for the packet path to choose.
    pub policy: Box<Policy>,
    /// The prefixes, each once, in the order of their addresses.
    pub prefixes: Vec<CompiledPrefix>,
    /// The ranges of addresses that they make.
    pub ranges: Ranges,
    /// Names of the ids in it.
    pub names: Names,
    /// The hash of the configuration that it was made of.
    pub hash: String,
}

/// A prefix, resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompiledPrefix {
    /// The address, without host bits.
    pub addr: Addr,
    /// Its length in bits, of 128.
    pub prefix_len: u32,
    /// The class by service.
    pub class_of: ClassOf,
}

/// Compiles a policy, and gives ids to the names that have none.
///
/// # Errors
///
/// When ids, prefixes or memory do not suffice; then no id was given.
pub fn compile(inputs: &Inputs<'_>, ids: &mut Ids) -> Result<Compiled, CompileError> {
    let mut extended = ids.clone();
    extended.extend(inputs.config)?;
    let prefixes = lookup::prefixes(&Table::merge(inputs, &extended));
    if prefixes.len() > names::PREFIXES {
        return Err(CompileError::TooManyPrefixes { count: prefixes.len(), limit: names::PREFIXES });
    }
    let policy = policy(inputs, &extended)?;
    let names = extended.names();
    *ids = extended;
    let ranges = Ranges::of(&prefixes);
    Ok(Compiled { policy, prefixes, ranges, names, hash: inputs.config.hash() })
}

fn policy(inputs: &Inputs<'_>, ids: &Ids) -> Result<Box<Policy>, CompileError> {
    let config = inputs.config;
    // Some 250 KB: made on the heap, never moved over the stack.
    let mut policy = Policy::new_box_zeroed().map_err(|_| CompileError::OutOfMemory)?;
    policy.revision = inputs.revision;
    policy.ipv4_mask = Addr::mask(V4_OFFSET + u32::from(config.source.ipv4));
    policy.ipv6_mask = Addr::mask(u32::from(config.source.ipv6));
    policy.observe_after_ns = config
        .runtime
        .observe_after_daemon_loss
        .map_or(0, |after| u64::try_from(after.as_nanos()).unwrap_or(u64::MAX));
    for service in &config.services {
        let Some(id) = ids.service(&service.name) else {
            continue;
        };
        policy.services[id as usize] = flags(service, inputs);
        policy.limits[id as usize] = limits(service, &config.classes, ids);
        for port in &service.ports {
            policy.service_of_port[usize::from(*port)] = u8::try_from(id).unwrap_or_default();
        }
    }
    Ok(policy)
}

/// Returns how a service enforces.
fn flags(service: &Service, inputs: &Inputs<'_>) -> ServiceFlags {
    let mode = inputs.modes.get(&service.name).copied().unwrap_or(service.mode);
    let bits = [
        (mode == Mode::Enforce, ServiceFlags::ENFORCE),
        (service.refuse_with == RefuseWith::Reset, ServiceFlags::RESET),
        (service.count_local, ServiceFlags::COUNT_LOCAL),
        (inputs.suspended.contains(&service.name), ServiceFlags::SUSPENDED),
    ];
    ServiceFlags {
        syn_quota: service.syn_quota_per_source.quota(),
        ceiling: service.connections_total,
        flags: bits.into_iter().filter(|(set, _)| *set).fold(0, |flags, (_, bit)| flags | bit),
    }
}

/// Returns the limits of every class in a service. Ids that no class of the
/// configuration has get those of the service: no prefix leads to them.
fn limits(service: &Service, classes: &[Class], ids: &Ids) -> [Limits; names::CLASSES] {
    let quota = service.new_connections_per_source.quota();
    let mut limits = [Limits::limited(service.connections_per_source, quota); names::CLASSES];
    limits[CLASS_LOCAL as usize] = Limits::EXEMPT;
    limits[CLASS_ALLOW as usize] = Limits::EXEMPT;
    limits[CLASS_DENY as usize] = Limits::DENIED;
    for class in classes.iter().filter(|class| class.holds_for(&service.name)) {
        let Some(id) = ids.class(&class.name) else {
            continue;
        };
        limits[id as usize] = match class.treatment {
            ClassTreatment::Exempt => Limits::EXEMPT,
            ClassTreatment::Denied => Limits::DENIED,
            ClassTreatment::Limited { connections_per_source, new_connections_per_source } => {
                Limits::limited(
                    connections_per_source.unwrap_or(service.connections_per_source),
                    new_connections_per_source.map_or(quota, QuotaSetting::quota),
                )
            }
        };
    }
    limits
}
