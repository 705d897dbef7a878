//! Services: names, ports, limits.

use std::collections::HashMap;

use super::{
    model::{Mode, QuotaSetting, RefuseWith, Service},
    problem::{Problems, Span},
    raw::{RawConfig, RawService},
    read::At,
    resolve::MODES,
    value,
};
use crate::policy::ids::SERVICES_MAX;

/// Resolves the services; `mode` is that of services that name none.
pub(super) fn services(raw: &RawConfig, mode: Mode, problems: &mut Problems) -> Vec<Service> {
    if raw.services.is_empty() {
        let help = "add one, such as [[service]] with `name = \"smtp\"` and `ports = [25]`";
        raw.head.absent("no service is configured: nothing would be guarded", help, problems);
    }
    if let Some(extra) = raw.services.get(SERVICES_MAX) {
        let message = format!("{} services are too many", raw.services.len());
        let help = format!("there can be {SERVICES_MAX}; a service can have several ports");
        problems.add(extra.head.span.clone(), message, help);
    }
    let mut names = HashMap::new();
    let mut ports = HashMap::new();
    raw.services.iter().map(|raw| service(raw, mode, &mut names, &mut ports, problems)).collect()
}

fn service<'a>(
    raw: &'a RawService,
    mode: Mode,
    names: &mut HashMap<&'a str, Span>,
    taken: &mut HashMap<i64, (&'a str, Span)>,
    problems: &mut Problems,
) -> Service {
    let name = value::name("service", raw.name.as_ref(), &raw.head, problems);
    unique("service", raw.name.as_ref(), names, problems);
    let mut limit = |key, at| value::limit(key, at, problems).unwrap_or_default();
    let connections_per_source = limit("connections_per_source", raw.connections_per_source.as_ref());
    let connections_total = limit("connections_total", raw.connections_total.as_ref());
    let mut quota = |key, at| value::quota(key, at, problems).unwrap_or(QuotaSetting::NONE);
    let new_connections = quota("new_connections_per_source", raw.new_connections_per_source.as_ref());
    let syn_quota = quota("syn_quota_per_source", raw.syn_quota_per_source.as_ref());
    let refusals = [("reset", RefuseWith::Reset), ("drop", RefuseWith::Drop)];
    Service {
        name: name.unwrap_or_default(),
        ports: ports(raw, taken, problems),
        mode: value::choice("mode", raw.mode.as_ref(), &MODES, problems).unwrap_or(mode),
        connections_per_source,
        new_connections_per_source: new_connections,
        connections_total,
        syn_quota_per_source: syn_quota,
        count_local: raw.count_local.as_ref().is_some_and(|at| at.value),
        refuse_with: value::choice("refuse_with", raw.refuse_with.as_ref(), &refusals, problems)
            .unwrap_or(RefuseWith::Reset),
    }
}

/// Notes a name that was given before.
pub(super) fn unique<'a>(
    kind: &str,
    name: Option<&'a At<String>>,
    names: &mut HashMap<&'a str, Span>,
    problems: &mut Problems,
) {
    let Some(At { value: name, span, .. }) = name else {
        return;
    };
    if let Some(first) = names.get(name.as_str()) {
        let message = format!("two {kind} tables are named `{name}`");
        problems.add_related(
            span.clone(),
            message,
            "give each a name of its own",
            (first.clone(), "the first is here"),
        );
    } else {
        names.insert(name, span.clone());
    }
}

fn ports<'a>(
    raw: &'a RawService,
    taken: &mut HashMap<i64, (&'a str, Span)>,
    problems: &mut Problems,
) -> Vec<u16> {
    let name = raw.name.as_ref().map_or("", |name| name.value.as_str());
    let Some(list) = &raw.ports else {
        raw.head.absent(format!("service `{name}` has no ports"), "add `ports = [25]` or the like", problems);
        return Vec::new();
    };
    if list.value.is_empty() {
        let message = format!("service `{name}` has no ports");
        raw.head.absent_at(&list.span, message, "list at least one port", problems);
    }
    let mut ports = Vec::with_capacity(list.value.len());
    for At { value: number, span, .. } in &list.value {
        let Some(port) = u16::try_from(*number).ok().filter(|port| *port != 0) else {
            problems.add(span.clone(), format!("{number} is no port"), "expected 1 to 65535");
            continue;
        };
        if let Some((owner, first)) = taken.get(number) {
            let message = if *owner == name {
                format!("port {port} is listed twice in service `{name}`")
            } else {
                format!("port {port} belongs to both service `{owner}` and service `{name}`")
            };
            let help = "a port belongs to one service: remove it from the other";
            problems.add_related(span.clone(), message, help, (first.clone(), "listed first here"));
            continue;
        }
        taken.insert(*number, (name, span.clone()));
        ports.push(port);
    }
    ports
}
