//! The configuration as it is meant: every default filled in, every range
//! checked, every preset spelled out.
//!
//! Nothing here remembers where it was typed; that is the matter of
//! [`raw`](super::raw).

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use limiter_common::gcra::Quota;
use serde::{Deserialize, Serialize};

/// What an operator wants, for one host.
#[derive(Clone, Debug, Serialize)]
pub struct Config {
    /// Where it came from; it has no part in [`Config::hash`].
    #[serde(skip)]
    pub file: ConfigFile,
    /// Which interfaces are guarded.
    pub interfaces: Interfaces,
    /// How they are guarded.
    pub attach: Attach,
    /// What of an address makes up a source.
    pub source: SourceLengths,
    /// How the daemon runs.
    pub runtime: Runtime,
    /// The services, in the order of the file.
    pub services: Vec<Service>,
    /// The classes, in the order of the file.
    pub classes: Vec<Class>,
}

/// The text of a configuration and its name.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// The path it was read from, or the name it was given.
    pub path: PathBuf,
    /// The text as it was read.
    pub text: Arc<str>,
}

impl ConfigFile {
    /// Returns a file of this name and text.
    #[must_use]
    pub fn new(path: &Path, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.into(),
        }
    }
}

/// Which interfaces are guarded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interfaces {
    /// The interface of the default route.
    Auto,
    /// These.
    Named(Vec<String>),
}

/// How XDP is to be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attach {
    /// In the driver, or in the network stack where the driver cannot.
    Auto,
    /// In the driver.
    Native,
    /// In the network stack.
    Generic,
    /// Not at all: the gate alone limits, by dropping.
    None,
}

/// How many leading bits of an address make up a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SourceLengths {
    /// Of 32.
    pub ipv4: u8,
    /// Of 128.
    pub ipv6: u8,
}

/// How the daemon runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Runtime {
    /// Where it keeps what must outlive it.
    pub state_dir: PathBuf,
    /// Where on bpffs it pins maps and links.
    pub pin_dir: PathBuf,
    /// Where `limiterctl` finds it.
    pub control_socket: PathBuf,
    /// Where metrics and health are served; always loopback.
    pub metrics_listen: SocketAddr,
    /// The cgroup that the gate is attached to.
    pub cgroup: Cgroup,
    /// Whether the program stays attached when the daemon stops.
    pub keep_on_exit: bool,
    /// How long without a daemon until per-source limits only observe; never if absent.
    pub observe_after_daemon_loss: Option<Duration>,
}

/// The cgroup that the gate is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cgroup {
    /// The root of the cgroup v2 hierarchy, wherever it is mounted.
    Auto,
    /// This directory.
    Path(PathBuf),
}

/// Whether limits refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Count what would be refused, and pass it.
    Observe,
    /// Refuse.
    Enforce,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        })
    }
}

/// How a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefuseWith {
    /// By a TCP reset, which the client sees at once.
    Reset,
    /// By silence.
    Drop,
}

/// A named set of ports and its limits; 0 stands for no limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Service {
    /// Its name, which is its label in metrics.
    pub name: String,
    /// Its TCP ports.
    pub ports: Vec<u16>,
    /// Whether its limits refuse.
    pub mode: Mode,
    /// Connections of one source open at once.
    pub connections_per_source: u32,
    /// New connections of one source per time.
    pub new_connections_per_source: QuotaSetting,
    /// Connections of all sources open at once.
    pub connections_total: u32,
    /// SYNs of one unproven source per time, while the SYN queue overflows.
    pub syn_quota_per_source: QuotaSetting,
    /// Whether loopback and the host's own addresses count towards the ceiling.
    pub count_local: bool,
    /// How it refuses.
    pub refuse_with: RefuseWith,
}

/// So many per time; a count of 0 stands for no quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct QuotaSetting {
    /// How many in a period.
    pub count: u32,
    /// The period.
    pub period: Period,
    /// How many may come at once.
    pub burst: u32,
}

impl QuotaSetting {
    /// No quota.
    pub const NONE: Self = Self {
        count: 0,
        period: Period::Minute,
        burst: 0,
    };

    /// Returns the arithmetic form.
    #[must_use]
    pub const fn quota(self) -> Quota {
        Quota::per(self.count, self.period.nanoseconds(), self.burst)
    }
}

/// The time that a quota is stated for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Period {
    /// One second.
    Second,
    /// One minute.
    Minute,
}

impl Period {
    /// Returns its length.
    #[must_use]
    pub const fn nanoseconds(self) -> u64 {
        match self {
            Self::Second => 1_000_000_000,
            Self::Minute => 60_000_000_000,
        }
    }
}

/// A named set of prefixes that is treated in a way of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Class {
    /// Its name, which is its label in metrics.
    pub name: String,
    /// Its prefixes, presets spelled out.
    pub prefixes: Vec<ClassPrefix>,
    /// The names of the services it holds for; all of them if absent.
    pub services: Option<Vec<String>>,
    /// How it is treated.
    pub treatment: ClassTreatment,
    /// Whether a refusal of one of its sources opens the circuit breaker.
    pub critical: bool,
}

impl Class {
    /// Returns whether it holds for a service.
    #[must_use]
    pub fn holds_for(&self, service: &str) -> bool {
        self.services
            .as_ref()
            .is_none_or(|services| services.iter().any(|name| name == service))
    }
}

/// A prefix of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ClassPrefix {
    /// The prefix, without host bits; never v4-mapped.
    pub prefix: IpNet,
    /// The preset it comes from.
    pub preset: Option<&'static str>,
}

/// How a class is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassTreatment {
    /// Never refused, still counted.
    Exempt,
    /// Always refused.
    Denied,
    /// Limited; what is absent is inherited from the service, 0 stands for no limit.
    Limited {
        /// Connections of one source open at once.
        connections_per_source: Option<u32>,
        /// New connections of one source per time.
        new_connections_per_source: Option<QuotaSetting>,
    },
}
