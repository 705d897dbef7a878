//! `cargo xtask lint`: format, clippy and tidy, with every warning an error.
//!
//! All checks run, so that one round shows all there is to mend.

use std::path::Path;
use std::process::Command;

use crate::build::build_bpf_objects;
use crate::debian;
use crate::error::{Error, Remedy, Result};
use crate::process::{cargo, find_program, run};
use crate::terminal::{Paint, Step, caution, line, paint};
use crate::tidy;
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;

/// Packages that the toolchain of this task can check.
const HOST_PACKAGES: [&str; 4] = ["limiter-common", "limiter-user", "limiter-tests", "xtask"];

/// Clippy for Debian's compiler; rustup's reads no libraries of another rustc.
const DEBIAN_CLIPPY_PACKAGE: &str = "rust-web-clippy";
const DEBIAN_CLIPPY: &str = "/usr/bin/clippy-driver";

type Check = fn(&Workspace) -> Result<()>;

/// Runs every check and fails if one of them does.
pub(crate) fn lint(workspace: &Workspace) -> Result<()> {
    require_components(workspace)?;
    let checks: [(&str, Check); 4] =
        [("rustfmt", format), ("clippy", clippy), ("clippy for BPF", clippy_bpf), ("tidy", tidy::tidy)];
    let mut failed = Vec::new();
    for (name, check) in checks {
        let step = Step::start(name);
        if let Err(error) = check(workspace) {
            line(format!("{} {error}", paint(Paint::Bad, "failed:")));
            failed.push(name);
        }
        step.done();
    }
    if failed.is_empty() {
        line(format!("{} rustfmt, clippy and tidy agree", paint(Paint::Good, "ok:")));
        return Ok(());
    }
    Err(Error::Unclean(format!("not clean: {}", failed.join(", "))))
}

fn require_components(workspace: &Workspace) -> Result<()> {
    let absent: Vec<&str> = [("fmt", "rustfmt"), ("clippy", "clippy")]
        .into_iter()
        .filter(|(subcommand, _)| {
            crate::process::capture(cargo(workspace, subcommand).arg("--version")).is_err()
        })
        .map(|(_, component)| component)
        .collect();
    if absent.is_empty() {
        return Ok(());
    }
    if find_program("rustup").is_none() {
        let what = "the Rust toolchain lacks components".to_owned();
        let remedies =
            absent.iter().map(|name| Remedy::new(*name, "from where the toolchain came")).collect();
        return Err(Error::Missing { what, remedies });
    }
    let step = Step::start(format!("adding {}", absent.join(" and ")));
    run(Command::new("rustup").args(["component", "add"]).args(absent).current_dir(workspace.root()))?;
    step.done();
    Ok(())
}

fn format(workspace: &Workspace) -> Result<()> {
    run(cargo(workspace, "fmt").args(["--all", "--check", "--", "--files-with-diff"]))
        .map_err(|error| error.with_remedy("`cargo fmt --all` mends these files"))
}

fn clippy(workspace: &Workspace) -> Result<()> {
    // limiter-user embeds the object, so it has to exist to be checked.
    build_bpf_objects(workspace)?;
    let mut command = cargo(workspace, "clippy");
    command.args(HOST_PACKAGES.iter().flat_map(|package| ["--package", package]));
    command.arg("--all-targets").arg("--target-dir").arg(workspace.target());
    run(command.args(["--", "--deny", "warnings"]))
}

fn clippy_bpf(workspace: &Workspace) -> Result<()> {
    let toolchain = Toolchain::provide(workspace)?;
    let nightly = matches!(toolchain, Toolchain::Nightly { .. });
    let mut command = toolchain.cargo(workspace, if nightly { "clippy" } else { "check" });
    command
        .args(["--package", "limiter-ebpf", "--profile", "bpf", "--target-dir"])
        .arg(workspace.bpf_target());
    if nightly {
        return run(command.args(["--", "--deny", "warnings"]));
    }
    if debian::can_install() {
        debian::ensure(workspace, &[DEBIAN_CLIPPY_PACKAGE])?;
    } else if !Path::new(DEBIAN_CLIPPY).is_file() {
        let remedy = debian::install_command(&[DEBIAN_CLIPPY_PACKAGE]);
        caution(format!("limiter-ebpf is not checked without clippy for its compiler: {remedy}"));
        return Ok(());
    }
    // What cargo-clippy does, which Debian's would do with Debian's cargo.
    command.env("RUSTC_WORKSPACE_WRAPPER", DEBIAN_CLIPPY).env("CLIPPY_ARGS", "-Dwarnings__CLIPPY_HACKERY__");
    run(&mut command)
}
