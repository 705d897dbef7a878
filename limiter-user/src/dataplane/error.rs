//! What can go wrong between the daemon and the kernel, and what helps.

use std::{io, path::PathBuf};

/// An error of the packet path; the message names the place and the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataplaneError {
    /// A step of loading or attaching failed.
    #[error("{step} failed; {remedy}")]
    Setup {
        /// What was being done.
        step: String,
        /// What the operator can do.
        remedy: &'static str,
        /// What the kernel or aya said.
        #[source]
        source: anyhow::Error,
    },
    /// A map could not be read or written.
    #[error("map {map}: {operation} failed")]
    Map {
        /// The map.
        map: &'static str,
        /// What was being done.
        operation: &'static str,
        /// What the kernel said.
        #[source]
        source: anyhow::Error,
    },
    /// The kernel's type information lacks something.
    #[error(
        "kernel type information lacks {what}; limiter needs Linux 6.1 or newer built with CONFIG_DEBUG_INFO_BTF"
    )]
    Btf {
        /// What was looked for.
        what: String,
    },
    /// Another program is where ours should go.
    #[error("{interface} has an XDP program that is not limiter's: {program} (id {id}); {remedy}")]
    ForeignXdp {
        /// The interface.
        interface: String,
        /// The name of the program.
        program: String,
        /// Its id.
        id: u32,
        /// What the operator can do.
        remedy: String,
    },
    /// Another program holds the cgroup hook exclusively.
    #[error(
        "the sock_ops hook of {cgroup} is held by {program} (id {id}), attached without MULTI; \
         detach it with `bpftool cgroup detach {cgroup} sock_ops id {id}` or attach it with MULTI"
    )]
    ForeignSockOps {
        /// The cgroup.
        cgroup: PathBuf,
        /// The name of the program.
        program: String,
        /// Its id.
        id: u32,
    },
    /// The directory for pins is not where objects of BPF can be pinned.
    #[error(
        "[runtime] pin_dir {} is not on a bpf file system; mount one: mount -t bpf bpf /sys/fs/bpf",
        path.display()
    )]
    NoBpfFs {
        /// The directory.
        path: PathBuf,
    },
    /// The pins are those of a daemon in another network namespace.
    #[error(
        "[runtime] pin_dir {} holds the pins of a limiterd in another network namespace; give each its own, or \
         remove what is left of that one with `limiterd --config FILE --cleanup`",
        path.display()
    )]
    ForeignPins {
        /// The directory.
        path: PathBuf,
    },
    /// Another daemon has the pins.
    #[error("another limiterd has [runtime] pin_dir {}; stop it first", path.display())]
    PinsInUse {
        /// The directory.
        path: PathBuf,
    },
    /// Nothing is attached, since an operator wanted it so.
    #[error("everything is detached; `limiterctl resume` attaches it again")]
    Detached,
    /// A file of the host could not be read.
    #[error("cannot read {}", path.display())]
    Host {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The twin of the program could not judge the packet it was asked about.
    #[error("the program could not judge the packet it was asked about; is a policy loaded?")]
    NoExplanation,
    /// An iterator wrote something that is not a whole number of records.
    #[error("the {iterator} iterator left {left_over} bytes over, which are no record of {record_len}")]
    Records {
        /// The iterator.
        iterator: &'static str,
        /// Bytes behind the last record.
        left_over: usize,
        /// Bytes of a record.
        record_len: usize,
    },
}
