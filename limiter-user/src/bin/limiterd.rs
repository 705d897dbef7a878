//! `limiterd`: parses what was typed, and leaves the rest to the library.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::Parser;
use limiter_user::{
    chain::chain,
    clock::Now,
    config::Config,
    daemon::{self, Boot, RunError, run::signals},
    dataplane::kernel::{self, KernelOpening},
};
use tracing_subscriber::EnvFilter;

/// The daemon did not start, or ended by an error.
const FAILED: u8 = 1;
/// The configuration is wrong.
const BAD_CONFIG: u8 = 2;
/// Messages shown where `RUST_LOG` does not say otherwise.
const LOG_FILTER: &str = "info";

/// Limits connections per source address, in the kernel.
#[derive(Debug, Parser)]
#[command(name = "limiterd", version)]
struct Args {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Say whether the configuration is good, and do nothing else; 0 is good, 2 is bad.
    #[arg(long, conflicts_with = "cleanup")]
    check: bool,
    /// Detach and remove everything that an earlier limiterd left, and do nothing else.
    #[arg(long)]
    cleanup: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let bad_config = |errors| {
        say(io::stderr(), errors);
        BAD_CONFIG.into()
    };
    if args.check {
        return Config::load(&args.config).map_or_else(bad_config, |config| {
            for warning in config.warnings() {
                say(io::stderr(), format_args!("warning: {warning}"));
            }
            let (file, hash) = (args.config.display(), config.hash());
            say(io::stdout(), format_args!("{file} is good, hash {hash}"));
            ExitCode::SUCCESS
        });
    }
    log_to_stderr();
    if args.cleanup {
        return Config::load(&args.config).map_or_else(bad_config, |config| clean_up(&config));
    }
    let boot = match Boot::read(&args.config, Now::read()) {
        Ok(boot) => boot,
        Err(errors) => return bad_config(errors),
    };
    match run(boot) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(io::stderr(), format_args!("limiterd: {}", chain(&error)));
            FAILED.into()
        }
    }
}

/// Tells people something. Whoever reads no further, as `head` does, changes nothing of the outcome.
fn say(mut to: impl Write, what: impl Display) {
    drop(writeln!(to, "{what}"));
}

/// Removes what a daemon of this configuration left behind.
fn clean_up(config: &Config) -> ExitCode {
    let pin_dir = &config.runtime.pin_dir;
    match kernel::clean_up_unused(pin_dir) {
        Ok(removed) => {
            for path in &removed {
                say(io::stdout(), format_args!("removed {path}"));
            }
            let (directory, count) = (pin_dir.display(), removed.len());
            say(io::stdout(), format_args!("{directory}: {count} pins removed"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(io::stderr(), format_args!("limiterd: {}", chain(&error)));
            FAILED.into()
        }
    }
}

/// Runs on one thread; the packet path has one of its own.
fn run(boot: Boot) -> Result<(), RunError> {
    let system = |step| move |source| RunError::System { step, source };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("start the runtime"))?;
    runtime.block_on(async {
        let signals = signals().map_err(system("take signals"))?;
        daemon::run(boot, KernelOpening::new, signals).await
    })
}

/// Logs for people on a terminal, and for the journal, which has clock and colours of its own, elsewhere.
fn log_to_stderr() {
    let terminal = std::io::stderr().is_terminal();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG_FILTER));
    let logs =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    if terminal {
        logs.init();
    } else {
        logs.without_time().with_ansi(false).init();
    }
}
