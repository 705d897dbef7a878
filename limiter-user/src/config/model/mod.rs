//! The configuration as it is meant: every default filled in, every range
//! checked, every preset spelled out.
//!
//! Nothing here remembers where it was typed; that is the matter of
//! [`raw`](super::raw).

mod breaker;
mod class;
mod recorder;
mod service;
mod witness;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::Serialize;

pub use breaker::BreakerSettings;
pub use class::{Class, ClassPrefix, ClassTreatment};
pub use recorder::RecorderSettings;
pub use service::{Mode, Period, QuotaSetting, RefuseWith, Service};
pub use witness::{Upstream, WitnessSettings};

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
    /// When limits of single sources are suspended.
    pub breaker: BreakerSettings,
    /// What the witness watches.
    pub witness: WitnessSettings,
    /// What the mail server needs, in the order of the file.
    pub upstreams: Vec<Upstream>,
    /// What is recorded, and for how long.
    pub recorder: RecorderSettings,
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
        Self { path: path.to_owned(), text: text.into() }
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

/// How interfaces are to be guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attach {
    /// By XDP, in the driver or in the network stack where the driver cannot; by tc where XDP is somebody else's.
    Auto,
    /// By XDP in the driver.
    Native,
    /// By XDP in the network stack.
    Generic,
    /// By tc.
    Tcx,
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
    /// The group that may ask and change, beside root.
    pub control_group: Option<ControlGroup>,
    /// Who else may ask.
    pub control_read: ControlRead,
    /// Where metrics and health are served; always loopback.
    pub metrics_listen: SocketAddr,
    /// The cgroup that the gate is attached to.
    pub cgroup: Cgroup,
    /// Whether the program stays attached when the daemon stops.
    pub keep_on_exit: bool,
    /// How long without a daemon until per-source limits only observe; never if absent.
    pub observe_after_daemon_loss: Option<Duration>,
    /// How often open connections are recounted.
    pub recount_interval: Duration,
}

/// A group of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ControlGroup {
    /// By name, looked up at start.
    Name(String),
    /// By number.
    Id(u32),
}

/// Who may ask the daemon, beside those that may change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ControlRead {
    /// Nobody else.
    Group,
    /// Every user of the host.
    All,
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
