//! One uninterrupted time of watching: events as they come, looks at the whole
//! table when events were lost or cannot tell everything, and the statistics.

use std::{
    io::{self, PipeReader, Read as _},
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use super::{Lock, is_closed, locked, stand};
use crate::conntrack::{
    guard::{Guard, Guarded},
    message::{Entry, Kind, Message, Messages},
    socket::{self, Answer, DATAGRAM_BYTES, Received},
    stats::{self, Fill, Statistics},
    table::Look,
    view::{Standing, What},
};

/// How often statistics are read.
const TICK: Duration = Duration::from_secs(1);
/// How often the whole table is looked at while the end of some entries would not be told.
const REFRESH: Duration = Duration::from_secs(10);
/// The longest pause between overruns and looks at the table, when it is one overrun after the other.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How long there must be no overrun for the next one to be looked after at once.
const CALM: Duration = Duration::from_mins(1);
/// How long events that are waiting are taken in before a look: more than that and they come faster than that.
const DRAIN: Duration = Duration::from_secs(2);
/// Events taken in before anything else is looked at.
const BATCH: usize = 512;

/// The watcher is to end.
pub(super) struct Ended;

/// Why the whole table is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// Nothing is known, or other entries matter.
    Start,
    /// Events were lost.
    Overrun,
    /// The end of some entries would not be told.
    Refresh,
}

/// What is needed to watch.
pub(super) struct Session<'a> {
    shared: &'a Lock,
    events: socket::Events,
    guard: Guard,
    buffer: Vec<u8>,
    batch: Vec<(Kind, Entry, Guarded)>,
    wanted: Option<Why>,
    looked_at: Option<Instant>,
    pause: Duration,
    ticked_at: Option<Instant>,
    lost: u64,
}

impl<'a> Session<'a> {
    pub(super) fn open(shared: &'a Lock) -> io::Result<Self> {
        let guard = {
            let mut shared = locked(shared);
            shared.is_guard_new = false;
            shared.is_complete = false;
            // The kernel's counts are taken in whole again.
            shared.statistics = Statistics::default();
            shared.guard.clone()
        };
        Ok(Self {
            shared,
            events: socket::Events::open(&guard.ports())?,
            guard,
            buffer: vec![0; DATAGRAM_BYTES],
            batch: Vec::with_capacity(BATCH),
            wanted: Some(Why::Start),
            looked_at: None,
            pause: Duration::ZERO,
            ticked_at: None,
            lost: 0,
        })
    }

