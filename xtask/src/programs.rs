//! `cargo xtask run`, `bench` and `replay`: build, then become the program.
//!
//! The demonstration, the benchmark and the replays are binaries of the package
//! `limiter-tests`; what they do is decided there.

use crate::build::build;
use crate::error::Result;
use crate::host;
use crate::process::{become_program, cargo, system_path};
use crate::terminal::Step;
use crate::workspace::Workspace;

/// Runs the daemon with the given arguments, or the demonstration without any.
pub(crate) fn run(workspace: &Workspace, args: &[String]) -> Result<()> {
    if args.is_empty() {
        return run_test_binary(workspace, "demo", args);
    }
    build(workspace)?;
    let mut daemon = std::process::Command::new(workspace.release_binary("limiterd"));
    Err(become_program(daemon.args(args)))
}

/// Measures, on this machine, what the limiter costs per packet.
pub(crate) fn bench(workspace: &Workspace, args: &[String]) -> Result<()> {
    run_test_binary(workspace, "bench", args)
}

/// Plays one recorded outage against the limiter.
pub(crate) fn replay(workspace: &Workspace, args: &[String]) -> Result<()> {
    run_test_binary(workspace, "replay", args)
}

fn run_test_binary(workspace: &Workspace, name: &str, args: &[String]) -> Result<()> {
    host::provide_programs(workspace)?;
    host::prepare();
    build(workspace)?;
    let step = Step::start(name);
    let mut build = cargo(workspace, "build");
    build
        .args(["--release", "--package", "limiter-tests", "--bin", name, "--target-dir"])
        .arg(workspace.target());
    crate::process::run(&mut build)?;
    step.done();
    let mut program = std::process::Command::new(workspace.release_binary(name));
    Err(become_program(program.args(args).env("PATH", system_path()).current_dir(workspace.root())))
}
