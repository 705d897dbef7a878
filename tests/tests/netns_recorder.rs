//! The flight recorder of the real daemon.
//!
//! - `what_happened_is_told`: a switch of modes and refusals, from the daemon and from its file
//! - `a_page_of_a_moment`: the post-mortem page
//! - `kills_in_mid_write_cost_seconds`: twenty times `kill -9`
//! - `a_damaged_recording_is_put_aside`
//! - `a_full_disk_is_a_fault_until_it_passes`
//! - `a_reload_is_followed`

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use limiter_tests::daemon::{DAEMON, Daemon};
use limiter_tests::disk::Disk;
use limiter_tests::veth::Bed;
use limiter_tests::{host, require, scene, wait};
use serde_json::Value;

/// How long a condition may take on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a source may have open.
const LIMIT: usize = 2;
/// What a kill may cost, in milliseconds.
const LOSS_MAX_MS: u64 = 10_000;

/// The scene's configuration, with a record each second.
fn config() -> String {
    format!("{}[recorder]\ninterval = \"1s\"\n", scene::config(LIMIT))
}

/// The recording of a daemon.
fn recording(daemon: &Daemon<'_>) -> PathBuf {
    daemon.config().with_file_name("state").join("recorder.db")
}

/// Where the daemon keeps it, as an argument.
fn state_dir(daemon: &Daemon<'_>) -> String {
    daemon.config().with_file_name("state").display().to_string()
}

/// What is told of the last ten minutes.
#[track_caller]
fn history(daemon: &Daemon<'_>) -> Value {
    daemon.ctl_json(&["history", "--since", "10m", "--state-dir", &state_dir(daemon)])
}

/// Waits until something is recorded.
#[track_caller]
fn wait_for_a_record(daemon: &Daemon<'_>) {
    wait::until("a record is made", PATIENCE, || {
        daemon.ctl(&["history"]).status.success() && history(daemon)["records"].as_u64() > Some(0)
    });
}

/// What is told of the service of these tests.
fn smtp(history: &Value) -> &Value {
    let mut services = history["services"].as_array().into_iter().flatten();
    services.find(|service| service["service"] == "smtp").unwrap_or(&Value::Null)
}

/// What a line of it counted.
fn total(history: &Value, what: &str) -> f64 {
    let lines = smtp(history)["lines"].as_array().into_iter().flatten();
    let mut of = lines.filter(|line| line["what"] == what);
    of.next().and_then(|line| line["total"].as_f64()).unwrap_or_default()
}

/// The events of a kind, by their texts.
fn events(history: &Value, kind: &str) -> Vec<String> {
    let events = history["events"].as_array().into_iter().flatten();
    let of = events.filter(|event| event["kind"] == kind);
    of.map(|event| event["text"].as_str().unwrap_or_default().to_owned()).collect()
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970");
    u64::try_from(since.as_millis()).expect("it fits")
}

/// A switch of modes and refusals are in the history, in order and with their figures; the file tells
/// the same when no daemon answers, and that it does is said on standard error.
#[test]
fn what_happened_is_told() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let _server = scene::server(&bed);
    let mut daemon = Daemon::start(&bed.server, &config());
    wait_for_a_record(&daemon);
    let burst = scene::connect(&bed, 5);
    assert_eq!(burst.greeted(), LIMIT);
    daemon.ctl_json(&["mode", "observe", "--service", "smtp"]);
    let _more = scene::connect(&bed, 3);
    wait::until("all of it is recorded", PATIENCE, || {
        let history = history(&daemon);
        total(&history, "would refuse") >= 3.0 && total(&history, "open") >= 5.0
    });
    let told = history(&daemon);
    assert!(total(&told, "refused: connections_per_source") >= 3.0, "{told}");
    assert!((total(&told, "accepted") - 5.0).abs() < 1e-9, "{told}");
    assert!(events(&told, "mode")[0].contains("switched to observe by uid 0"), "{told}");
    assert_eq!(told["state"]["modes"]["smtp"], "observe");
    assert!(events(&told, "start")[0].contains("started"), "{told}");
    let times: Vec<u64> =
        told["events"].as_array().into_iter().flatten().filter_map(|e| e["at_ms"].as_u64()).collect();
    assert!(times.is_sorted() && !times.is_empty(), "{times:?}");

    let unknown = daemon.ctl(&["history", "--service", "pop"]);
    assert_eq!(unknown.status.code(), Some(1), "{unknown:?}");
    let later = daemon.ctl(&["history", "--since", "yesterday"]);
    assert_eq!(later.status.code(), Some(2), "{later:?}");

    assert!(daemon.stop().success());
    let directory = state_dir(&daemon);
    let output = daemon.ctl(&["history", "--since", "10m", "--state-dir", &directory]);
    let (said, remarks) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{remarks}");
    assert!(remarks.contains("no limiterd answers") && remarks.contains("recorder.db"), "{remarks}");
    assert!(said.contains("switched to observe") && said.contains("limiterd stopped"), "{said}");
    assert!(said.contains("would refuse") && !said.contains('\x1b'), "no colours in a pipe: {said}");
    let absent = daemon.ctl(&["history", "--state-dir", "/nonexistent"]);
    assert_eq!(absent.status.code(), Some(3), "{absent:?}");
}

