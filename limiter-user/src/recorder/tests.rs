//! The recorder on a directory of its own: what is written, what is read, and what becomes of a bad file.

use std::{
    fs,
    io::{Seek as _, SeekFrom, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use prometheus_client::metrics::MetricType;

use super::{
    Event, EventKind, FILE, ReadError,
    database::bytes_on_disk,
    history,
    minute::SourceRow,
    prune::Bounds,
    read::Reader,
    store::{Batch, Store},
};
use crate::{
    config::RecorderSettings,
    control::protocol::{History, HistoryQuery},
    metrics::families::{Family, Value},
};

const START_MS: u64 = 1_700_000_000_000;
const SETTINGS: RecorderSettings = RecorderSettings {
    enabled: true,
    keep: Duration::from_hours(14 * 24),
    size_max: 256 << 20,
    interval: Duration::from_secs(10),
};

/// A directory with a recording.
struct Recording {
    directory: tempfile::TempDir,
    store: Store,
}

impl Recording {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (store, aside) = Store::open(&directory.path().join(FILE)).unwrap();
        assert_eq!(aside, None, "nothing was there");
        Self { directory, store }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join(FILE)
    }

    /// Records counters, so many seconds after the start.
    fn record(&mut self, at_s: u64, families: &[Family]) {
        let counters = Some((START_MS + at_s * 1_000, families));
        self.store.write(&Batch { counters, ..Batch::default() }, &SETTINGS, START_MS).unwrap();
    }

    /// Records an event, so many seconds after the start.
    fn event(&mut self, at_s: u64, kind: EventKind, service: Option<&str>) {
        let event = event(at_s, kind, service);
        let batch = Batch { events: &[event], ..Batch::default() };
        self.store.write(&batch, &SETTINGS, START_MS).unwrap();
    }

    /// Reads so many seconds after the start.
    fn read(&self, from_s: u64, until_s: u64) -> History {
        history(&self.path(), &query(from_s, until_s)).unwrap()
    }
}

fn event(at_s: u64, kind: EventKind, service: Option<&str>) -> Event {
    let text = format!("{} at {at_s}", kind.word());
    Event { at_ms: START_MS + at_s * 1_000, kind, service: service.map(str::to_owned), text }
}

fn query(from_s: u64, until_s: u64) -> HistoryQuery {
    let at = |second| START_MS + second * 1_000;
    HistoryQuery { from_ms: at(from_s), until_ms: at(until_s), service: None, at_ms: None, sources: true }
}

/// What a scrape of one service would hold.
fn families(accepted: u64, refused: u64, open: u64) -> Vec<Family> {
    let service = || ("service", "smtp".to_owned());
    let packets = |verdict: &str, reason: &str, count| {
        let labels = vec![
            service(),
            ("verdict", verdict.to_owned()),
            ("reason", reason.to_owned()),
            ("point", "gate".to_owned()),
        ];
        (labels, Value::Whole(count))
    };
    let mut verdicts = vec![packets("pass", "within_limits", accepted)];
    if refused > 0 {
        verdicts.push(packets("refuse", "connections_per_source", refused));
    }
    let family = |name, kind, samples| Family { name, help: "", kind, samples };
    let mode = |mode: &str, is_on: u64| (vec![service(), ("mode", mode.to_owned())], Value::Whole(is_on));
    vec![
        family("limiter_packets", MetricType::Counter, verdicts),
        family("limiter_connections", MetricType::Gauge, vec![(vec![service()], Value::Whole(open))]),
        family("limiter_mode", MetricType::Gauge, vec![mode("observe", 0), mode("enforce", 1)]),
        family("limiter_policy_revision", MetricType::Gauge, vec![(vec![], Value::Whole(7))]),
    ]
}

/// The figures of a line: what was counted, and the points that are there.
fn line(history: &History, what: &str) -> (f64, Vec<f64>) {
    let line = history.services[0].lines.iter().find(|line| line.what == what);
    let line = line.unwrap_or_else(|| panic!("no {what} in {history:?}"));
    (line.total, line.points.iter().flatten().copied().collect())
}

/// A window is read from the whole record before it, and what was counted is what grew in it.
#[test]
fn a_window_is_read_without_what_came_before() {
    let mut recording = Recording::new();
    for n in 0..200_u64 {
        recording.record(n * 10, &families(n * 5, 0, n % 7));
    }
    let history = recording.read(1_000, 1_600);
    assert_eq!((history.records, history.step_ms), (61, 20_000));
    let (accepted, rates) = line(&history, "accepted");
    assert!((accepted - 61.0 * 5.0).abs() < 1e-9, "{accepted}");
    assert!(rates[..29].iter().all(|rate| (rate - 0.5).abs() < 1e-9), "{rates:?}");
    let (open, levels) = line(&history, "open");
    assert!((open - 6.0).abs() < 1e-9 && levels.iter().all(|level| *level <= 6.0), "{open} {levels:?}");
    let state = history.state.unwrap();
    assert_eq!((state.revision, state.modes["smtp"].as_str()), (Some(7), "enforce"));
}

/// A series that appears counts from its first value on; counters that begin anew lose nothing.
#[test]
fn series_that_appear_and_begin_anew_are_counted() {
    let mut recording = Recording::new();
    recording.record(0, &families(100, 0, 1));
    recording.record(10, &families(110, 3, 1));
    recording.record(20, &families(4, 5, 1));
    let history = recording.read(0, 60);
    assert!((line(&history, "accepted").0 - 14.0).abs() < 1e-9, "what was there at first is not new");
    assert!((line(&history, "refused: connections_per_source").0 - 5.0).abs() < 1e-9);
}

/// What was written is there after a reopening, which goes on with the same series.
#[test]
fn a_recording_is_gone_on_with() {
    let mut recording = Recording::new();
    recording.record(0, &families(1, 1, 1));
    recording.event(5, EventKind::Mode, Some("smtp"));
    let path = recording.path();
    drop(recording.store);
    let (store, aside) = Store::open(&path).unwrap();
    assert_eq!(aside, None);
    recording.store = store;
    recording.record(10, &families(3, 1, 1));
    let history = recording.read(0, 60);
    assert_eq!((history.records, history.events.len()), (2, 1));
    assert!((line(&history, "accepted").0 - 2.0).abs() < 1e-9);
    let series = Reader::open(&path).unwrap().series().unwrap();
    assert_eq!(series.len(), 6, "no series twice: {series:?}");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "addresses are nobody else's matter");
}

