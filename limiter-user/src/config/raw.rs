//! The file as it was typed: types are right and keys are known, no more.
//!
//! Nothing here has a default, a range or a meaning; every value keeps its place.

use toml::de::DeTable;

use super::{
    head::Head,
    problem::Problems,
    read::{At, OrWord, Reader},
    schema, syntax,
};

/// The whole file.
#[derive(Debug, Default)]
pub(super) struct RawConfig {
    pub(super) mode: Option<At<String>>,
    pub(super) interfaces: Option<At<OrWord<Vec<At<String>>>>>,
    pub(super) attach: Option<At<String>>,
    pub(super) source: RawSource,
    pub(super) runtime: RawRuntime,
    pub(super) breaker: RawBreaker,
    pub(super) witness: RawWitness,
    pub(super) upstreams: Vec<RawUpstream>,
    pub(super) recorder: RawRecorder,
    pub(super) services: Vec<RawService>,
    pub(super) classes: Vec<RawClass>,
    pub(super) head: Head,
}

/// `[source]`.
#[derive(Debug, Default)]
pub(super) struct RawSource {
    pub(super) ipv4_prefix_len: Option<At<i64>>,
    pub(super) ipv6_prefix_len: Option<At<i64>>,
}

/// `[runtime]`.
#[derive(Debug, Default)]
pub(super) struct RawRuntime {
    pub(super) state_dir: Option<At<String>>,
    pub(super) pin_dir: Option<At<String>>,
    pub(super) control_socket: Option<At<String>>,
    pub(super) control_group: Option<At<OrWord<i64>>>,
    pub(super) control_read: Option<At<String>>,
    pub(super) metrics_listen: Option<At<String>>,
    pub(super) cgroup: Option<At<String>>,
    pub(super) keep_on_exit: Option<At<bool>>,
    pub(super) observe_after_daemon_loss: Option<At<String>>,
    pub(super) recount_interval: Option<At<String>>,
}

/// `[breaker]`.
#[derive(Debug, Default)]
pub(super) struct RawBreaker {
    pub(super) enabled: Option<At<bool>>,
    pub(super) window: Option<At<String>>,
    pub(super) share_percent: Option<At<i64>>,
    pub(super) min_sources: Option<At<i64>>,
    pub(super) retry_after: Option<At<String>>,
}

/// `[witness]`.
#[derive(Debug, Default)]
pub(super) struct RawWitness {
    pub(super) enabled: Option<At<bool>>,
    pub(super) silent_after: Option<At<String>>,
    pub(super) outbound_ports: Option<At<Vec<At<i64>>>>,
}

/// `[[upstream]]`.
#[derive(Debug)]
pub(super) struct RawUpstream {
    pub(super) head: Head,
    pub(super) name: Option<At<String>>,
    pub(super) addresses: Option<At<Vec<At<String>>>>,
}

/// `[recorder]`.
#[derive(Debug, Default)]
pub(super) struct RawRecorder {
    pub(super) enabled: Option<At<bool>>,
    pub(super) keep: Option<At<String>>,
    pub(super) size_max: Option<At<String>>,
    pub(super) interval: Option<At<String>>,
}

/// A number of connections, or a word.
pub(super) type RawLimit = At<OrWord<i64>>;
/// A quota, or a word.
pub(super) type RawQuota = At<OrWord<RawQuotaTable>>;

/// The table of a quota.
#[derive(Clone, Debug)]
pub(super) struct RawQuotaTable {
    pub(super) head: Head,
    pub(super) per_minute: Option<At<i64>>,
    pub(super) per_second: Option<At<i64>>,
    pub(super) burst: Option<At<i64>>,
}

