//! The thread that writes, and the queue before it.
//!
//! Whoever hands something over never waits: what finds the queue full is lost,
//! and counted. While the disk takes nothing, events wait and records are lost.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use super::{
    Event, FILE,
    database::{StoreError, bytes_on_disk},
    minute::{Minute, Minutes},
    store::{Batch, Store},
};
use crate::{
    chain::chain, clock::Now, config::RecorderSettings, daemon::snapshot::Snapshot,
    metrics::families::families,
};

/// What may wait for the disk. A choice: minutes of records, or a burst of events.
const QUEUE: usize = 256;
/// Events that are kept while the disk takes nothing.
const EVENTS_KEPT: usize = 1_000;

/// What the thread is told.
enum Message {
    Event(Event),
    Counters(Box<Snapshot>),
    Minute(Box<Minute>),
    Settings(RecorderSettings),
}

/// What metrics show of the recorder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Bytes of the file and its log.
    pub size_bytes: u64,
    /// Records, minutes and events that were written.
    pub written: u64,
    /// Those that were not.
    pub lost: u64,
}

/// Why nothing is recorded, or not all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RecorderFault(String);

/// What both sides see.
#[derive(Debug, Default)]
struct Shared {
    fault: Mutex<Option<String>>,
    /// What was put aside since the start.
    aside: Mutex<Option<String>>,
    size_bytes: AtomicU64,
    written: AtomicU64,
    lost: AtomicU64,
    /// A minute waits: it is large, so there is one at a time.
    minute_waits: AtomicBool,
}

/// The daemon's side of the recorder.
#[derive(Debug)]
pub struct Recorder {
    messages: SyncSender<Message>,
    /// Hangs up when the thread ends.
    ended: Receiver<()>,
    shared: Arc<Shared>,
    path: PathBuf,
    settings: RecorderSettings,
    /// When the next record and the next minute are due, on the monotonic clock.
    record_at_s: u64,
    minute_at_s: u64,
}

impl Recorder {
    /// Starts the thread; it makes the file when there is something to write.
    ///
    /// # Errors
    ///
    /// When the system has no thread left.
    pub fn start(directory: &Path, settings: RecorderSettings) -> io::Result<Self> {
        let (messages, queue) = sync_channel(QUEUE);
        let (end, ended) = sync_channel(1);
        let shared = Arc::new(Shared::default());
        let path = directory.join(FILE);
        let writer = Writer {
            path: path.clone(),
            settings,
            shared: Arc::clone(&shared),
            store: None,
            minutes: Minutes::default(),
            events: VecDeque::new(),
        };
        thread::Builder::new().name("recorder".into()).spawn(move || {
            writer.run(&queue);
            drop(end);
        })?;
        Ok(Self { messages, ended, shared, path, settings, record_at_s: 0, minute_at_s: 0 })
    }

    /// Returns where it writes.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes over settings that were changed.
    pub fn follow(&mut self, settings: RecorderSettings) {
        if self.settings != settings && self.messages.try_send(Message::Settings(settings)).is_ok() {
            self.settings = settings;
        }
    }

    /// Hands an event over.
    pub(super) fn event(&self, event: Event) {
        if self.settings.enabled {
            self.send(Message::Event(event));
        }
    }

    /// Whether counters are due; if so, the next time they are is set.
    pub fn is_record_due(&mut self, now: Now) -> bool {
        let interval_s = self.settings.interval.as_secs();
        self.settings.enabled && is_due(&mut self.record_at_s, interval_s, now)
    }

    /// Whether the sources of a minute are due, likewise.
    pub fn is_minute_due(&mut self, now: Now) -> bool {
        self.settings.enabled
            && !self.shared.minute_waits.load(Ordering::Acquire)
            && is_due(&mut self.minute_at_s, MINUTE_S, now)
    }

    /// Hands counters over.
    pub fn counters(&self, snapshot: Snapshot) {
        self.send(Message::Counters(Box::new(snapshot)));
    }

    /// Hands the sources of a minute over.
    pub fn minute(&self, minute: Minute) {
        self.shared.minute_waits.store(true, Ordering::Release);
        if !self.send(Message::Minute(Box::new(minute))) {
            self.shared.minute_waits.store(false, Ordering::Release);
        }
    }

    /// Returns what keeps it from recording, if anything.
    ///
    /// # Errors
    ///
    /// That is the fault.
    pub fn outcome(&self) -> Result<(), RecorderFault> {
        if !self.settings.enabled {
            return Ok(());
        }
        read(&self.shared.fault).map_or(Ok(()), |fault| Err(RecorderFault(fault)))
    }

    /// Returns what was put aside since the start, as a fault: it stands until the daemon is started again.
    ///
    /// # Errors
    ///
    /// That is the fault.
    pub fn put_aside(&self) -> Result<(), RecorderFault> {
        read(&self.shared.aside).map_or(Ok(()), |fault| Err(RecorderFault(fault)))
    }

