//! Which keys there are, and what each takes; nothing about what they mean.

/// A table of the file.
pub(super) struct Section {
    /// How errors call it.
    pub(super) title: &'static str,
    /// Its keys.
    pub(super) keys: &'static [Key],
}

/// A key and what it takes, as errors say it.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) takes: &'static str,
}

const fn key(name: &'static str, takes: &'static str) -> Key {
    Key { name, takes }
}

const LIMIT: &str = "a number of connections such as 50, or \"unlimited\"";
const QUOTA: &str = "{ per_minute = N, burst = N }, { per_second = N, burst = N } or \"unlimited\"";
const FLAG: &str = "true or false";
const PATH: &str = "an absolute path in quotes";
const NUMBER: &str = "a whole number";

/// The keys outside every table, and the tables.
pub(super) const TOP: Section = Section {
    title: "the top of the file",
    keys: &[
        key("mode", "\"observe\" or \"enforce\""),
        key("interfaces", "\"auto\" or a list of names such as [\"eth0\"]"),
        key("attach", "\"auto\", \"native\", \"generic\" or \"none\""),
        key("source", "a table, written as [source]"),
        key("runtime", "a table, written as [runtime]"),
        key("breaker", "a table, written as [breaker]"),
        key("witness", "a table, written as [witness]"),
        key("upstream", "tables, written as [[upstream]] with two brackets"),
        key("recorder", "a table, written as [recorder]"),
        key("service", "tables, written as [[service]] with two brackets"),
        key("class", "tables, written as [[class]] with two brackets"),
    ],
};

/// `[source]`.
pub(super) const SOURCE: Section =
    Section { title: "[source]", keys: &[key("ipv4_prefix_len", NUMBER), key("ipv6_prefix_len", NUMBER)] };

/// `[runtime]`.
pub(super) const RUNTIME: Section = Section {
    title: "[runtime]",
    keys: &[
        key("state_dir", PATH),
        key("pin_dir", PATH),
        key("control_socket", PATH),
        key("control_group", "the name of a group such as \"limiter\", or its number"),
        key("control_read", "\"group\" or \"all\""),
        key("metrics_listen", "an address and port such as \"127.0.0.1:9590\""),
        key("cgroup", "\"auto\" or an absolute path in quotes"),
        key("keep_on_exit", FLAG),
        key("observe_after_daemon_loss", "a duration such as \"300s\", \"5m\" or \"2h\", or \"never\""),
        key("recount_interval", "a duration such as \"10s\""),
    ],
};

/// `[breaker]`.
pub(super) const BREAKER: Section = Section {
    title: "[breaker]",
    keys: &[
        key("enabled", FLAG),
        key("window", "a duration such as \"30s\""),
        key("share_percent", NUMBER),
        key("min_sources", NUMBER),
        key("retry_after", "a duration such as \"60s\""),
    ],
};

/// `[witness]`.
pub(super) const WITNESS: Section = Section {
    title: "[witness]",
    keys: &[
        key("enabled", FLAG),
        key("silent_after", "a duration such as \"10s\""),
        key("outbound_ports", "a list of port numbers such as [25, 465, 587]"),
    ],
};

/// `[[upstream]]`.
pub(super) const UPSTREAM: Section = Section {
    title: "[[upstream]]",
    keys: &[
        key("name", "a name such as \"auth\""),
        key("addresses", "a list of addresses with ports such as [\"192.0.2.5:389\"]"),
    ],
};

/// `[recorder]`.
pub(super) const RECORDER: Section = Section {
    title: "[recorder]",
    keys: &[
        key("enabled", FLAG),
        key("keep", "a duration such as \"14d\""),
        key("size_max", "a size such as \"256MiB\""),
        key("interval", "a duration such as \"10s\""),
    ],
};

/// `[[service]]`.
pub(super) const SERVICE: Section = Section {
    title: "[[service]]",
    keys: &[
        key("name", "a name such as \"smtp\""),
        key("ports", "a list of port numbers such as [25]"),
        key("mode", "\"observe\" or \"enforce\""),
        key("connections_per_source", LIMIT),
        key("new_connections_per_source", QUOTA),
        key("connections_total", LIMIT),
        key("syn_quota_per_source", QUOTA),
        key("count_local", FLAG),
        key("refuse_with", "\"reset\" or \"drop\""),
    ],
};

/// `[[class]]`.
pub(super) const CLASS: Section = Section {
    title: "[[class]]",
    keys: &[
        key("name", "a name such as \"probe\""),
        key("prefixes", "a list of prefixes such as [\"192.0.2.0/24\", \"preset:gcp-lb\"]"),
        key("services", "a list of service names such as [\"smtp\"]"),
        key("exempt", FLAG),
        key("deny", FLAG),
        key("connections_per_source", LIMIT),
        key("new_connections_per_source", QUOTA),
        key("critical", FLAG),
    ],
};

/// A quota.
pub(super) const QUOTA_TABLE: Section = Section {
    title: "a quota",
    keys: &[key("per_minute", NUMBER), key("per_second", NUMBER), key("burst", NUMBER)],
};

/// Every table.
pub(super) const ALL: [&Section; 10] =
    [&TOP, &SOURCE, &RUNTIME, &BREAKER, &WITNESS, &UPSTREAM, &RECORDER, &SERVICE, &CLASS, &QUOTA_TABLE];

impl Section {
    /// Returns what a key takes.
    pub(super) fn takes(&self, name: &str) -> &'static str {
        self.keys.iter().find(|key| key.name == name).map_or("another value", |key| key.takes)
    }

    /// Returns what helps somebody who wrote a key that this table lacks.
    pub(super) fn help_for_unknown(&self, name: &str) -> String {
        let names = || self.keys.iter().map(|key| key.name);
        if let Some(meant) = nearest(name, names()) {
            return format!("did you mean `{meant}`?");
        }
        let homes: Vec<&str> = ALL
            .iter()
            .filter(|section| section.keys.iter().any(|key| key.name == name))
            .map(|section| section.title)
            .collect();
        if homes.is_empty() {
            return format!("keys here are {}", listed(names()));
        }
        format!("`{name}` belongs in {}; keys after a [table] line belong to that table", homes.join(" or "))
    }
}

/// Returns the candidate that a misspelt word most likely means.
pub(super) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase().replace('-', "_");
    // One slip in three letters is still the same word.
    let allowed = (word.chars().count() / 3).max(1);
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.replace('-', "_")), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Returns words in backticks, separated by commas.
pub(super) fn listed<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
