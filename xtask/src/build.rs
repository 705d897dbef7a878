//! `cargo xtask build`: the BPF object first, then the two programs around it.
//!
//! The object is copied to where `limiter-user` embeds it from only when its
//! bytes changed, so an edit in user space does not wait for BPF and the other
//! way round.

use std::fs;

use crate::error::{Error, Result};
use crate::process::{cargo, run};
use crate::terminal::{Step, note};
use crate::toolchain::{BPF_TARGET, Toolchain};
use crate::workspace::Workspace;

/// The programs that a release consists of.
const BINARIES: [&str; 2] = ["limiterd", "limiterctl"];
/// What the BPF half is compiled to, and the names that `limiter-user` embeds it by: the packet path and the witness.
const OBJECTS: [(&str, &str); 2] = [("limiter-ebpf", "limiter.bpf.o"), ("limiter-witness", "witness.bpf.o")];

/// Builds everything that is installed on a mail host.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    build_bpf_objects(workspace)?;
    let step = Step::start("limiterd and limiterctl");
    let mut command = cargo(workspace, "build");
    command
        .args(["--release", "--package", "limiter-user", "--bins", "--target-dir"])
        .arg(workspace.target());
    run(&mut command)?;
    for name in BINARIES {
        let path = workspace.release_binary(name);
        let size_bytes = fs::metadata(&path).map_err(Error::file("find", &path))?.len();
        note(format!("{} ({} KiB)", path.display(), size_bytes / 1024));
    }
    step.done();
    Ok(())
}

/// Compiles the BPF half and puts its objects where `limiter-user` looks for them.
pub(crate) fn build_bpf_objects(workspace: &Workspace) -> Result<()> {
    let toolchain = Toolchain::provide(workspace)?;
    let step = Step::start("BPF objects");
    let mut command = toolchain.cargo(workspace, "build");
    command
        .args(["--package", "limiter-ebpf", "--profile", "bpf", "--target-dir"])
        .arg(workspace.bpf_target());
    run(&mut command)?;

    for (program, name) in OBJECTS {
        let built = workspace.bpf_target().join(BPF_TARGET).join("bpf").join(program);
        let bytes = fs::read(&built).map_err(Error::file("read", &built))?;
        let object = workspace.bpf_object(name);
        if fs::read(&object).ok().as_ref() != Some(&bytes) {
            fs::write(&object, &bytes).map_err(Error::file("write", &object))?;
            note(format!("{} ({} KiB)", object.display(), bytes.len() / 1024));
        }
    }
    step.done();
    Ok(())
}