/// Events come in order, those of a service with those of all; an unknown service is said to be one.
#[test]
fn events_are_told_in_order() {
    let mut recording = Recording::new();
    recording.record(0, &families(1, 1, 1));
    for (at_s, kind, service) in [
        (30, EventKind::Breaker, Some("smtp")),
        (10, EventKind::Start, None),
        (20, EventKind::Mode, Some("imap")),
    ] {
        recording.event(at_s, kind, service);
    }
    let of = |service: Option<&str>| {
        let query = HistoryQuery { service: service.map(str::to_owned), ..query(0, 60) };
        let history = history(&recording.path(), &query);
        history.map(|found| found.events.into_iter().map(|event| event.kind).collect::<Vec<_>>())
    };
    assert_eq!(of(None).unwrap(), ["start", "mode", "breaker"]);
    assert_eq!(of(Some("smtp")).unwrap(), ["start", "breaker"]);
    let Err(ReadError::NoSuchService { known, .. }) = of(Some("pop")) else { panic!("it is unknown") };
    assert_eq!(known, "smtp");
}

/// Sources of a window are added up, the most refused first.
#[test]
fn sources_are_added_up() {
    let mut recording = Recording::new();
    recording.record(0, &families(1, 1, 1));
    let row = |source: &str, open, new, refused| {
        let (service, source) = ("smtp".to_owned(), source.to_owned());
        SourceRow { service, source, open, new, refused }
    };
    for (at_s, rows) in [
        (60, [row("192.0.2.1", 5, 10, 0), row("192.0.2.2", 1, 1, 40)]),
        (120, [row("192.0.2.1", 9, 10, 1), row("192.0.2.2", 2, 0, 2)]),
    ] {
        let batch = Batch { sources: Some((START_MS + at_s * 1_000, &rows)), ..Batch::default() };
        recording.store.write(&batch, &SETTINGS, START_MS).unwrap();
    }
    let found = &recording.read(0, 300).services[0].sources;
    let found: Vec<_> = found.iter().map(|s| (s.source.as_str(), s.open_max, s.new, s.refused)).collect();
    assert_eq!(found, [("192.0.2.2", 2, 1, 42), ("192.0.2.1", 9, 20, 1)]);
}

/// What is older than `keep` goes, with series that nothing has any more.
#[test]
fn the_old_is_pruned() {
    let mut recording = Recording::new();
    recording.record(0, &families(1, 1, 1));
    recording.event(0, EventKind::Start, None);
    let later_s = 15 * 24 * 3_600;
    let now_ms = START_MS + later_s * 1_000;
    for at_s in [later_s, later_s + 60] {
        let families = families(2, 0, 1);
        let counters = Some((START_MS + at_s * 1_000, families.as_slice()));
        recording.store.write(&Batch { counters, ..Batch::default() }, &SETTINGS, now_ms).unwrap();
    }
    let history = recording.read(0, later_s + 600);
    assert_eq!(history.oldest_ms, Some(now_ms), "the first record is gone");
    assert!(history.events.is_empty());
    let reader = Reader::open(&recording.path()).unwrap();
    let refused = reader
        .series()
        .unwrap()
        .into_iter()
        .filter(|s| s.labels.get("verdict").is_some_and(|v| v == "refuse"));
    assert_eq!(refused.count(), 0);
}

