//! What one configuration changes about another, in words.
//!
//! Settings are compared as they serialise, so that none can be forgotten here.
//! Layout, comments and the order of tables are no change.

use std::{collections::BTreeSet, fmt::Display};

use ipnet::IpNet;
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
    tables((&old.services, &new.services), &mut found.changes);
    tables((&old.classes, &new.classes), &mut found.changes);
    for (key, before, after) in changed(&flattened(&head(old)), &flattened(&head(new))) {
        let sentence = format!("{key} {before} -> {after}");
        if AT_START.contains(&key.as_str()) {
            found.at_restart.push(sentence);
        } else {
            found.changes.push(sentence);
        }
    }
    found
}

/// A table that there may be several of, told apart by their names.
trait Named: Serialize {
    /// What it is called in sentences, and what its list is.
    const KIND: (&str, &str);
    /// What its list has.
    type Member: Ord + Display;

    fn name(&self) -> &str;
    fn members(&self) -> BTreeSet<Self::Member>;
    /// Returns the table without its list: one of 100,000 is not to be turned into text and back.
    fn without_members(&self) -> Self;
    /// Returns what it is in words.
    fn introduced(&self) -> String;
}

impl Named for Service {
    const KIND: (&str, &str) = ("service", "ports");
    type Member = u16;

    fn name(&self) -> &str {
        &self.name
    }

    fn members(&self) -> BTreeSet<u16> {
        self.ports.iter().copied().collect()
    }

    fn without_members(&self) -> Self {
        Self { ports: Vec::new(), ..self.clone() }
    }

    fn introduced(&self) -> String {
        let ports: Vec<String> = self.ports.iter().map(u16::to_string).collect();
        format!("ports {}, {}", ports.join(", "), self.mode)
    }
}

impl Named for Class {
    const KIND: (&str, &str) = ("class", "prefixes");
    type Member = IpNet;

    fn name(&self) -> &str {
        &self.name
    }

    fn members(&self) -> BTreeSet<IpNet> {
        self.prefixes.iter().map(|entry| entry.prefix).collect()
    }

    fn without_members(&self) -> Self {
        Self { prefixes: Vec::new(), ..self.clone() }
    }

    fn introduced(&self) -> String {
        let (name, _) = variant(&object(self.without_members()).remove("treatment").unwrap_or_default());
        let prefixes = listed(self.members().iter()).unwrap_or_else(|| "none".to_owned());
        format!("{name}, prefixes {prefixes}")
    }
}

/// Compares tables of one kind by name.
fn tables<T: Named>((old, new): (&[T], &[T]), changes: &mut Vec<String>) {
    let (kind, list) = T::KIND;
    for table in old {
        if !new.iter().any(|other| other.name() == table.name()) {
            changes.push(format!("{kind} {} removed", table.name()));
        }
    }
    for table in new {
        let name = table.name();
        let Some(before) = old.iter().find(|other| other.name() == name) else {
            changes.push(format!("{kind} {name} added: {}", table.introduced()));
            continue;
        };
        let (had, has) = (before.members(), table.members());
        changes.extend(
            listed(had.difference(&has)).map(|gone| format!("{kind} {name}: {list} removed: {gone}")),
        );
        changes
            .extend(listed(has.difference(&had)).map(|come| format!("{kind} {name}: {list} added: {come}")));
        let fields = |table: &T| treatment_flattened(&object(table.without_members()));
        let sentence = |(key, before, after)| format!("{kind} {name}: {key} {before} -> {after}");
        changes.extend(changed(&fields(before), &fields(table)).into_iter().map(sentence));
    }
}

/// Returns what stands above the tables of services and classes.
fn head(config: &Config) -> Map<String, Value> {
    let mut fields = object(Config { services: Vec::new(), classes: Vec::new(), ..config.clone() });
    for tables in ["services", "classes"] {
        fields.remove(tables);
    }
    fields
}

/// Returns a value as the fields it serialises to.
fn object(value: impl Serialize) -> Map<String, Value> {
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

/// Returns members of a list in words, none if there are none.
fn listed<T: Display>(members: impl Iterator<Item = T>) -> Option<String> {
    let mut members = members.peekable();
    members.peek()?;
    let named: Vec<String> = members.by_ref().take(NAMED).map(|member| member.to_string()).collect();
    let named = named.join(", ");
    match members.count() {
        0 => Some(named),
        more => Some(format!("{named} and {more} more")),
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
