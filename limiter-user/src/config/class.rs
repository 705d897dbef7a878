//! Classes: whose connections are treated in a way of their own, and in which.

use std::collections::HashMap;

use limiter_common::names::PREFIXES;

use super::{
    model::{Class, ClassPrefix, ClassTreatment, Service},
    owner::Owners,
    prefix::{self, PrefixError},
    preset::{self, Preset},
    problem::{Problems, Span},
    raw::{RawClass, RawConfig},
    read::At,
    schema::listed,
    service::unique,
    value,
};
use crate::policy::ids::CLASSES_MAX;

/// Resolves the classes.
pub(super) fn classes(raw: &RawConfig, services: &[Service], problems: &mut Problems) -> Vec<Class> {
    if let Some(extra) = raw.classes.get(CLASSES_MAX) {
        let message = format!("{} classes are too many", raw.classes.len());
        let help = format!("there can be {CLASSES_MAX}; a class can have any number of prefixes");
        problems.add(extra.head.span.clone(), message, help);
    }
    refuse_too_many_prefixes(raw, problems);
    let mut names = HashMap::new();
    let mut owners = Owners::default();
    raw.classes
        .iter()
        .map(|raw| {
            let name = value::name("class", raw.name.as_ref(), &raw.head, problems);
            unique("class", raw.name.as_ref(), &mut names, problems);
            let treatment = treatment(raw, problems);
            let critical = raw.critical.as_ref().filter(|at| at.value);
            if let Some(at) = critical.filter(|_| treatment == ClassTreatment::Denied) {
                let message = format!("class `{}` is denied and critical", raw.called());
                problems.add(
                    at.key.clone(),
                    message,
                    "a denied class is refused on purpose: remove `critical`",
                );
            }
            Class {
                name: name.unwrap_or_default(),
                prefixes: prefixes(raw, &mut owners, problems),
                services: class_services(raw, services, problems),
                treatment,
                critical: critical.is_some(),
            }
        })
        .collect()
}

/// Notes the first prefix that no policy has room for, wherever it is listed.
fn refuse_too_many_prefixes(raw: &RawConfig, problems: &mut Problems) {
    let listed =
        || raw.classes.iter().filter_map(|class| class.prefixes.as_ref()).flat_map(|list| &list.value);
    if let Some(extra) = listed().nth(PREFIXES) {
        let message = format!("{} prefixes are too many", listed().count());
        let help = format!("there can be {PREFIXES}: join neighbours into wider ones");
        problems.add(extra.span.clone(), message, help);
    }
}

fn treatment(raw: &RawClass, problems: &mut Problems) -> ClassTreatment {
    let connections = value::limit("connections_per_source", raw.connections_per_source.as_ref(), problems);
    let quota = value::quota("new_connections_per_source", raw.new_connections_per_source.as_ref(), problems);
    let limit_keys = [
        raw.connections_per_source.as_ref().map(|at| &at.key),
        raw.new_connections_per_source.as_ref().map(|at| &at.key),
    ];
    let exempt = raw.exempt.as_ref().filter(|at| at.value);
    let deny = raw.deny.as_ref().filter(|at| at.value);
    let name = raw.called();
    if let (Some(_), Some(deny)) = (exempt, deny) {
        let message = format!("class `{name}` is exempt and denied");
        problems.add(deny.key.clone(), message, "keep either `exempt = true` or `deny = true`");
    }
    let (treatment, word) = match (exempt, deny) {
        (Some(_), _) => (ClassTreatment::Exempt, "exempt"),
        (None, Some(_)) => (ClassTreatment::Denied, "denied"),
        (None, None) => {
            if limit_keys.iter().all(Option::is_none) {
                let message = format!("class `{name}` is neither exempt nor denied nor limited");
                let help = "add `exempt = true`, `deny = true`, `connections_per_source` or \
                            `new_connections_per_source`";
                raw.head.absent(message, help, problems);
            }
            return ClassTreatment::Limited {
                connections_per_source: connections,
                new_connections_per_source: quota,
            };
        }
    };
    for key in limit_keys.into_iter().flatten() {
        let message = format!("class `{name}` is {word} and has a limit");
        problems.add(
            key.clone(),
            message,
            format!("remove the limit: no limit applies to a class that is {word}"),
        );
    }
    treatment
}

