//! Recorded outages, played against the limiter in private network namespaces.
//!
//! A replay has acts: first without the feature that would have helped, to show
//! that the outage happens, then with it. An act reports what happens as it
//! happens and ends with figures, each with what is wanted. The program
//! `replay` prints them; a suite of the same name asserts them.
//!
//! | module | what it owns |
//! | --- | --- |
//! | [`balancer`] | a load balancer that probes and ejects |
//! | [`gehirn`] | the limiter that ate the load balancer |
//! | [`wikimedia`] | the kernel dropped established mail |

pub mod balancer;
pub mod gehirn;
pub mod wikimedia;

use std::time::Duration;

use crate::host::Requirement;
use crate::screen::Look;

/// One recorded outage.
#[derive(Clone, Copy, Debug)]
pub struct Replay {
    /// Its name on the command line.
    pub name: &'static str,
    /// What happened, in a line.
    pub summary: &'static str,
    /// What it needs of the machine, beside the bed and the daemon.
    pub needs: &'static [&'static [Requirement]],
    /// Its acts, in order.
    pub acts: &'static [Act],
}

impl Replay {
    /// Plays an act for a test: prints what happens, and panics unless every figure is met.
    #[track_caller]
    pub fn assert(&self, act: usize) {
        let mut tell = |event: Event| {
            println!("{:6.1} s  {}: {}", event.at.as_secs_f64(), event.who, event.text);
        };
        let figures = (self.acts[act].play)(&mut Stage { tell: &mut tell, go_on: &|| Ok(()) })
            .expect("nobody interrupts it");
        for Figure { what, wanted, measured, .. } in &figures {
            println!("{what}: {measured} ({wanted})");
        }
        let missed: Vec<_> = figures.iter().filter(|figure| !figure.met).collect();
        assert!(missed.is_empty(), "{missed:#?}");
        assert!(!figures.is_empty(), "an act measures something");
    }
}

/// A part of a replay, with a daemon of its own.
#[derive(Clone, Copy, Debug)]
pub struct Act {
    /// What is different in it.
    pub title: &'static str,
    /// Plays it; fails when it is interrupted.
    pub play: fn(&mut Stage<'_>) -> Result<Vec<Figure>, String>,
}

/// Every replay.
pub const ALL: &[Replay] = &[gehirn::REPLAY, wikimedia::REPLAY];

/// Where an act reports to.
pub struct Stage<'a> {
    /// Takes what happens, as it happens.
    pub tell: &'a mut dyn FnMut(Event),
    /// Fails when the replay is to end early.
    pub go_on: &'a dyn Fn() -> Result<(), String>,
}

impl std::fmt::Debug for Stage<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stage").finish_non_exhaustive()
    }
}

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// When, since the act began.
    pub at: Duration,
    /// To whom.
    pub who: &'static str,
    /// What.
    pub text: String,
    /// How good that is.
    pub look: Look,
}

/// A figure that an act measured.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// What is wanted.
    pub wanted: String,
    /// What it was.
    pub measured: String,
    /// Whether that is as wanted.
    pub met: bool,
}

impl Figure {
    /// Returns a figure that is wanted to come within a time; `None` never came.
    #[must_use]
    pub fn within(what: impl Into<String>, limit: Duration, measured: Option<Duration>) -> Self {
        Self {
            what: what.into(),
            wanted: format!("within {} s", limit.as_secs()),
            measured: measured
                .map_or_else(|| "never".to_owned(), |took| format!("{:.1} s", took.as_secs_f64())),
            met: measured.is_some_and(|took| took <= limit),
        }
    }

    /// Returns a figure that is wanted to be one value.
    #[must_use]
    pub fn equal<T: PartialEq + std::fmt::Display>(
        what: impl Into<String>,
        wanted: &T,
        measured: &T,
    ) -> Self {
        Self {
            what: what.into(),
            wanted: wanted.to_string(),
            measured: measured.to_string(),
            met: wanted == measured,
        }
    }
}
