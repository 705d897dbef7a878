//! What the daemon asks of the packet path, and nothing of how it is done.
//!
//! [`Dataplane`] has two implementations: [`kernel`], the real one, and
//! [`memory`], on which the daemon's logic is tested without root.

use std::net::IpAddr;

use limiter_common::{
    addr::Addr,
    event::{Explanation, Sample, SourceRecord},
    map::{Counters, FailOpen, LivingSums, SourceKey},
};
use serde::{Deserialize, Serialize};

use crate::{
    config::Config,
    policy::{Compiled, Ids},
};

/// How an interface is guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttachMode {
    /// By XDP in the driver.
    Native,
    /// By XDP in the network stack, after the socket buffer was made.
    Generic,
    /// By tc, behind the XDP program of somebody else.
    Tcx,
    /// The same, by a filter, where the kernel has no TCX.
    Clsact,
    /// Not at all: the gate alone limits, by dropping.
    None,
}

/// One guarded interface and how it is guarded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The interface.
    pub interface: String,
    /// What was got, which may be less than what was asked for.
    pub mode: AttachMode,
    /// What an operator should know about it, in a sentence; empty when all is well.
    pub remark: String,
}

/// The counters of one (service, class, family), summed over all CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterRow {
    /// The service id.
    pub service: u32,
    /// The class id.
    pub class: u32,
    /// The index in [`Family::ALL`](limiter_common::addr::Family::ALL).
    pub family: u32,
    /// The counts, by [`Verdict::cell`](limiter_common::verdict::Verdict::cell).
    pub counters: Counters,
}

/// What one look at all open connections found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recount {
    /// Every source with an entry, idle ones included, and its living sockets as this recount found them.
    pub sources: Vec<SourceRecord>,
    /// Whom living sockets are charged to that has no entry, once for each of them.
    pub strays: Vec<SourceKey>,
    /// Living sockets of all.
    pub living: LivingSums,
    /// The service totals as the packet path has them, by service id.
    pub totals: Vec<u32>,
    /// Open connections by class as the packet path has them, by [`class_cell`](limiter_common::names::class_cell).
    pub classes: Vec<u64>,
}

/// The policy that takes the place of another by itself, when nobody confirms that one in time.
#[derive(Clone, Copy, Debug)]
pub struct Fallback<'a> {
    /// The policy.
    pub policy: &'a Compiled,
    /// When it comes into force, in `CLOCK_MONOTONIC` nanoseconds; with or without a daemon.
    pub at_ns: u64,
}

/// What a packet path starts with.
#[derive(Clone, Copy, Debug)]
pub struct First<'a> {
    /// Where to attach.
    pub config: &'a Config,
    /// What to go by.
    pub policy: &'a Compiled,
    /// What to go back to, from the first moment.
    pub fallback: Option<Fallback<'a>>,
    /// The host's own addresses.
    pub local: &'a [IpAddr],
}

/// What a packet path that an earlier daemon left behind goes on with.
#[derive(Clone, Debug, Default)]
pub struct Inherited {
    /// The numbers of services and classes that its counters and charges use.
    pub ids: Ids,
    /// The highest revision that it may have seen.
    pub revision: u32,
}

/// A packet path that was looked at and not yet touched.
pub trait Opening {
    /// What it becomes.
    type Dataplane: Dataplane + 'static;

    /// Returns what an earlier daemon left.
    fn inherited(&self) -> Inherited;

    /// Puts a first policy in force and attaches, or takes over what is attached already.
    ///
    /// # Errors
    ///
    /// When the kernel lacks or refuses something, or a foreign program is in
    /// the way; then what was attached before is still attached, and nothing else.
    fn start(self, first: &First<'_>) -> Result<Self::Dataplane, DataplaneError>;

    /// Detaches what an earlier daemon left, and attaches nothing until it is told to.
    ///
    /// # Errors
    ///
    /// When something stays attached.
    fn detached(self) -> Result<Self::Dataplane, DataplaneError>;
}

/// The packet path.
pub trait Dataplane: Send {
    /// Puts a policy in force, whole, by one switch; with a `fallback` it is in force until then only,
    /// unless it is applied again without one.
    ///
    /// # Errors
    ///
    /// When the kernel refuses; the policy in force stays in force.
    fn apply(&mut self, policy: &Compiled, fallback: Option<Fallback<'_>>) -> Result<(), DataplaneError>;

    /// Tells the packet path which addresses are the host's own.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    fn set_local_addresses(&mut self, addresses: &[IpAddr]) -> Result<(), DataplaneError>;

    /// Returns the counters of the rows asked for.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    fn counters(&self, services: u32, classes: u32) -> Result<Vec<CounterRow>, DataplaneError>;

    /// Returns open connections by [`class_cell`](limiter_common::names::class_cell).
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    fn connections(&self) -> Result<Vec<u64>, DataplaneError>;

    /// Returns how often the packet path was in doubt, by [`FailOpen`].
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    fn fail_opens(&self) -> Result<Vec<(FailOpen, u64)>, DataplaneError>;

    /// Looks at every charged socket and every source, and removes sources that
    /// have been idle for longer than `idle_s` seconds.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    fn recount(&mut self, idle_s: u32) -> Result<Recount, DataplaneError>;

    /// Reads every source with an entry, and nothing else: cheaper than [`Dataplane::recount`].
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    fn sources(&self) -> Result<Vec<SourceRecord>, DataplaneError>;

    /// Adds `delta` to the open count of a source, atomically.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    fn correct(&mut self, key: SourceKey, delta: i32) -> Result<(), DataplaneError>;

    /// Asks the read-only twin of the program what a SYN from `source` to `destination`:`port` would get.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    fn explain(&self, source: Addr, destination: Addr, port: u16) -> Result<Explanation, DataplaneError>;

    /// Says that the daemon is alive.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    fn heartbeat(&mut self) -> Result<(), DataplaneError>;

    /// Takes the samples that have come since the last call.
    fn samples(&mut self) -> Vec<Sample>;

    /// Returns what is attached where.
    fn attachments(&self) -> Vec<Attachment>;

    /// Returns the checks that are left out, by the constant that this kernel's type information lacks.
    fn missing_checks(&self) -> &[&'static str];

    /// Returns what earlier daemons left pinned and nobody uses, a sentence each.
    fn orphans(&self) -> Vec<String>;

    /// Brings what is attached in line with the interfaces of a configuration, as they are by now; returns
    /// what is different from before, a sentence each.
    ///
    /// # Errors
    ///
    /// When the host's network cannot be looked at; what can be guarded is.
    fn refresh_interfaces(&mut self, config: &Config) -> Result<Vec<String>, DataplaneError>;

    /// Returns whether what was attached to the host as a whole still is; also true while nothing is meant to be.
    fn is_whole(&self) -> bool;

    /// Detaches everything.
    ///
    /// # Errors
    ///
    /// When the kernel refuses; what could be detached is.
    fn detach(&mut self) -> Result<(), DataplaneError>;

    /// Attaches anew after [`detach`](Self::detach), counting from the connections there are.
    ///
    /// # Errors
    ///
    /// When the kernel refuses; then everything stays detached.
    fn attach(&mut self, first: &First<'_>) -> Result<(), DataplaneError>;
}

mod error;
pub(crate) mod records;
mod syscall;

pub mod kernel;
pub mod memory;

pub use error::DataplaneError;
pub(crate) use syscall::{iterate_map, netns_cookie};
