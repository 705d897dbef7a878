//! `cargo xtask test`: everything that can be proven on this machine.
//!
//! First what needs no privileges, then the kernel suites one after the other:
//! they share the kernel's cgroup and pins, so they do not run side by side.
//! Tests are compiled with debug assertions and without link-time optimisation,
//! which would take 10 s per suite; the programs they start are release builds.

mod failures;
mod report;
mod suites;

use std::io::IsTerminal;
use std::time::Instant;

use crate::build::build;
use crate::error::{Error, Result};
use crate::host;
use crate::process::{cargo, is_root, run, system_path};
use crate::terminal::{Paint, Step, caution, line, paint};
use crate::workspace::Workspace;
use report::{Outcome, Report};
use suites::Suite;

/// Which tests to run, and what to tell their binaries.
#[derive(Debug, PartialEq)]
pub(crate) struct Request {
    /// A suite's name, or a part of test names.
    pub(crate) filter: Option<String>,
    /// Arguments for every test binary.
    pub(crate) args: Vec<String>,
}

/// Runs the tests and prints a table of what ran.
///
/// # Errors
///
/// A failed test, a filter that matches nothing, or kernel suites left out
/// although `LIMITER_REQUIRE_KERNEL` asks for them.
pub(crate) fn test(workspace: &Workspace, request: &Request) -> Result<()> {
    let all = suites::all(workspace)?;
    let (suites, name_filter) = suites::select(all, request.filter.as_deref());
    let (kernel, plain): (Vec<Suite>, Vec<Suite>) = suites.into_iter().partition(|suite| suite.needs_kernel);

    if !kernel.is_empty() {
        host::provide_programs(workspace)?;
    } else if plain.iter().any(|suite| suite.name == suites::ALERTS) {
        host::provide_promtool(workspace)?;
    }
    build(workspace)?;

    let mut report = Report::default();
    if !plain.is_empty() {
        stage("1 of 2", "unit, documentation and command-line tests");
    }
    for suite in &plain {
        run_suite(workspace, suite, name_filter, &request.args, &mut report)?;
    }
    if !kernel.is_empty() {
        stage("2 of 2", "kernel suites");
        run_kernel_suites(workspace, &kernel, name_filter, request, &mut report)?;
    }

    report.print();
    report.verdict(request.filter.as_deref())
}

fn run_kernel_suites(
    workspace: &Workspace,
    suites: &[Suite],
    name_filter: Option<&str>,
    request: &Request,
    report: &mut Report,
) -> Result<()> {
    if !is_root() {
        let names: Vec<&str> = suites.iter().map(|suite| suite.name.as_str()).collect();
        caution(format!(
            "left out, because they load BPF programs and make network namespaces, which takes root: {}",
            names.join(", ")
        ));
        for suite in suites {
            report.add(&suite.name, Outcome::left_out());
        }
        return Ok(());
    }
    host::prepare();
    let step = Step::start("compiling the kernel suites");
    let mut command = cargo(workspace, "test");
    command.args(["--no-run", "--package", "limiter-tests", "--target-dir"]).arg(workspace.target());
    run(&mut command)?;
    step.done();
    for suite in suites {
        run_suite(workspace, suite, name_filter, &request.args, report)?;
    }
    Ok(())
}

fn run_suite(
    workspace: &Workspace,
    suite: &Suite,
    name_filter: Option<&str>,
    args: &[String],
    report: &mut Report,
) -> Result<()> {
    let step = Step::start(suite.name.as_str());
    let mut command = cargo(workspace, "test");
    command.args(["--no-fail-fast", "--target-dir"]).arg(workspace.target());
    command.args(&suite.cargo_args).args(name_filter).arg("--").args(args);
    if !args.iter().any(|arg| arg.starts_with("--test-threads")) {
        command.args(suite.threads.argument());
    }
    if suite.needs_kernel {
        // A test that is skipped passes, and libtest hides what passed tests say.
        command.arg("--show-output");
    }
    if std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        // The output goes through a pipe, where cargo and libtest see no terminal.
        command.arg("--color=always").env("CARGO_TERM_COLOR", "always");
    }
    command.env("PATH", system_path());
    let started = Instant::now();
    let (outcome, failures) = report::run_and_count(&mut command)?;
    report.keep(&suite.name, failures);
    report.add(&suite.name, outcome.took(started.elapsed()));
    step.done();
    Ok(())
}

fn stage(number: &str, name: &str) {
    line("");
    line(paint(Paint::Bold, format!("Stage {number}: {name}")));
}

/// Returns whether a test that cannot run has to count as failed.
fn kernel_is_required() -> bool {
    std::env::var_os("LIMITER_REQUIRE_KERNEL").is_some_and(|value| value == "1")
}

impl Report {
    fn verdict(&self, filter: Option<&str>) -> Result<()> {
        let failed = self.failed();
        if !failed.is_empty() {
            return Err(Error::Unclean(format!("tests failed in {}", failed.join(", "))));
        }
        if kernel_is_required() && !self.left_out().is_empty() {
            let names = self.left_out().join(", ");
            return Err(Error::Unclean(format!(
                "LIMITER_REQUIRE_KERNEL is set, but these did not run: {names}"
            )));
        }
        match filter {
            Some(filter) if self.passed() == 0 && self.left_out().is_empty() => {
                Err(Error::Usage(format!("no suite or test is named `{filter}`")))
            }
            _ => Ok(()),
        }
    }
}
