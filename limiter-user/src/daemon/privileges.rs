//! What the daemon may do: after its start only what its work needs.
//!
//! Capabilities belong to threads. They are given up once, while there is one
//! thread; those that it starts get what it has left. The steps that need more
//! come before: attaching may look at the programs of others (`CAP_SYS_ADMIN`),
//! and the control socket may go to a group (`CAP_CHOWN`).

use std::{fs, io};

use caps::{CapSet, Capability, errors::CapsError};
use nix::sys::prctl;

use super::{Daemon, lasting::Notice};
use crate::{chain::chain, control::protocol::Health};

/// Loading programs and running them by hand, attaching and asking the network, and what tracing programs may read.
pub const NEEDED: [Capability; 3] = [Capability::CAP_BPF, Capability::CAP_NET_ADMIN, Capability::CAP_PERFMON];
/// One entry for every thread of this process.
const THREADS: &str = "/proc/self/task";

/// Why more is left than the work needs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrivilegeError {
    /// The kernel does not take it.
    #[error("cannot {step}")]
    Kernel {
        /// What was being done.
        step: &'static str,
        /// Why it failed.
        #[source]
        source: CapsError,
    },
    /// There were threads already, which keep what they have.
    #[error("{threads} threads run already, and each keeps the capabilities it has; please report this")]
    Threads {
        /// How many.
        threads: usize,
    },
    /// The system does not tell, or does not take it.
    #[error("cannot {step}")]
    System {
        /// What was being done.
        step: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// Gives up every capability but those in [`NEEDED`], for this process and whatever it could run.
///
/// # Errors
///
/// When something is left that the work does not need; the work can go on.
pub fn give_up() -> Result<(), PrivilegeError> {
    let system = |step| move |source| PrivilegeError::System { step, source };
    let threads = fs::read_dir(THREADS).map_err(system("count the threads"))?.count();
    give_up_in_this_thread()?;
    if threads == 1 { Ok(()) } else { Err(PrivilegeError::Threads { threads }) }
}

fn give_up_in_this_thread() -> Result<(), PrivilegeError> {
    let failed = |step| move |source| PrivilegeError::Kernel { step, source };
    let has = |set, capability| caps::has_cap(None, set, capability);
    // Without CAP_SETPCAP, which only root has, the bounding set stays as the unit made it: three, and no program of
    // another's to gain them by.
    if has(CapSet::Effective, Capability::CAP_SETPCAP).map_err(failed("read the capabilities"))? {
        caps::clear(None, CapSet::Bounding).map_err(failed("clear the bounding set"))?;
    }
    caps::clear(None, CapSet::Ambient).map_err(failed("clear the ambient set"))?;
    let had = caps::read(None, CapSet::Permitted).map_err(failed("read the capabilities"))?;
    let keep = NEEDED.into_iter().filter(|capability| had.contains(capability)).collect();
    // Effective first: it may hold nothing that is not permitted.
    caps::set(None, CapSet::Effective, &keep).map_err(failed("set the effective capabilities"))?;
    caps::set(None, CapSet::Permitted, &keep).map_err(failed("set the permitted capabilities"))?;
    caps::clear(None, CapSet::Inheritable).map_err(failed("clear the inheritable set"))?;
    prctl::set_no_new_privs().map_err(|error| PrivilegeError::System {
        step: "forbid new privileges (no_new_privs)",
        source: error.into(),
    })
}

/// Returns the capabilities that this thread can use, by name, in alphabetical order.
#[must_use]
pub fn held() -> Vec<String> {
    // A kernel that does not tell is no kernel that a daemon has started on.
    let permitted = caps::read(None, CapSet::Permitted).unwrap_or_default();
    let mut names: Vec<String> = permitted.iter().map(ToString::to_string).collect();
    names.sort();
    names
}

impl Daemon {
    /// Takes note of what came of [`give_up`]: a daemon that holds too much works, and says so.
    pub(super) fn note_privileges(&mut self, outcome: Result<(), PrivilegeError>) {
        match outcome {
            Ok(()) => tracing::info!(capabilities = held().join(", "), "all other capabilities are given up"),
            Err(error) => {
                let text = format!("limiterd may do more than it needs to: {}", chain(&error));
                tracing::error!(error = text, "capabilities");
                self.lasting.notices.push(Notice { health: Health::Degraded, text, until_policy: false });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Only what the work needs is left, in every set, and nothing can be gained again.
    ///
    /// In a thread of its own: the other tests keep what they have.
    #[test]
    fn only_what_is_needed_is_left() {
        let check = || {
            let before = caps::read(None, CapSet::Permitted).unwrap();
            let root = caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).unwrap();
            give_up_in_this_thread().unwrap();
            let kept = NEEDED.into_iter().filter(|capability| before.contains(capability)).collect();
            for set in [CapSet::Permitted, CapSet::Effective] {
                assert_eq!(caps::read(None, set).unwrap(), kept, "{set:?}");
            }
            for set in [CapSet::Inheritable, CapSet::Ambient] {
                assert!(caps::read(None, set).unwrap().is_empty(), "{set:?}");
            }
            assert!(!root || caps::read(None, CapSet::Bounding).unwrap().is_empty());
            assert_eq!(prctl::get_no_new_privs(), Ok(true));
            let mut names: Vec<String> = kept.iter().map(ToString::to_string).collect();
            names.sort();
            assert_eq!(held(), names);
            // Twice is as good as once.
            give_up_in_this_thread().unwrap();
        };
        thread::spawn(check).join().unwrap();
    }

    /// Threads that run already keep what they have, which is an error.
    #[test]
    fn other_threads_are_noticed() {
        let outcome = thread::spawn(give_up).join().unwrap();
        assert!(matches!(outcome, Err(PrivilegeError::Threads { threads: 2.. })), "{outcome:?}");
    }
}