/// `[[service]]`.
#[derive(Debug)]
pub(super) struct RawService {
    pub(super) head: Head,
    pub(super) name: Option<At<String>>,
    pub(super) ports: Option<At<Vec<At<i64>>>>,
    pub(super) mode: Option<At<String>>,
    pub(super) connections_per_source: Option<RawLimit>,
    pub(super) new_connections_per_source: Option<RawQuota>,
    pub(super) connections_total: Option<RawLimit>,
    pub(super) syn_quota_per_source: Option<RawQuota>,
    pub(super) count_local: Option<At<bool>>,
    pub(super) refuse_with: Option<At<String>>,
}

/// `[[class]]`.
#[derive(Debug)]
pub(super) struct RawClass {
    pub(super) head: Head,
    pub(super) name: Option<At<String>>,
    pub(super) prefixes: Option<At<Vec<At<String>>>>,
    pub(super) services: Option<At<Vec<At<String>>>>,
    pub(super) exempt: Option<At<bool>>,
    pub(super) deny: Option<At<bool>>,
    pub(super) connections_per_source: Option<RawLimit>,
    pub(super) new_connections_per_source: Option<RawQuota>,
    pub(super) critical: Option<At<bool>>,
}

impl RawConfig {
    /// Reads a text, noting what is no TOML, of the wrong type or unknown.
    pub(super) fn read(text: &str, problems: &mut Problems) -> Self {
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            for error in errors {
                let (span, message) = (error.span().unwrap_or_default(), error.message());
                problems.add(span, message, syntax::help(message));
            }
            return Self { head: Head::torn(), ..Self::default() };
        }
        let top = Reader::new(&schema::TOP, table.get_ref(), problems);
        Self {
            mode: top.string("mode", problems),
            interfaces: top.strings_or_word("interfaces", problems),
            attach: top.string("attach", problems),
            source: top
                .table("source", problems)
                .map(|table| RawSource::read(table.value, problems))
                .unwrap_or_default(),
            runtime: top
                .table("runtime", problems)
                .map(|table| RawRuntime::read(table.value, problems))
                .unwrap_or_default(),
            breaker: top
                .table("breaker", problems)
                .map(|table| RawBreaker::read(table.value, problems))
                .unwrap_or_default(),
            witness: top
                .table("witness", problems)
                .map(|table| RawWitness::read(table.value, problems))
                .unwrap_or_default(),
            upstreams: top
                .tables("upstream", problems)
                .into_iter()
                .map(|table| RawUpstream::read(&table, problems))
                .collect(),
            recorder: top
                .table("recorder", problems)
                .map(|table| RawRecorder::read(table.value, problems))
                .unwrap_or_default(),
            services: top
                .tables("service", problems)
                .into_iter()
                .map(|table| RawService::read(&table, problems))
                .collect(),
            classes: top
                .tables("class", problems)
                .into_iter()
                .map(|table| RawClass::read(&table, problems))
                .collect(),
            head: Head::read(0..0, 0, problems),
        }
    }
}

impl RawSource {
    fn read(table: &DeTable<'_>, problems: &mut Problems) -> Self {
        let section = Reader::new(&schema::SOURCE, table, problems);
        Self {
            ipv4_prefix_len: section.integer("ipv4_prefix_len", problems),
            ipv6_prefix_len: section.integer("ipv6_prefix_len", problems),
        }
    }
}

impl RawRuntime {
    fn read(table: &DeTable<'_>, problems: &mut Problems) -> Self {
        let section = Reader::new(&schema::RUNTIME, table, problems);
        Self {
            state_dir: section.string("state_dir", problems),
            pin_dir: section.string("pin_dir", problems),
            control_socket: section.string("control_socket", problems),
            control_group: section.integer_or_word("control_group", problems),
            control_read: section.string("control_read", problems),
            metrics_listen: section.string("metrics_listen", problems),
            cgroup: section.string("cgroup", problems),
            keep_on_exit: section.boolean("keep_on_exit", problems),
            observe_after_daemon_loss: section.string("observe_after_daemon_loss", problems),
            recount_interval: section.string("recount_interval", problems),
        }
    }
}

