//! The thread that watches, and the handle to it.
//!
//! A thread of its own, since events come in whether or not the daemon has
//! time: [`Watcher::start`] gives it what the caller has, which after the start
//! is `CAP_NET_ADMIN` and little more. A lock rather than a queue between the
//! two, since the table is too large to hand over; nobody holds it while
//! waiting for the kernel.

mod session;

use std::{
    io::{self, PipeReader, PipeWriter, Write as _},
    os::fd::AsFd as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{
    Findings, Flow, Guard, View,
    cross::CrossCheck,
    stats::{self, Fill, Statistics},
    table::Table,
    view::{Events, Happening, Happenings, Standing},
};
use crate::{chain::chain, clock::Now};
use session::{Ended, Session};

/// How long to wait after a failure, and between two looks for connection tracking to appear.
const RETRY: Duration = Duration::from_secs(5);

/// What both sides see.
#[derive(Debug, Default)]
struct Shared {
    guard: Guard,
    is_guard_new: bool,
    standing: Standing,
    table: Table,
    /// Whether the table is known to be right, but for what is under way.
    is_complete: bool,
    cross: CrossCheck,
    events: Events,
    statistics: Statistics,
    fill: Option<Fill>,
    happenings: Happenings,
    overrun_at: Option<Instant>,
}

type Lock = Arc<Mutex<Shared>>;

fn locked(shared: &Lock) -> MutexGuard<'_, Shared> {
    // Whoever panicked with the lock left numbers behind, which the next look puts right.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Watches connection tracking until dropped.
#[derive(Debug)]
pub struct Watcher {
    shared: Lock,
    // Closed to end the thread, written to wake it.
    wake: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Begins to watch, in the network namespace of the caller and with its capabilities.
    ///
    /// # Errors
    ///
    /// When the system has no thread or no pipe left.
    pub fn start(guard: Guard) -> io::Result<Self> {
        let (woken, wake) = io::pipe()?;
        let shared = Lock::new(Mutex::new(Shared { guard, ..Shared::default() }));
        let watched = Arc::clone(&shared);
        let thread =
            thread::Builder::new().name("conntrack".into()).spawn(move || watch(&watched, &woken))?;
        Ok(Self { shared, wake: Some(wake), thread: Some(thread) })
    }

    /// Watches other ports, services or addresses from here on; nothing happens if they are the same.
    pub fn guard(&mut self, guard: Guard) {
        let mut shared = locked(&self.shared);
        if shared.guard == guard {
            return;
        }
        shared.guard = guard;
        shared.is_guard_new = true;
        drop(shared);
        if let Some(wake) = &mut self.wake {
            // A thread that is gone has ended for good; view says how it stood.
            drop(wake.write_all(&[0]));
        }
    }

    /// Compares entries with the connections that are open and returns what two checks in a row agree on.
    ///
    /// While the table is not known to be right the findings stay as they are.
    pub fn cross_check(&mut self, flows: &[Flow]) -> Findings {
        let shared = &mut *locked(&self.shared);
        if shared.is_complete && !shared.is_guard_new {
            shared.cross.check(&shared.table, &shared.guard, flows, Now::read().monotonic_s());
        }
        shared.cross.findings().clone()
    }

    /// Returns what there is to see.
    #[must_use]
    pub fn view(&self) -> View {
        let shared = locked(&self.shared);
        View {
            standing: shared.standing.clone(),
            counts: shared.table.counts().clone(),
            overflow: shared.table.overflow(),
            events: shared.events,
            statistics: shared.statistics.clone(),
            fill: shared.fill,
            findings: shared.cross.findings().clone(),
            overrun_age_s: shared.overrun_at.map(|at| at.elapsed().as_secs()),
        }
    }

    /// Returns what happened since the last call.
    #[must_use]
    pub fn happened(&self) -> Vec<Happening> {
        locked(&self.shared).happenings.take()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.wake.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that watches conntrack panicked");
        }
    }
}

/// Watches until the other end of `woken` is closed.
fn watch(shared: &Lock, woken: &PipeReader) {
    loop {
        if stats::is_in_kernel() {
            match Session::open(shared).and_then(|mut session| session.run(woken)) {
                Ok(Ended) => return,
                Err(error) => fail(shared, &error),
            }
        } else {
            stand(shared, Standing::Absent);
        }
        if wait(woken, RETRY) {
            return;
        }
    }
}

/// Notes that watching fails, and says so once.
fn fail(shared: &Lock, error: &io::Error) {
    stand(shared, Standing::Failing(chain(error)));
}

fn stand(shared: &Lock, standing: Standing) {
    let mut shared = locked(shared);
    if shared.standing == standing {
        return;
    }
    match &standing {
        Standing::Failing(error) => tracing::error!(error, "conntrack cannot be watched"),
        Standing::Absent => tracing::info!("no conntrack in this kernel"),
        Standing::Looking => {
            tracing::warn!("conntrack tells of no changes; it is looked at every few seconds");
        }
        Standing::Watching | Standing::Idle => tracing::info!("conntrack is watched"),
    }
    if !matches!(standing, Standing::Watching | Standing::Looking) {
        shared.table = Table::default();
        shared.is_complete = false;
        shared.fill = None;
    }
    shared.standing = standing;
}

/// Waits; returns whether the thread is to end.
fn wait(woken: &PipeReader, time: Duration) -> bool {
    let mut ready = [PollFd::new(woken.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
    // An interrupted wait is a short one.
    poll(&mut ready, timeout).is_ok() && is_closed(&ready[0])
}

/// Returns whether the writing end of a pipe is gone.
fn is_closed(pipe: &PollFd<'_>) -> bool {
    pipe.revents().is_some_and(|events| events.contains(PollFlags::POLLHUP))
}
