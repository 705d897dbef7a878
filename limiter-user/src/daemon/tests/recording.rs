//! What the flight recorder is given in the course of a daemon's life.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use limiter_common::verdict::Verdict;

use super::{CONFIG, NOW, SMTP, WITHIN, ip, lasting};
use crate::{
    clock::Now,
    control::protocol::{History, HistoryQuery, HistorySource},
    daemon::Daemon,
    dataplane::{Dataplane as _, memory::Memory},
    recorder::{FILE, history},
};

/// The address that everybody connects from.
const SOURCE: &str = "192.0.2.7";
/// How long the recorder's thread may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Connects so many times.
fn connect(memory: &Memory, times: usize) -> Vec<Verdict> {
    (0..times).map(|_| memory.connect(ip(SOURCE), SMTP)).collect()
}

/// Waits until the recorder's thread has written so much: it takes one minute at a time.
fn wait_written(daemon: &Daemon, wanted: u64) {
    let end = Instant::now() + PATIENCE;
    while daemon.events.figures().written < wanted {
        assert!(Instant::now() < end, "waited {PATIENCE:?} in vain for {wanted} rows");
        thread::yield_now();
    }
}

/// Reads a span of the recording in a directory.
fn read(directory: &Path, from: Now, until: Now) -> History {
    let query = HistoryQuery {
        from_ms: from.unix_ms,
        until_ms: until.unix_ms,
        service: Some("smtp".into()),
        at_ms: None,
        sources: true,
    };
    history(&directory.join("state").join(FILE), &query).unwrap()
}

/// Returns what is told of the source.
fn source(history: &History) -> Option<&HistorySource> {
    history.services.iter().flat_map(|service| &service.sources).find(|row| row.source == SOURCE)
}

/// Sources come by the minute, and with the end of the daemon: neither what they did in the minute begun
/// is lost, nor what was counted since the last record.
#[test]
fn the_end_of_a_daemon_is_recorded() {
    let directory = tempfile::tempdir().unwrap();
    lasting::write(directory.path(), CONFIG);
    let (mut daemon, memory) = lasting::boot(directory.path(), NOW);
    daemon.start_recorder();
    daemon.second(NOW);
    // The start, what is attached, counters and sources.
    wait_written(&daemon, 1 + memory.attachments().len() as u64 + 2);
    assert_eq!(connect(&memory, 3)[..2], [WITHIN; 2], "the third is refused");
    let minute = NOW.plus_s(60);
    daemon.recount(minute);
    daemon.second(minute);
    let connected = connect(&memory, 4);
    assert!(!connected.contains(&WITHIN), "none of them is let in");
    let end = NOW.plus_s(64);
    daemon.stop(end);

    let row = |open_max, new, refused| HistorySource { source: SOURCE.into(), open_max, new, refused };
    let told = read(directory.path(), NOW.plus_s(1), minute);
    assert_eq!(source(&told), Some(&row(2, 2, 1)), "the minute that was whole");
    let told = read(directory.path(), minute.plus_s(1), end);
    assert_eq!(source(&told), Some(&row(2, 0, 4)), "the seconds after it");
    assert_eq!(told.records, 1, "counters of the end");
    let line = told.services[0].lines.iter().find(|line| line.what.starts_with("refused: ")).unwrap();
    assert!((line.total - 4.0).abs() < 1e-9, "{line:?}");
}

/// A recorder that is switched off is given nothing at the end either.
#[test]
fn an_end_without_a_recorder_is_not_recorded() {
    let directory = tempfile::tempdir().unwrap();
    lasting::write(directory.path(), &format!("{CONFIG}\n[recorder]\nenabled = false\n"));
    let (mut daemon, _memory) = lasting::boot(directory.path(), NOW);
    daemon.start_recorder();
    daemon.second(NOW);
    daemon.stop(NOW.plus_s(5));
    assert!(!directory.path().join("state").join(FILE).exists());
}
