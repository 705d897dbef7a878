//! A foreign `sock_ops` program that wants a cgroup for itself.
//!
//! Attached in the old way, by `bpftool` and without MULTI: the kernel then
//! lets nobody else attach to that cgroup (`kernel/bpf/cgroup.c`). Links, which
//! aya makes, always allow others.

use std::path::{Path, PathBuf};
use std::process::Command;

use aya::programs::SockOps;
use aya::{Ebpf, EbpfLoader};

use crate::host;
use crate::xdp::{NAME, object};

/// A program that holds the hook of a cgroup; detached when dropped.
#[derive(Debug)]
pub struct Exclusive {
    /// Its id, by which the kernel lists it.
    pub id: u32,
    cgroup: PathBuf,
    _program: Ebpf,
}

impl Exclusive {
    /// Attaches a program under [`NAME`] to `cgroup`.
    #[must_use]
    #[track_caller]
    pub fn attach(cgroup: &Path) -> Self {
        let object = object("sockops", 1);
        let mut program = EbpfLoader::new().btf(None).load(&object).expect("the object is well-formed");
        let sock_ops: &mut SockOps = program
            .program_mut(NAME)
            .expect("the object holds the program")
            .try_into()
            .expect("the section says sock_ops");
        sock_ops.load().expect("loading a sock_ops program needs CAP_BPF");
        let id = sock_ops.info().expect("a loaded program has information").id();
        host::run(&mut bpftool(cgroup, "attach", id));
        Self { id, cgroup: cgroup.to_owned(), _program: program }
    }

    /// Whether it is still attached.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        let listed = host::run(Command::new("bpftool").args(["cgroup", "show"]).arg(&self.cgroup));
        listed.lines().any(|line| line.split_whitespace().next() == Some(&self.id.to_string()))
    }
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        if self.is_attached() {
            host::run(&mut bpftool(&self.cgroup, "detach", self.id));
        }
    }
}

fn bpftool(cgroup: &Path, verb: &str, id: u32) -> Command {
    let mut command = Command::new("bpftool");
    command.args(["cgroup", verb]).arg(cgroup).args(["sock_ops", "id", &id.to_string()]);
    command
}