/// However much is written, file and log stay within `size_max`, and the newest is there.
#[test]
fn the_size_is_bounded() {
    let mut recording = Recording::new();
    let settings = RecorderSettings { size_max: 2 << 20, ..SETTINGS };
    let text = "x".repeat(40_000);
    let mut most = 0;
    for n in 0..200_u64 {
        let at_ms = START_MS + n * 20_000;
        let families = families(n, 0, 1);
        let noise = Event { at_ms, kind: EventKind::Fault, service: None, text: text.clone() };
        let batch = Batch { events: &[noise], counters: Some((at_ms, families.as_slice())), sources: None };
        recording.store.write(&batch, &settings, at_ms).unwrap();
        most = most.max(bytes_on_disk(&recording.path()));
    }
    assert!(most <= settings.size_max, "{most} bytes");
    assert!(most > settings.size_max / 2, "and the room is used: {most} bytes");
    let history = recording.read(200 * 20 - 400, 200 * 20);
    assert_eq!(history.records, 20);
    assert!(Bounds::of(&settings) != Bounds::of(&SETTINGS));
}

/// A reader that never ends costs records and not the disk: the log is bounded, and goes on afterwards.
#[test]
fn a_reader_that_holds_on_does_not_fill_the_disk() {
    let mut recording = Recording::new();
    let settings = RecorderSettings { size_max: 2 << 20, ..SETTINGS };
    recording.record(0, &families(1, 0, 1));
    let reader = Reader::open(&recording.path()).unwrap();
    assert_eq!(reader.series().unwrap().len(), 5);
    let text = "x".repeat(40_000);
    let write = |store: &mut Store, n: u64| {
        let noise = event(n, EventKind::Fault, None);
        let noise = Event { text: text.clone(), ..noise };
        store.write(&Batch { events: &[noise], ..Batch::default() }, &settings, START_MS)
    };
    let refused = (0..40).find_map(|n| write(&mut recording.store, n).err());
    assert!(refused.unwrap().to_string().contains("has been reading"));
    assert!(bytes_on_disk(&recording.path()) <= settings.size_max);
    drop(reader);
    write(&mut recording.store, 2_000).unwrap();
}

/// Puts a file in place of a recording and opens it; returns what is said.
fn opened_over(content: impl FnOnce(&Path)) -> (Recording, String) {
    let mut recording = Recording::new();
    for n in 0..300 {
        recording.record(n * 10, &families(n, n, n));
    }
    let path = recording.path();
    drop(recording.store);
    content(&path);
    let (store, aside) = Store::open(&path).unwrap();
    recording.store = store;
    recording.record(10_000, &families(1, 1, 1));
    assert_eq!(recording.read(0, 20_000).records, 1, "recording has begun anew");
    (recording, aside.expect("something is put aside"))
}

/// A file that is damaged is put aside under a name that is said, and recording begins anew.
#[test]
fn what_is_damaged_is_put_aside() {
    let overwrite = |path: &Path, at: u64, bytes: usize| {
        let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(&vec![0xa5; bytes]).unwrap();
    };
    for (what, at, bytes) in [("its head", 0, 100), ("a page", 4_096, 4_096), ("most of it", 100, 30_000)] {
        let (recording, said) = opened_over(|path| overwrite(path, at, bytes));
        let aside = recording.path().with_extension("db.damaged");
        assert!(said.contains("is damaged") && said.contains(&aside.display().to_string()), "{what}: {said}");
        assert!(aside.exists());
    }
    let (_, said) = opened_over(|path| fs::write(path, "no database at all\n".repeat(100)).unwrap());
    assert!(said.contains("is damaged"), "{said}");
}

/// A file of a newer version is put aside as what it is.
#[test]
fn what_is_newer_is_put_aside() {
    let newer = |path: &Path| {
        let connection = rusqlite::Connection::open(path).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
    };
    let (recording, said) = opened_over(newer);
    assert!(said.contains("schema 99") && said.contains("recorder.db.newer"), "{said}");
    newer(&recording.path());
    let error = history(&recording.path(), &query(0, 60)).unwrap_err();
    assert!(error.to_string().contains("newer limiterd"), "{error}");
}

/// Without a recording there is none, which is told apart from one that is empty.
#[test]
fn an_absent_recording_is_said_to_be_absent() {
    let directory = tempfile::tempdir().unwrap();
    let absent = history(&directory.path().join(FILE), &query(0, 60));
    assert!(matches!(absent, Err(ReadError::Absent { .. })), "{absent:?}");
    fs::write(directory.path().join(FILE), "").unwrap();
    let unmade = history(&directory.path().join(FILE), &query(0, 60));
    assert!(matches!(unmade, Err(ReadError::Absent { .. })), "it is being made: {unmade:?}");
    let recording = Recording::new();
    assert_eq!(recording.read(0, 60).records, 0);
}
