//! What one configuration changes about another, in words.
//!
//! Settings are compared as they serialise, so that none can be forgotten here.
//! Layout, comments and the order of tables are no change.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Class, Config, Service};

/// Settings that limiterd reads once, when it starts.
const AT_START: [&str; 9] = [
    "witness.enabled",
    "runtime.state_dir",
    "runtime.pin_dir",
    "runtime.control_socket",
    "runtime.control_group",
    "runtime.control_read",
    "runtime.metrics_listen",
    "runtime.cgroup",
    "runtime.recount_interval",
];
/// Prefixes that are named; of more the number has to do.
const NAMED: usize = 8;

/// What changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// What changes at once, a sentence each.
    pub changes: Vec<String>,
    /// What changes when limiterd is started again, a sentence each.
    pub at_restart: Vec<String>,
}

impl Differences {
    /// Returns all of it; what needs a restart says so.
    #[must_use]
    pub fn sentences(self) -> Vec<String> {
        let later = self.at_restart.into_iter();
        self.changes
            .into_iter()
            .chain(later.map(|change| format!("{change}: takes effect when limiterd is started again")))
            .collect()
    }
}

/// Returns what `new` changes about `old`.
#[must_use]
pub fn diff(old: &Config, new: &Config) -> Differences {
    let mut found = Differences::default();
    let service = |service: &Service| service.name.clone();
    tables("service", (&old.services, &new.services), service, added_service, &mut found.changes);
    let class = |class: &Class| class.name.clone();
    tables("class", (&old.classes, &new.classes), class, added_class, &mut found.changes);
    let (mut old, mut new) = (object(old), object(new));
    for tables in ["services", "classes"] {
        old.remove(tables);
        new.remove(tables);
    }
    for (key, before, after) in changed(&flattened(&old), &flattened(&new)) {
        let sentence = format!("{key} {before} -> {after}");
        if AT_START.contains(&key.as_str()) {
            found.at_restart.push(sentence);
        } else {
            found.changes.push(sentence);
        }
    }
    found
}

/// Compares tables of one kind by name.
fn tables<T: Serialize>(
    kind: &str,
    (old, new): (&[T], &[T]),
    name: impl Fn(&T) -> String,
    added: impl Fn(&T) -> String,
    changes: &mut Vec<String>,
) {
    let find = |list: &'_ [T], wanted: &str| list.iter().position(|it| name(it) == wanted);
    for table in old {
        let name = name(table);
        if find(new, &name).is_none() {
            changes.push(format!("{kind} {name} removed"));
        }
    }
    for table in new {
        let name = name(table);
        let Some(before) = find(old, &name).and_then(|at| old.get(at)) else {
            changes.push(format!("{kind} {name} added: {}", added(table)));
            continue;
        };
        let (mut before, mut after) = (object(before), object(table));
        for lists in ["ports", "prefixes"] {
            let (gone, come) = members(before.remove(lists), after.remove(lists));
            changes.extend(listed(&gone).map(|gone| format!("{kind} {name}: {lists} removed: {gone}")));
            changes.extend(listed(&come).map(|come| format!("{kind} {name}: {lists} added: {come}")));
        }
        let differing = changed(&treatment_flattened(&before), &treatment_flattened(&after));
        let sentence = |(key, before, after)| format!("{kind} {name}: {key} {before} -> {after}");
        changes.extend(differing.into_iter().map(sentence));
    }
}

fn added_service(service: &Service) -> String {
    let ports: Vec<String> = service.ports.iter().map(u16::to_string).collect();
    format!("ports {}, {}", ports.join(", "), service.mode)
}

fn added_class(class: &Class) -> String {
    let treatment = object(class).remove("treatment").unwrap_or_default();
    let (name, _) = variant(&treatment);
    let prefixes: BTreeSet<String> = class.prefixes.iter().map(|entry| entry.prefix.to_string()).collect();
    format!("{name}, prefixes {}", listed(&prefixes).unwrap_or_else(|| "none".to_owned()))
}

/// Returns a value as the fields it serialises to.
fn object(value: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(fields)) => fields,
        // A configuration is made of text, so all of it serialises.
        _ => Map::new(),
    }
}