/// The page says what happened, who and what was in force, and points further; sources of the minute
/// are on it, and nobody else may read the file.
#[test]
fn a_page_of_a_moment() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let _server = scene::server(&bed);
    let daemon = Daemon::start(&bed.server, &config());
    let client = bed.client().ipv4().to_string();
    wait_for_a_record(&daemon);
    daemon.ctl_json(&["deny", "198.51.100.1", "--service", "smtp"]);
    let _burst = scene::connect(&bed, 5);
    // Sources come by the minute.
    wait::until("the sources are recorded", PATIENCE * 4, || {
        let told = daemon.ctl_json(&["report", "--at", "1s", "--window", "20m"]);
        let mut sources = smtp(&told)["sources"].as_array().into_iter().flatten();
        sources.any(|source| source["source"] == client.as_str())
    });
    let page = daemon.ctl(&["report", "--at", "1s", "--window", "20m"]);
    let page = String::from_utf8_lossy(&page.stdout);
    for part in [
        "# What happened around ",
        "## In force\n",
        "configuration ",
        "smtp enforce",
        "**the moment asked for**",
        "deny 198.51.100.1/32 by uid 0",
        "## Service smtp\n",
        "refused: connections_per_source",
        &format!("| {client} |"),
        "`limiterctl top --service smtp --by refused`",
    ] {
        assert!(page.contains(part), "{part:?} is missing in\n{page}");
    }
    assert!(daemon.count("limiter_recorder_records_total", &[]) > 0);
    assert_eq!(daemon.count("limiter_recorder_lost_total", &[]), 0);
    assert!(daemon.count("limiter_recorder_size_bytes", &[]) > 0);
}

/// Whatever is being written when the daemon is killed, the recording opens, has no event twice, and
/// lacks at most the last ten seconds.
///
/// Writes are seen as going on: the daemon is killed while one event after another is noted, and only
/// once the log has grown since its start.
#[test]
fn kills_in_mid_write_cost_seconds() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let _server = scene::server(&bed);
    let mut daemon = Daemon::start(&bed.server, &config());
    let mut worst_ms = 0;
    for round in 0..20_u32 {
        let path = recording(&daemon);
        let log = path.with_extension("db-wal");
        let length = || fs::metadata(&log).map_or(0, |metadata| metadata.len());
        let first = length();
        let socket = daemon.socket();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let began = std::time::Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let ctl = limiter_tests::daemon::binary("limiterctl");
                let mut n = 0_u32;
                while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                    let address = format!("198.51.{round}.{}", n % 250);
                    let mut command = std::process::Command::new(&ctl);
                    command.arg("--socket").arg(&socket).args(["deny", &address, "--ttl", "1h"]);
                    drop(command.output());
                    n += 1;
                }
            });
            // Each round dies at another point of what goes on.
            let goal = 40_000 + u64::from(round) * 1_777;
            let mut seen = (first, 0);
            wait::until("writes go on", PATIENCE, || {
                let now = length();
                if now != seen.0 {
                    seen = (now, seen.1 + now.abs_diff(seen.0));
                }
                seen.1 >= goal && began.elapsed() > Duration::from_millis(1_200)
            });
            daemon.kill();
            drop(stop);
        });
        let killed_ms = now_ms();
        let told = history(&daemon);
        let last_ms = told["state"]["at_ms"].as_u64().expect("there are records");
        worst_ms = worst_ms.max(killed_ms.saturating_sub(last_ms));
        assert!(killed_ms.saturating_sub(last_ms) <= LOSS_MAX_MS, "round {round}: {last_ms} of {killed_ms}");
        assert!(!events(&told, "start").is_empty(), "round {round}: events from before it are there");
        let last = told["events"].as_array().and_then(|events| events.last()).expect("there are events");
        let last_ms = last["at_ms"].as_u64().expect("an event has a time");
        assert!(killed_ms.saturating_sub(last_ms) <= LOSS_MAX_MS, "round {round}: {last} of {killed_ms}");
        daemon.start_again();
        assert!(!path.with_extension("db.damaged").exists(), "round {round}: it opens");
    }
    eprintln!("20 kills in mid-write cost {worst_ms} ms of counters at most");
    let told = history(&daemon);
    let rules = events(&told, "rule");
    let mut once = rules.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), rules.len(), "no event is there twice");
}

