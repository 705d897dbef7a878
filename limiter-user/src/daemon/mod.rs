//! The daemon: one state, one thread that owns it, and tasks that ask it.
//!
//! [`Daemon`] is plain and synchronous: it knows the policy and the packet path,
//! is told the time with every call, and is tested without a runtime. It lives
//! on a thread of its own ([`engine`]), and everything else sends it closures.
//! A thread rather than a task, since calls into the kernel block: a recount
//! of a million sources must not keep a health check or a signal waiting. A
//! queue rather than a lock, since then nobody can hold half a change.
//!
//! | module | what it owns |
//! | --- | --- |
//! | [`state`] | the state, and how a policy comes into force |
//! | [`boot`] | what to start with: the file, or what was in force last |
//! | [`lasting`] | what is kept on disk, and what of it is not there yet |
//! | [`rules`] | the table of rules: list, add, remove |
//! | [`import`] | lists of prefixes made rules |
//! | [`usage`] | what used each rule made at run time |
//! | [`reload`] | the configuration read anew, modes switched |
//! | [`tick`] | what is done every second and every ten |
//! | [`breaker`] | limits that refuse most sources, suspended |
//! | [`canary`] | exempt addresses, asked for in the kernel |
//! | [`recount`] | living sockets against counts, drift, windows |
//! | [`recording`] | what the flight recorder is given |
//! | [`refusals`] | samples of refusals, kept and followed |
//! | [`check`] | what the next SYN would get, in sentences (`explain`) |
//! | `conntrack` | the watcher of connection tracking |
//! | [`status`] | health and facts at one glance |
//! | `rails` | what is allowed but likely to hurt |
//! | [`observed`] | what sources did, for a day |
//! | [`probes`] | which of them look like probes |
//! | [`suggest`] | limits and exemptions from observed traffic |
//! | [`panic`] | everything detached until `resume` |
//! | [`trial`] | a configuration on probation: apply, confirm, diff |
//! | [`top`] | the sources with most of something |
//! | [`snapshot`] | everything that metrics show |
//! | [`faults`] | steps that fail at the moment |
//! | [`changes`] | what of the host changed since somebody acknowledged it |
//! | [`privileges`] | capabilities, given up after the start |
//! | [`notify`] | what systemd is told |
//! | [`engine`] | the thread |
//! | `watching` | the witness, kept in line with the policy |
//! | [`run`] | sockets, signals, start and stop |

pub mod boot;
pub mod breaker;
pub mod canary;
pub mod changes;
pub mod check;
pub mod engine;
pub mod faults;
pub mod import;
pub mod judgement;
pub mod lasting;
pub mod monitor;
pub mod notify;
pub mod observed;
pub mod panic;
pub mod privileges;
pub mod probes;
pub mod recording;
pub mod recount;
pub mod refusals;
pub mod reload;
pub mod rules;
pub mod run;
pub mod snapshot;
pub mod state;
pub mod status;
pub mod suggest;
pub mod tick;
pub mod top;
pub mod trial;
pub mod usage;

mod conntrack;
mod explain;
mod network;
mod rails;
mod watching;

#[cfg(test)]
pub(crate) mod tests;

pub use boot::Boot;
pub use engine::{Handle, Stopped};
pub use run::{RunError, Signal, run};
pub use state::{Daemon, Prepared};
