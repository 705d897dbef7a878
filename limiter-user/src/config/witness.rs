//! The witness: what it watches beside the guarded ports, and when a server counts as silent.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    time::Duration,
};

use limiter_common::witness::{Tag, UPSTREAM_ADDRESSES};

use super::{
    model::{Upstream, WitnessSettings},
    problem::{Problems, Span},
    raw::{RawConfig, RawUpstream, RawWitness},
    read::At,
    resolve::within,
    service::unique,
    value,
};

/// What `silent_after` may be: from longer than a round trip to where clients have given up.
const SILENT_AFTER: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_mins(10);

/// Resolves `[witness]`.
pub(super) fn witness(raw: &RawWitness, problems: &mut Problems) -> WitnessSettings {
    let default = WitnessSettings::default();
    let silent_after = raw.silent_after.as_ref();
    let silent_after =
        silent_after.and_then(|at| within("silent_after", at, SILENT_AFTER, "1s to 10m", problems));
    let ports = raw.outbound_ports.as_ref().map(|list| ports(&list.value, problems));
    WitnessSettings {
        enabled: raw.enabled.as_ref().map_or(default.enabled, |at| at.value),
        silent_after: silent_after.unwrap_or(default.silent_after),
        outbound_ports: ports.unwrap_or(default.outbound_ports),
    }
}

fn ports(list: &[At<i64>], problems: &mut Problems) -> Vec<u16> {
    let mut ports = Vec::with_capacity(list.len());
    for At { value: number, span, .. } in list {
        match u16::try_from(*number) {
            Ok(port) if port != 0 => ports.push(port),
            _ => problems.add(span.clone(), format!("{number} is no port"), "expected 1 to 65535"),
        }
    }
    ports
}

/// Resolves the upstreams.
pub(super) fn upstreams(raw: &RawConfig, problems: &mut Problems) -> Vec<Upstream> {
    if let Some(extra) = raw.upstreams.get(Tag::UPSTREAMS) {
        let message = format!("{} upstreams are too many", raw.upstreams.len());
        let help = format!("there can be {}; an upstream can have several addresses", Tag::UPSTREAMS);
        problems.add(extra.head.span.clone(), message, help);
    }
    let (mut names, mut taken) = (HashMap::new(), HashMap::new());
    raw.upstreams.iter().map(|raw| upstream(raw, &mut names, &mut taken, problems)).collect()
}

fn upstream<'a>(
    raw: &'a RawUpstream,
    names: &mut HashMap<&'a str, Span>,
    taken: &mut HashMap<SocketAddr, Span>,
    problems: &mut Problems,
) -> Upstream {
    let name = value::name("upstream", raw.name.as_ref(), &raw.head, problems).unwrap_or_default();
    unique("upstream", raw.name.as_ref(), names, problems);
    let listed = raw.addresses.as_ref().map_or(&[][..], |list| &list.value);
    if listed.is_empty() {
        let help = "add `addresses = [\"192.0.2.5:389\"]` or the like";
        raw.head.absent(format!("upstream `{name}` has no addresses"), help, problems);
    }
    let mut addresses = Vec::with_capacity(listed.len());
    for at in listed {
        let Some(address) = address(at, problems) else {
            continue;
        };
        if let Some(first) = taken.get(&address) {
            let message = format!("{address} is an upstream already");
            let help = "list each address once";
            problems.add_related(at.span.clone(), message, help, (first.clone(), "listed first here"));
        } else if taken.len() == UPSTREAM_ADDRESSES {
            let message = format!("more than {UPSTREAM_ADDRESSES} addresses of upstreams");
            problems.add(at.span.clone(), message, "list those that mail cannot do without");
        } else {
            taken.insert(address, at.span.clone());
            addresses.push(address);
        }
    }
    Upstream { name, addresses }
}

fn address(At { value, span, .. }: &At<String>, problems: &mut Problems) -> Option<SocketAddr> {
    let help = "expected an address and port such as \"192.0.2.5:389\" or \"[2001:db8::5]:389\"; names are not \
                looked up";
    match value.parse::<SocketAddr>() {
        Ok(address) if address.port() != 0 => {
            Some(SocketAddr::new(IpAddr::to_canonical(&address.ip()), address.port()))
        }
        _ => {
            problems.add(span.clone(), format!("`{value}` is no address and port"), help);
            None
        }
    }
}
