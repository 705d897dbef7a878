//! `limiterctl selftest`: whole dialogues through the host's own ruleset.
//!
//! | module | what it owns |
//! | --- | --- |
//! | `place` | the private namespace, its link to the host, and that both go again |
//! | `sink` | the SMTP server in there |
//! | `dialogue` | the client's side of what is said |
//! | `steps` | which dialogues there are, one after the other |
//! | `counters` | what the kernel counted meanwhile |
//! | `blame` | what a failure means, and what to look at |
//! | [`report`] | what comes out, for people and for scripts |

mod blame;
mod counters;
mod dialogue;
mod place;
pub mod report;
mod sink;
mod steps;

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use place::Link;
use report::{Report, Step};

/// How often something is looked at that is waited for.
const LOOK: Duration = Duration::from_millis(50);

/// A port of a service to talk to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The service.
    pub service: String,
    /// Its port.
    pub port: u16,
}

/// What to test, and where counters are.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// What to talk to from outside.
    pub targets: Vec<Target>,
    /// Where the daemon serves its metrics; none where no daemon runs.
    pub metrics: Option<SocketAddr>,
}

/// Why nothing could be tested, or not to the end.
#[derive(Debug, thiserror::Error)]
pub enum SelftestError {
    /// A signal ended it.
    #[error("interrupted; the link and the namespace are gone")]
    Interrupted,
    /// The host is not fit for it.
    #[error("{0}")]
    Unfit(String),
    /// A system call or a command failed.
    #[error("cannot {what}")]
    Failed {
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl SelftestError {
    /// Returns what helps.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Interrupted => "run `limiterctl selftest` again: what it did not come to is not known",
            Self::Unfit(_) | Self::Failed { .. } => {
                "run `limiterctl selftest` as root, one at a time, where its addresses are free"
            }
        }
    }

    fn failed(what: impl Into<String>, source: io::Error) -> Self {
        Self::Failed { what: what.into(), source }
    }
}

/// Looks again and again until there is something, or until the time is over.
fn wait_for<T>(time: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let limit = Instant::now() + time;
    loop {
        let is_last = Instant::now() >= limit;
        let found = look();
        if found.is_some() || is_last {
            return found;
        }
        thread::sleep(LOOK);
    }
}

/// Runs the test and hands each step to `tell` as it ends.
///
/// # Errors
///
/// Fails if the place for it cannot be made, or at SIGINT and SIGTERM; nothing is left then either.
pub async fn run(plan: Plan, mut tell: impl FnMut(&Step)) -> Result<Report, SelftestError> {
    let waiting = |kind| signal(kind).map_err(|e| SelftestError::failed("wait for signals", e));
    let (mut interrupt, mut terminate) =
        (waiting(SignalKind::interrupt())?, waiting(SignalKind::terminate())?);
    let link = Arc::new(Link::default());
    let (sender, mut told) = mpsc::unbounded_channel();
    // A thread of its own and not one of tokio's: an interrupted dialogue must not keep the process.
    let worker = {
        let link = Arc::clone(&link);
        thread::spawn(move || steps::run(&plan, &link, &sender))
    };
    let is_interrupted = loop {
        tokio::select! {
            step = told.recv() => match step {
                Some(step) => tell(&step),
                None => break false,
            },
            _ = interrupt.recv() => break true,
            _ = terminate.recv() => break true,
        }
    };
    if is_interrupted {
        link.end()?;
        return Err(SelftestError::Interrupted);
    }
    worker.join().unwrap_or_else(|_| Err(SelftestError::Unfit("the selftest panicked".to_owned())))
}
