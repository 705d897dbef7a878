//! What `limiterd` and its clients say to each other on the control socket.
//!
//! JSON over HTTP, one route per verb under `/v1/`. Both sides use these types.
//! Scripts read them too (`limiterctl --json` prints them as they are): fields
//! may be added here, never renamed or removed.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

mod changes;
mod history;
mod host;
mod rules;
mod suggest;

pub use changes::{
    ApplyRequest, DiffAnswer, DiffRequest, ModeRequest, PANIC_ANSWER_TIME, PanicRequest, PanicState,
    PolicyChange, ResumeRequest,
};
pub use history::{
    History, HistoryEvent, HistoryLine, HistoryQuery, HistoryService, HistorySource, HistoryState,
};
pub use host::{HostAck, HostAckRequest, HostChange, HostView};
pub use rules::{
    ImportChange, ImportRequest, RuleChange, RuleList, RuleQuery, RuleRemoval, RuleRequest, RuleUse, RuleView,
};

pub use suggest::{SuggestQuery, SuggestedProbe, SuggestedService, Suggestion};

pub use crate::{
    config::Mode,
    dataplane::{AttachMode, Attachment},
    policy::{Origin, Verb},
};

/// `GET`: [`Status`].
pub const STATUS: &str = "/v1/status";
/// `GET`: [`RuleList`]; `POST` [`RuleRequest`]: [`RuleChange`]; `DELETE` with [`RuleQuery`]: [`RuleRemoval`].
pub const RULES: &str = "/v1/rules";
/// `POST` [`ImportRequest`]: [`ImportChange`].
pub const IMPORT: &str = "/v1/import";
/// `GET` with [`CheckQuery`]: [`Check`].
pub const CHECK: &str = "/v1/check";
/// `GET` with [`TopQuery`]: [`Top`].
pub const TOP: &str = "/v1/top";
/// `GET` with [`DropsQuery`]: [`Drops`], or one [`Refusal`] per line without end.
pub const DROPS: &str = "/v1/drops";
/// `GET` with [`SuggestQuery`]: [`Suggestion`].
pub const SUGGEST: &str = "/v1/suggest";
/// `GET` with [`HistoryQuery`]: [`History`].
pub const HISTORY: &str = "/v1/history";
/// `POST` [`ModeRequest`]: [`PolicyChange`].
pub const MODE: &str = "/v1/mode";
/// `POST`: [`PolicyChange`].
pub const RELOAD: &str = "/v1/reload";
/// `POST` [`ApplyRequest`]: [`PolicyChange`].
pub const APPLY: &str = "/v1/apply";
/// `POST`: [`PolicyChange`].
pub const CONFIRM: &str = "/v1/confirm";
/// `POST` [`PanicRequest`]: [`PanicState`].
pub const PANIC: &str = "/v1/panic";
/// `POST` [`ResumeRequest`], or nothing: [`PanicState`].
pub const RESUME: &str = "/v1/resume";
/// `POST` [`DiffRequest`]: [`DiffAnswer`].
pub const DIFF: &str = "/v1/diff";
/// `GET`: [`HostView`].
pub const HOST: &str = "/v1/host";
/// `POST` [`HostAckRequest`]: [`HostAck`].
pub const HOST_ACK: &str = "/v1/host/ack";

/// Returns the word for how an interface is guarded.
#[must_use]
pub const fn attached(mode: AttachMode) -> &'static str {
    match mode {
        AttachMode::Native => "native",
        AttachMode::Generic => "generic",
        AttachMode::Tcx => "tcx",
        AttachMode::Clsact => "clsact",
        AttachMode::None => "none",
    }
}

/// Why a request was not granted, and what helps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What is wrong.
    pub error: String,
    /// What the caller can do.
    pub remedy: String,
}

/// How well something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// All is as it should be.
    Ok,
    /// It works, with something an operator should know.
    Degraded,
    /// It does not do what it is there for.
    Failing,
}

/// The daemon at one glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Worst of what follows.
    pub health: Health,
    /// What is not as it should be with the daemon as a whole, in sentences.
    pub findings: Vec<String>,
    /// Every service, in the order of the configuration.
    pub services: Vec<ServiceStatus>,
    /// What is attached where.
    pub attachments: Vec<Attachment>,
    /// The policy in force.
    pub policy: PolicyStatus,
    /// The daemon.
    pub daemon: DaemonStatus,
}

/// What the circuit breaker of a service is up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BreakerState {
    /// Limits are enforced, as far as the mode wants it.
    #[default]
    Closed,
    /// Limits of single sources only observe, since most were refused.
    Open,
    /// They are enforced again, on trial.
    Trial,
}

/// One service at one glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// Its ports.
    pub ports: Vec<u16>,
    /// How it treats what is over its limits.
    pub mode: Mode,
    /// Whether the mode was switched at run time.
    pub mode_switched: bool,
    /// What its circuit breaker is up to.
    #[serde(default)]
    pub breaker: BreakerState,
    /// How well it is.
    pub health: Health,
    /// Why it is not [`Health::Ok`], in sentences, the worst first; empty when it is.
    pub reasons: Vec<String>,
    /// Connections open, exempt ones included.
    pub open: u64,
    /// The ceiling of the service, if it has one.
    pub connections_total: Option<u32>,
    /// The limit of a source that no class matches, if it has one.
    pub connections_per_source: Option<u32>,
    /// Sources with open connections.
    pub sources: u64,
    /// Packets refused since the counters exist.
    pub refused: u64,
    /// Packets that would have been refused in `enforce`.
    pub would_refuse: u64,
}