    pub(super) fn run(&mut self, mut woken: &PipeReader) -> io::Result<Ended> {
        loop {
            let waiting = self.drain()?;
            self.tick()?;
            if self.is_look_due() {
                self.look()?;
            }
            let timeout = if waiting { PollTimeout::ZERO } else { self.timeout() };
            let mut ready = [
                PollFd::new(self.events.as_fd(), PollFlags::POLLIN),
                PollFd::new(woken.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut ready, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            if is_closed(&ready[1]) {
                return Ok(Ended);
            }
            if ready[1].any() == Some(true) {
                woken.read_exact(&mut [0])?;
                self.follow()?;
            }
        }
    }

    /// Watches what matters by now.
    fn follow(&mut self) -> io::Result<()> {
        let mut shared = locked(self.shared);
        if std::mem::take(&mut shared.is_guard_new) {
            self.guard = shared.guard.clone();
            shared.is_complete = false;
            drop(shared);
            self.events.filter(&self.guard.ports())?;
            self.want(Why::Start);
        }
        Ok(())
    }

    /// Takes in some of the events that are waiting; returns whether there are more.
    fn drain(&mut self) -> io::Result<bool> {
        let (mut overrun, mut more) = (false, false);
        self.batch.clear();
        for n in 1..=BATCH {
            match self.events.receive(&mut self.buffer)? {
                Received::Datagram(length) => {
                    read(self.buffer.get(..length).unwrap_or_default(), &self.guard, &mut self.batch);
                    more = n == BATCH;
                }
                Received::Overrun => overrun = true,
                Received::Nothing => break,
            }
        }
        let mut guard = locked(self.shared);
        let shared = &mut *guard;
        for (kind, entry, guarded) in &self.batch {
            match kind {
                Kind::Destroy => {
                    shared.events.destroy += 1;
                    shared.table.remove(entry, *guarded);
                }
                kind => {
                    let count =
                        if *kind == Kind::New { &mut shared.events.new } else { &mut shared.events.update };
                    *count += 1;
                    shared.table.update(entry, *guarded);
                }
            }
        }
        drop(guard);
        if overrun {
            self.overrun();
        }
        Ok(more)
    }

    /// Notes that events were lost.
    fn overrun(&mut self) {
        if self.wanted == Some(Why::Overrun) {
            // Noted, and not yet looked after.
            return;
        }
        tracing::warn!("conntrack had more events than there was room for");
        let mut shared = locked(self.shared);
        shared.events.overrun += 1;
        shared.happenings.push(What::Overrun);
        shared.is_complete = false;
        let calm = shared.overrun_at.replace(Instant::now()).is_none_or(|at| at.elapsed() > CALM);
        self.pause = if calm { Duration::ZERO } else { (2 * self.pause).clamp(TICK, PAUSE_MAX) };
        self.wanted = Some(Why::Overrun);
    }

    /// Looks at the whole table, and goes on taking in events meanwhile.
    fn look(&mut self) -> io::Result<()> {
        let Some(why) = self.wanted else { return Ok(()) };
        let began = Instant::now();
        // What is waiting is older than the answer. The kernel goes on losing events until nothing waits.
        while self.drain()? && began.elapsed() < DRAIN {}
        self.wanted = None;
        let lost_before = self.events.lost();
        let looked = self.ask();
        self.looked_at = Some(Instant::now());
        let lost = self.events.lost();
        if lost != lost_before {
            self.overrun();
        }
        let mut shared = locked(self.shared);
        let found = match looked {
            Ok(found) => found,
            Err(error) => {
                shared.table.abandon_look();
                return Err(error);
            }
        };
        let gone = shared.table.end_look();
        // Events lost meanwhile want another look.
        shared.is_complete = self.wanted.is_none();
        if why != Why::Overrun {
            return Ok(());
        }
        let look = Look { entries: shared.table.len(), found, gone };
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let what = What::Resync { lost: lost.map(|lost| lost.saturating_sub(self.lost)), look, took_ms };
        tracing::warn!(what = what.sentence(), "conntrack is in step again");
        shared.events.resync += 1;
        shared.happenings.push(what);
        drop(shared);
        self.note_lost(lost);
        Ok(())
    }

    /// Takes in the kernel's answer; returns how many entries were not known.
    fn ask(&mut self) -> io::Result<u64> {
        let mut answer = Answer::entries()?;
        locked(self.shared).table.begin_look();
        let (mut found, mut batch) = (0, Vec::new());
        loop {
            let guard = &self.guard;
            let more = answer.next(&mut self.buffer, |message| batch.extend(guarded(message, guard)))?;
            let mut shared = locked(self.shared);
            for (entry, guarded) in batch.drain(..) {
                found += u64::from(shared.table.found(&entry, guarded));
            }
            drop(shared);
            if !more {
                return Ok(found);
            }
            self.drain()?;
        }
    }

    /// Reads statistics, if it is time.
    fn tick(&mut self) -> io::Result<()> {
        if self.ticked_at.is_some_and(|at| at.elapsed() < TICK) {
            return Ok(());
        }
        self.ticked_at = Some(Instant::now());
        let mut answer = Answer::statistics()?;
        let mut statistics = locked(self.shared).statistics.clone();
        while answer.next(&mut self.buffer, |message| {
            if message.kind == Kind::Statistics {
                statistics.take(message);
            }
        })? {}
        let is_mute = stats::is_mute();
        stand(self.shared, if is_mute { Standing::Looking } else { Standing::Watching });
        let mut shared = locked(self.shared);
        shared.statistics = statistics;
        shared.fill = Fill::read();
        let untold = is_mute || shared.table.unheard() > 0;
        drop(shared);
        let lost = self.events.lost();
        if lost.is_some_and(|lost| lost > self.lost) {
            self.overrun();
        }
        self.note_lost(lost);
        if untold && self.looked_at.is_some_and(|at| at.elapsed() >= REFRESH) {
            self.want(Why::Refresh);
        }
        Ok(())
    }

    fn note_lost(&mut self, lost: Option<u64>) {
        let Some(lost) = lost else { return };
        locked(self.shared).events.lost += lost.saturating_sub(self.lost);
        self.lost = lost;
    }

    /// Wants a look, unless one is wanted for a better reason.
    fn want(&mut self, why: Why) {
        self.wanted.get_or_insert(why);
    }

    /// Returns when a look that is wanted may begin.
    fn look_at(&self) -> Option<Instant> {
        let why = self.wanted?;
        let now = Instant::now();
        Some(match (why, self.looked_at) {
            (Why::Overrun, Some(at)) => at + self.pause,
            _ => now,
        })
    }

    fn is_look_due(&self) -> bool {
        self.look_at().is_some_and(|at| at <= Instant::now())
    }

    /// Returns how long there is nothing to do but to wait for events.
    fn timeout(&self) -> PollTimeout {
        let tick = self.ticked_at.map_or_else(Instant::now, |at| at + TICK);
        let due = self.look_at().map_or(tick, |look| look.min(tick));
        // Rounded up: waking too early would be a turn for nothing.
        let left = due.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    }
}

/// Reads the events of a datagram that matter.
fn read(bytes: &[u8], guard: &Guard, batch: &mut Vec<(Kind, Entry, Guarded)>) {
    for message in Messages(bytes) {
        if matches!(message.kind, Kind::New | Kind::Update | Kind::Destroy)
            && let Some((entry, guarded)) = guarded(&message, guard)
        {
            batch.push((message.kind, entry, guarded));
        }
    }
}

/// Returns the entry a message is about, if it matters.
fn guarded(message: &Message<'_>, guard: &Guard) -> Option<(Entry, Guarded)> {
    let entry = message.entry(|port| guard.wants(port))?;
    guard.classify(&entry).map(|guarded| (entry, guarded))
}