fn class_services(raw: &RawClass, services: &[Service], problems: &mut Problems) -> Option<Vec<String>> {
    let list = raw.services.as_ref()?;
    if list.value.is_empty() {
        let message = format!("class `{}` holds for no service", raw.called());
        let help = "name services, or remove `services` to mean all of them";
        raw.head.absent_at(&list.span, message, help, problems);
    }
    let mut seen: HashMap<&str, Span> = HashMap::new();
    for At { value: name, span, .. } in &list.value {
        let names = || services.iter().map(|service| service.name.as_str()).filter(|name| !name.is_empty());
        if !names().any(|known| known == name) {
            problems.add(
                span.clone(),
                format!("unknown service `{name}`"),
                value::help_with_words(name, names),
            );
        } else if let Some(first) = seen.insert(name, span.clone()) {
            let message = format!("service `{name}` is listed twice");
            problems.add_related(
                span.clone(),
                message,
                "remove one of the two",
                (first, "listed first here"),
            );
        }
    }
    Some(list.value.iter().map(|at| at.value.clone()).collect())
}

fn prefixes<'a>(raw: &'a RawClass, owners: &mut Owners<'a>, problems: &mut Problems) -> Vec<ClassPrefix> {
    let list = match &raw.prefixes {
        Some(list) if !list.value.is_empty() => list,
        other => {
            let span = other.as_ref().map_or(&raw.head.span, |list| &list.span);
            let message = format!("class `{}` has no prefixes", raw.called());
            raw.head.absent_at(span, message, "list some, such as `prefixes = [\"192.0.2.0/24\"]`", problems);
            return Vec::new();
        }
    };
    let mut prefixes = Vec::with_capacity(list.value.len());
    for at in &list.value {
        // A preset listed twice is one mistake, not one for each of its prefixes.
        let entries = spelled_out(at, problems);
        prefixes.extend(
            entries.into_iter().take_while(|entry| owners.claim(raw, entry.prefix, &at.span, problems)),
        );
    }
    prefixes
}

/// Returns the prefixes that one element of a list stands for.
fn spelled_out(at: &At<String>, problems: &mut Problems) -> Vec<ClassPrefix> {
    if let Some(name) = at.value.strip_prefix(preset::MARK) {
        let Some(preset) = Preset::named(name) else {
            let names = || preset::ALL.iter().map(|preset| preset.name);
            problems.add(
                at.span.clone(),
                format!("unknown preset `{name}`"),
                value::help_with_words(name, names),
            );
            return Vec::new();
        };
        return preset
            .prefixes
            .iter()
            .map(|prefix| ClassPrefix { prefix: *prefix, preset: Some(preset.name) })
            .collect();
    }
    let error = match prefix::parse(&at.value) {
        Ok(prefix) => return vec![ClassPrefix { prefix, preset: None }],
        Err(error) => error,
    };
    let help = match &error {
        PrefixError::HostBits { meant, .. } => format!("write \"{meant}\""),
        PrefixError::Length { limit, .. } => format!("expected a length of 0 to {limit}"),
        PrefixError::Malformed(text) if Preset::named(text).is_some() => {
            format!("did you mean \"preset:{text}\"?")
        }
        PrefixError::Malformed(_) => {
            let presets = listed(preset::ALL.iter().map(|preset| preset.name));
            format!(
                "write an address, such as 192.0.2.7, a prefix, such as 2001:db8::/32, or preset:NAME with one of {presets}"
            )
        }
    };
    problems.add(at.span.clone(), error.to_string(), help);
    Vec::new()
}