/// Returns the fields with those of structures as `structure.field`.
fn flattened(fields: &Map<String, Value>) -> Map<String, Value> {
    let mut flat = Map::new();
    for (key, value) in fields {
        match value {
            Value::Object(inner) if inner.len() > 1 && !is_leaf(inner) => {
                flat.extend(inner.iter().map(|(name, value)| (format!("{key}.{name}"), value.clone())));
            }
            _ => {
                flat.insert(key.clone(), value.clone());
            }
        }
    }
    flat
}

/// Returns the fields of a class with the limits of its treatment as fields of its own.
fn treatment_flattened(fields: &Map<String, Value>) -> Map<String, Value> {
    let mut flat = fields.clone();
    if let Some(treatment) = flat.remove("treatment") {
        let (name, limits) = variant(&treatment);
        flat.insert("treatment".to_owned(), name.into());
        flat.extend(limits);
    }
    flat
}

/// Returns the name of an enumeration's value, and what comes with it.
fn variant(value: &Value) -> (String, Map<String, Value>) {
    match value {
        Value::Object(fields) => fields.iter().next().map_or_else(Default::default, |(name, inner)| {
            (name.clone(), inner.as_object().cloned().unwrap_or_default())
        }),
        other => (shown("", other), Map::new()),
    }
}

/// Returns what differs: key, before, after.
fn changed(old: &Map<String, Value>, new: &Map<String, Value>) -> Vec<(String, String, String)> {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let value = |of: &Map<String, Value>, key: &str| of.get(key).cloned().unwrap_or_default();
    keys.into_iter()
        .map(|key| (key, value(old, key), value(new, key)))
        .filter(|(_, before, after)| before != after)
        .map(|(key, before, after)| (key.clone(), shown(key, &before), shown(key, &after)))
        .collect()
}

/// Returns what only the first and only the second of two lists has.
fn members(old: Option<Value>, new: Option<Value>) -> (BTreeSet<String>, BTreeSet<String>) {
    let set = |list: Option<Value>| -> BTreeSet<String> {
        let list = list.and_then(|list| list.as_array().cloned()).unwrap_or_default();
        list.iter().map(|it| shown("", it.get("prefix").unwrap_or(it))).collect()
    };
    let (old, new) = (set(old), set(new));
    (old.difference(&new).cloned().collect(), new.difference(&old).cloned().collect())
}

/// Returns a set in words, none if it is empty.
fn listed(set: &BTreeSet<String>) -> Option<String> {
    let named: Vec<&str> = set.iter().take(NAMED).map(String::as_str).collect();
    let more = set.len().saturating_sub(NAMED);
    match (named.as_slice(), more) {
        ([], _) => None,
        (named, 0) => Some(named.join(", ")),
        (named, more) => Some(format!("{} and {more} more", named.join(", "))),
    }
}

/// Returns whether fields make up one value: a quota or a duration.
fn is_leaf(fields: &Map<String, Value>) -> bool {
    fields.contains_key("burst") || fields.contains_key("nanos")
}

/// Returns a setting as people write it.
fn shown(key: &str, value: &Value) -> String {
    match value {
        Value::Null if key.starts_with("connections") || key.starts_with("new_connections") => {
            "as the service".to_owned()
        }
        Value::Null if key == "services" => "all".to_owned(),
        Value::Null => "none".to_owned(),
        Value::Number(number) if number.as_u64() == Some(0) && key.starts_with("connections") => {
            "unlimited".to_owned()
        }
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(|it| shown("", it)).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => leaf(fields),
        other => other.to_string(),
    }
}

