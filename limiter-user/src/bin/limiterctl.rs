//! `limiterctl`: parses what was typed, and leaves the rest to the library.

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
};

use clap::Parser;
use limiter_user::ctl::{self, Args, Exit, Screen};

fn main() -> ExitCode {
    let args = Args::parse();
    let is_terminal = io::stdout().is_terminal();
    let colour = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let screen = Screen { is_terminal, colour };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("limiterctl: cannot start: {error}");
            return Exit::Refused.into();
        }
    };
    runtime.block_on(ctl::run(args, screen, &mut io::stdout(), &mut io::stderr())).into()
}