    /// Returns what metrics show.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let Shared { size_bytes, written, lost, .. } = &*self.shared;
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Figures { size_bytes: load(size_bytes), written: load(written), lost: load(lost) }
    }

    /// Ends the thread after what is in the queue, or gives up on it.
    pub(super) fn finish(self, patience: Duration) {
        let Self { messages, ended, .. } = self;
        drop(messages);
        if ended.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the recorder is slow; its last records may be missing");
        }
    }

    /// Returns whether there was room in the queue.
    fn send(&self, message: Message) -> bool {
        let sent = self.messages.try_send(message).is_ok();
        if !sent {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
        sent
    }
}

/// Seconds of a minute.
const MINUTE_S: u64 = 60;

/// Whether a time has come; the next one is as far from it as the interval says, as long as that lies ahead.
fn is_due(at_s: &mut u64, interval_s: u64, now: Now) -> bool {
    let now_s = now.monotonic_s();
    let due = now_s >= *at_s;
    if due {
        let next = *at_s + interval_s;
        *at_s = if next > now_s { next } else { now_s + interval_s };
    }
    due
}

/// Returns a text that both sides see; a panic of the other side leaves it whole.
fn read(text: &Mutex<Option<String>>) -> Option<String> {
    text.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn set(text: &Mutex<Option<String>>, to: Option<String>) {
    *text.lock().unwrap_or_else(PoisonError::into_inner) = to;
}

/// The thread's side.
struct Writer {
    path: PathBuf,
    settings: RecorderSettings,
    shared: Arc<Shared>,
    /// None while it could not be opened.
    store: Option<Store>,
    minutes: Minutes,
    /// Events that are not on disk yet.
    events: VecDeque<Event>,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Message>) {
        while let Ok(message) = queue.recv() {
            match message {
                Message::Settings(settings) => self.settings = settings,
                Message::Event(event) => {
                    self.keep(event);
                    // A burst of them is one transaction.
                    let mut after = None;
                    while let Ok(message) = queue.try_recv() {
                        match message {
                            Message::Event(event) => self.keep(event),
                            other => {
                                after = Some(other);
                                break;
                            }
                        }
                    }
                    match after {
                        Some(message) => self.take(message),
                        None => self.write(&Batch::default()),
                    }
                }
                other => self.take(other),
            }
        }
        if !self.events.is_empty() {
            self.write(&Batch::default());
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Settings(settings) => self.settings = settings,
            Message::Event(event) => {
                self.keep(event);
                self.write(&Batch::default());
            }
            Message::Counters(snapshot) => {
                let families = families(&snapshot);
                let counters = Some((snapshot.now.unix_ms, families.as_slice()));
                self.write(&Batch { counters, ..Batch::default() });
            }
            Message::Minute(minute) => {
                let rows = self.minutes.take(&minute);
                self.shared.minute_waits.store(false, Ordering::Release);
                self.write(&Batch { sources: Some((minute.at_ms, &rows)), ..Batch::default() });
            }
        }
    }

    fn keep(&mut self, event: Event) {
        if self.events.len() == EVENTS_KEPT {
            self.events.pop_front();
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
        self.events.push_back(event);
    }

    /// Writes what there is, with the events that wait.
    fn write(&mut self, batch: &Batch<'_>) {
        let others = u64::from(batch.counters.is_some()) + u64::from(batch.sources.is_some());
        let waiting: Vec<Event> = self.events.iter().cloned().collect();
        let batch = Batch { events: &waiting, ..*batch };
        match self.try_write(&batch) {
            Ok(()) => {
                self.shared.written.fetch_add(others + waiting.len() as u64, Ordering::Relaxed);
                self.events.clear();
                set(&self.shared.fault, None);
            }
            Err(error) => {
                self.shared.lost.fetch_add(others, Ordering::Relaxed);
                self.recover(&error);
            }
        }
        self.shared.size_bytes.store(bytes_on_disk(&self.path), Ordering::Relaxed);
    }

    fn try_write(&mut self, batch: &Batch<'_>) -> Result<(), StoreError> {
        let store = match &mut self.store {
            // A file that somebody removed would go on taking records that nobody can read.
            Some(store) if self.path.exists() => store,
            empty => {
                let (store, aside) = Store::open(&self.path)?;
                if let Some(aside) = aside {
                    set(&self.shared.aside, Some(aside));
                }
                empty.insert(store)
            }
        };
        store.write(batch, &self.settings, Now::read().unix_ms)
    }

    /// Shows what is wrong; a file that turned out to be damaged is put aside.
    fn recover(&mut self, error: &StoreError) {
        set(&self.shared.fault, Some(chain(error)));
        let Some(store) = self.store.take_if(|_| error.is_damage()) else { return };
        match store.put_aside() {
            Ok(aside) => {
                let (path, aside) = (self.path.display(), aside.display());
                let why = chain(error);
                let text =
                    format!("{path} is damaged ({why}): it is kept as {aside}, and recording has begun anew");
                set(&self.shared.aside, Some(text));
            }
            Err(error) => set(&self.shared.fault, Some(chain(&error))),
        }
    }
}