/// Returns a quota, a duration, or what an enumeration's value comes with.
fn leaf(fields: &Map<String, Value>) -> String {
    let field = |name: &str| fields.get(name).map(|value| shown("", value)).unwrap_or_default();
    if fields.contains_key("burst") {
        if fields.get("count").and_then(Value::as_u64) == Some(0) {
            return "unlimited".to_owned();
        }
        return format!("{} per {}, burst {}", field("count"), field("period"), field("burst"));
    }
    if let Some(seconds) = fields.get("secs").and_then(Value::as_u64) {
        let nanoseconds = fields.get("nanos").and_then(Value::as_u64).unwrap_or_default();
        let nanoseconds = u32::try_from(nanoseconds).unwrap_or_default();
        return humantime::format_duration(std::time::Duration::new(seconds, nanoseconds)).to_string();
    }
    fields.values().map(|value| shown("", value)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#"
[[service]]
name = "smtp"
ports = [25]
connections_per_source = 50
new_connections_per_source = { per_minute = 600, burst = 100 }

[[service]]
name = "pop"
ports = [110]

[[class]]
name = "probe"
prefixes = ["192.0.2.0/24", "198.51.100.0/24"]
exempt = true

[[class]]
name = "large"
prefixes = ["203.0.113.0/24"]
connections_per_source = 500
"#;

    fn changes(edit: impl Fn(String) -> String) -> Vec<String> {
        let parse = |text: &str| Config::parse(text, "limiter.toml").unwrap();
        diff(&parse(OLD), &parse(&edit(OLD.to_owned()))).sentences()
    }

    /// Each kind of change, and the words for it.
    #[test]
    fn changes_are_said_in_words() {
        let replaced = |from: &'static str, to: &'static str| changes(move |text| text.replace(from, to));
        let cases = [
            (replaced("_source = 50\n", "_source = 80\n"), "service smtp: connections_per_source 50 -> 80"),
            (
                replaced(
                    "connections_per_source = 50\n",
                    "connections_total = 9\nconnections_per_source = 50\n",
                ),
                "service smtp: connections_total unlimited -> 9",
            ),
            (
                replaced("burst = 100", "burst = 50"),
                "service smtp: new_connections_per_source 600 per minute, burst 100 -> 600 per minute, burst 50",
            ),
            (replaced("[25]", "[25, 2525]"), "service smtp: ports added: 2525"),
            (
                replaced("ports = [25]", "ports = [25]\nmode = \"enforce\""),
                "service smtp: mode observe -> enforce",
            ),
            (replaced("\"192.0.2.0/24\", ", ""), "class probe: prefixes removed: 192.0.2.0/24"),
            (replaced("exempt = true", "deny = true"), "class probe: treatment exempt -> denied"),
            (replaced("_source = 500", "_source = 600"), "class large: connections_per_source 500 -> 600"),
            (
                changes(|text| format!("[runtime]\nstate_dir = \"/tmp/x\"\n{text}")),
                "runtime.state_dir /var/lib/limiter -> /tmp/x: takes effect when limiterd is started again",
            ),
            (changes(|text| format!("[source]\nipv6_prefix_len = 56\n{text}")), "source.ipv6 64 -> 56"),
            (
                changes(|text| format!("interfaces = [\"eth0\", \"eth1\"]\n{text}")),
                "interfaces auto -> eth0, eth1",
            ),
        ];
        for (found, expected) in cases {
            assert_eq!(found, [expected]);
        }
    }

    /// Tables that come and go are named with what they hold.
    #[test]
    fn tables_come_and_go() {
        let found = changes(|text| text.replace("pop", "pop3").replace("\"large\"", "\"huge\""));
        assert_eq!(
            found,
            [
                "service pop removed",
                "service pop3 added: ports 110, observe",
                "class large removed",
                "class huge added: limited, prefixes 203.0.113.0/24",
            ]
        );
    }

    /// What means the same is no change.
    #[test]
    fn layout_is_no_change() {
        assert!(changes(|text| text.replace("\n\n", "\n# a comment\n")).is_empty());
    }

    /// Of many prefixes the first are named and the rest are counted.
    #[test]
    fn long_lists_are_cut() {
        let many: Vec<String> = (0..20).map(|n| format!("\"10.0.{n}.0/24\"")).collect();
        let many = many.join(", ");
        let found =
            changes(|text| text.replace("\"192.0.2.0/24\", ", &format!("\"192.0.2.0/24\", {many}, ")));
        assert!(found[0].starts_with("class probe: prefixes added: 10.0.0.0/24, "), "{found:?}");
        assert!(found[0].ends_with("and 12 more"), "{found:?}");
    }
}