/// The policy in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyStatus {
    /// Its number.
    pub revision: u32,
    /// A hash of what it says, to compare hosts.
    pub hash: String,
    /// Prefixes in it.
    pub prefixes: usize,
    /// Rules made at run time.
    pub runtime_rules: usize,
    /// Why the last reload changed nothing, if it failed.
    pub reload_error: Option<String>,
}

/// The daemon and the host it runs on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// Its version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// How long it has been running.
    pub uptime_s: u64,
    /// The configuration file.
    pub config: String,
    /// Where it serves metrics.
    #[serde(default)]
    pub metrics: Option<std::net::SocketAddr>,
    /// The release of the kernel.
    pub kernel: String,
    /// The capabilities that it has left.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// What connection tracking shows, in a sentence.
    #[serde(default)]
    pub conntrack: String,
}

/// Asks what the next SYN from somewhere would get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckQuery {
    /// From whom.
    pub address: IpAddr,
    /// To which port; to each service's first one without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// What the next SYN would get, by port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// From whom.
    pub address: IpAddr,
    /// One answer per port asked for.
    pub answers: Vec<CheckAnswer>,
}

/// What the next SYN to one port would get, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckAnswer {
    /// To which port.
    pub port: u16,
    /// Its service; none for a port that is not guarded.
    pub service: Option<String>,
    /// How that service treats what is over its limits.
    pub mode: Option<Mode>,
    /// `pass`, `refuse` or `would_refuse`.
    pub verdict: String,
    /// Why.
    pub reason: String,
    /// The class of the address.
    pub class: String,
    /// The rule that says so; none for the default class.
    pub rule: Option<RuleView>,
    /// What it is charged to.
    pub source: String,
    /// Connections that the source holds.
    pub held: u32,
    /// How many it may hold, if there is a limit.
    pub connections_per_source: Option<u32>,
    /// Connections that the service holds.
    pub total: u32,
    /// How many it may hold, if there is a ceiling.
    pub connections_total: Option<u32>,
    /// When the quota for new connections lets the next one in; 0 for at once, none without a quota.
    pub quota_wait_ms: Option<u64>,
    /// The revision that decided.
    pub revision: u32,
    /// The same in sentences.
    pub explanation: Vec<String>,
    /// What would change the verdict, in sentences.
    pub remedies: Vec<String>,
}

/// What to sort sources by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum TopBy {
    /// Open connections.
    #[default]
    Open,
    /// Connections accepted in the last seconds.
    New,
    /// Connections refused, or that would have been, in the last seconds.
    Refused,
    /// Connections on which the server has not spoken.
    Silent,
}

/// Asks for the sources with most of something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopQuery {
    /// In which service; in all without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Most of what.
    #[serde(default)]
    pub by: TopBy,
    /// How many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// The sources with most of something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Top {
    /// Sources, most first.
    pub sources: Vec<TopSource>,
    /// How many there are, shown or not.
    pub total: usize,
    /// How many seconds `new` and `refused` look back.
    pub window_s: u64,
    /// When that was so, in milliseconds since 1970.
    #[serde(default)]
    pub at_ms: u64,
}

/// One source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopSource {
    /// The prefix that is charged.
    pub source: String,
    /// The service.
    pub service: String,
    /// The class.
    pub class: String,
    /// Connections open.
    pub open: u32,
    /// How many it may hold, if there is a limit.
    pub limit: Option<u32>,
    /// Connections accepted within the window.
    pub new: u32,
    /// Connections refused, or that would have been, within the window.
    pub refused: u32,
    /// Connections on which the server has not spoken in time; 0 where the witness does not watch.
    #[serde(default)]
    pub silent: u32,
    /// Connections accepted since the source is known.
    pub accepted_total: u32,
    /// Connections refused, or that would have been, since the source is known.
    pub refused_total: u32,
}

/// Asks for refusals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DropsQuery {
    /// Whether to go on with those to come, one JSON object per line.
    #[serde(default)]
    pub follow: bool,
}

/// The last refusals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drops {
    /// Oldest first.
    pub drops: Vec<Refusal>,
}

/// One refusal, or one packet that the kernel dropped; samples, at most one per source in ten seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The remote address.
    pub address: IpAddr,
    /// The local port.
    pub port: u16,
    /// The service.
    pub service: String,
    /// The class of the address.
    pub class: String,
    /// `refuse`, `would_refuse`, or `kernel_drop`.
    pub verdict: String,
    /// Why; for `kernel_drop` by the kernel's own name.
    pub reason: String,
    /// Where: `syn`, `ack`, `gate`, or `kernel` for a packet that the rest of the kernel dropped.
    pub point: String,
    /// The remote port; only the kernel's drops have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_port: Option<u16>,
    /// `in` or `out`; only the kernel's drops have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// Whether it was a packet of a live connection that a policy dropped: expected never.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub established: bool,
}