impl RawBreaker {
    fn read(table: &DeTable<'_>, problems: &mut Problems) -> Self {
        let section = Reader::new(&schema::BREAKER, table, problems);
        Self {
            enabled: section.boolean("enabled", problems),
            window: section.string("window", problems),
            share_percent: section.integer("share_percent", problems),
            min_sources: section.integer("min_sources", problems),
            retry_after: section.string("retry_after", problems),
        }
    }
}

impl RawWitness {
    fn read(table: &DeTable<'_>, problems: &mut Problems) -> Self {
        let section = Reader::new(&schema::WITNESS, table, problems);
        Self {
            enabled: section.boolean("enabled", problems),
            silent_after: section.string("silent_after", problems),
            outbound_ports: section.integers("outbound_ports", problems),
        }
    }
}

impl RawUpstream {
    fn read(table: &At<&DeTable<'_>>, problems: &mut Problems) -> Self {
        let before = problems.count();
        let section = Reader::new(&schema::UPSTREAM, table.value, problems);
        Self {
            name: section.string("name", problems),
            addresses: section.strings("addresses", problems),
            head: Head::read(table.span.clone(), before, problems),
        }
    }
}

impl RawRecorder {
    fn read(table: &DeTable<'_>, problems: &mut Problems) -> Self {
        let section = Reader::new(&schema::RECORDER, table, problems);
        Self {
            enabled: section.boolean("enabled", problems),
            keep: section.string("keep", problems),
            size_max: section.string("size_max", problems),
            interval: section.string("interval", problems),
        }
    }
}

impl RawService {
    fn read(table: &At<&DeTable<'_>>, problems: &mut Problems) -> Self {
        let before = problems.count();
        let section = Reader::new(&schema::SERVICE, table.value, problems);
        Self {
            name: section.string("name", problems),
            ports: section.integers("ports", problems),
            mode: section.string("mode", problems),
            connections_per_source: section.integer_or_word("connections_per_source", problems),
            new_connections_per_source: quota(&section, "new_connections_per_source", problems),
            connections_total: section.integer_or_word("connections_total", problems),
            syn_quota_per_source: quota(&section, "syn_quota_per_source", problems),
            count_local: section.boolean("count_local", problems),
            refuse_with: section.string("refuse_with", problems),
            head: Head::read(table.span.clone(), before, problems),
        }
    }
}

impl RawClass {
    /// Returns how errors call it.
    pub(super) fn called(&self) -> &str {
        self.name.as_ref().map_or("", |name| &name.value)
    }

    fn read(table: &At<&DeTable<'_>>, problems: &mut Problems) -> Self {
        let before = problems.count();
        let section = Reader::new(&schema::CLASS, table.value, problems);
        Self {
            name: section.string("name", problems),
            prefixes: section.strings("prefixes", problems),
            services: section.strings("services", problems),
            exempt: section.boolean("exempt", problems),
            deny: section.boolean("deny", problems),
            connections_per_source: section.integer_or_word("connections_per_source", problems),
            new_connections_per_source: quota(&section, "new_connections_per_source", problems),
            critical: section.boolean("critical", problems),
            head: Head::read(table.span.clone(), before, problems),
        }
    }
}

fn quota(section: &Reader<'_, '_>, key: &'static str, problems: &mut Problems) -> Option<RawQuota> {
    let At { value, span, key } = section.table_or_word(key, problems)?;
    let value = match value {
        OrWord::Word(word) => OrWord::Word(word),
        OrWord::Value(table) => {
            let before = problems.count();
            let table = Reader::new(&schema::QUOTA_TABLE, table, problems);
            OrWord::Value(RawQuotaTable {
                per_minute: table.integer("per_minute", problems),
                per_second: table.integer("per_second", problems),
                burst: table.integer("burst", problems),
                head: Head::read(span.clone(), before, problems),
            })
        }
    };
    Some(At { value, span, key })
}
