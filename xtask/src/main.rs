//! The tasks of a checkout: build, test, check, show.
//!
//! `main` is a map from the command line to one function per task. A task
//! prints what it does on standard error and leaves standard output to the
//! programs it runs.

mod build;
mod cli;
mod debian;
mod error;
mod host;
mod lint;
mod process;
mod programs;
mod terminal;
mod test;
mod tidy;
mod toolchain;
mod workspace;

use std::process::ExitCode;

use crate::cli::Task;
use crate::error::Result;
use crate::terminal::{Paint, line, paint};
use crate::workspace::Workspace;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match cli::parse(&args).and_then(perform) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            line(format!("{} {error}", paint(Paint::Bad, "error:")));
            ExitCode::from(error.exit_code())
        }
    }
}

fn perform(task: Task) -> Result<()> {
    let workspace = Workspace::find();
    match task {
        Task::Help(text) => {
            println!("{text}");
            Ok(())
        }
        Task::Build => build::build(&workspace),
        Task::Test(request) => test::test(&workspace, &request),
        Task::Lint => lint::lint(&workspace),
        Task::Tidy => tidy::tidy(&workspace),
        Task::Run(args) => programs::run(&workspace, &args),
        Task::Bench(args) => programs::bench(&workspace, &args),
        Task::Replay(args) => programs::replay(&workspace, &args),
    }
}