/// A recording that was overwritten is put aside, `status` says so and is not failing, and recording begins anew.
#[test]
fn a_damaged_recording_is_put_aside() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let mut daemon = Daemon::start(&bed.server, &config());
    wait_for_a_record(&daemon);
    assert!(daemon.stop().success());
    let path = recording(&daemon);
    fs::write(&path, b"nothing that SQLite knows ".repeat(1_000)).expect("it is the test's own");
    daemon.start_again();
    let aside = path.with_extension("db.damaged");
    wait::until("it is put aside", PATIENCE, || {
        let status = daemon.ctl_json(&["status"]);
        let mut found = status["findings"].as_array().into_iter().flatten();
        found.any(|text| text.as_str().is_some_and(|text| text.contains("recorder.db.damaged")))
    });
    assert!(aside.exists());
    assert_eq!(daemon.get("/healthz").0, 200, "nobody is refused for it");
    wait_for_a_record(&daemon);
}

/// A disk that is full costs records, is shown and takes nobody out of a balancer; what happened meanwhile
/// is recorded when there is room again.
#[test]
fn a_full_disk_is_a_fault_until_it_passes() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let mut daemon = Daemon::start(&bed.server, &config());
    assert!(daemon.stop().success());
    let disk = Disk::mount(&daemon, 1_024);
    daemon.start_again();
    wait_for_a_record(&daemon);
    let is_shown = || {
        let status = daemon.ctl_json(&["status"]);
        let mut found = status["findings"].as_array().into_iter().flatten();
        found.any(|text| text.as_str().is_some_and(|text| text.starts_with("recorder: ")))
    };
    assert!(!is_shown());
    disk.fill();
    wait::until("it is shown", PATIENCE, is_shown);
    assert_eq!(daemon.get("/healthz").0, 200, "nobody is refused for it");
    assert!(daemon.count("limiter_recorder_lost_total", &[]) > 0);
    disk.make_room();
    wait::until("it has passed", PATIENCE, || !is_shown());
    wait::until("what happened meanwhile is recorded", PATIENCE, || {
        let faults = events(&history(&daemon), "fault");
        faults.iter().any(|text| text.starts_with("recorder fails: "))
            && faults.iter().any(|text| text == "recorder works again")
    });
    assert!(daemon.stop().success(), "and it never ended");
}

/// A recorder that is switched off by a reload stops writing, and goes on when it is switched on again.
#[test]
fn a_reload_is_followed() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let daemon =
        Daemon::start(&bed.server, &format!("{}[recorder]\nenabled = false\n", scene::config(LIMIT)));
    wait::until("seconds pass", PATIENCE, || daemon.count("limiter_recount_age_seconds", &[]) >= 1);
    assert!(!recording(&daemon).exists(), "nothing is recorded");
    assert_eq!(daemon.ctl(&["history"]).status.code(), Some(1));
    daemon.configure(&config());
    daemon.ctl_json(&["reload"]);
    wait_for_a_record(&daemon);
}
