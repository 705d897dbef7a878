//! The flight recorder of the real daemon.
//!
//! - `what_happened_is_told`: a switch of modes and refusals, from the daemon and from its file
//! - `a_page_of_a_moment`: the post-mortem page
//! - `a_kill_in_mid_write_costs_seconds`: twenty times `kill -9`
//! - `a_kill_at_the_default_interval_costs_less_than_ten_seconds`
//! - `a_damaged_recording_is_put_aside`
//! - `a_full_disk_is_a_fault_until_it_passes`
//! - `a_reload_is_followed`
//!
//! Each has a host of its own.
//!
//! Runs in parallel, and mostly waits.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use limiter_tests::daemon::{DAEMON, Daemon};
use limiter_tests::disk::Disk;
use limiter_tests::veth::Bed;
use limiter_tests::{host, require, scene, wait};
use limiter_user::control::client::Client;
use limiter_user::control::protocol::{RULES, RuleChange, RuleQuery, RuleRemoval, RuleRequest, Verb};
use serde_json::Value;

/// How long a condition may take on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a source may have open.
const LIMIT: usize = 2;
/// What a kill may cost, in milliseconds.
const LOSS_MAX_MS: u64 = 10_000;
/// Kills.
const ROUNDS: u32 = 20;
/// The first address of those that are denied, for the sake of an event: 198.18.0.0.
const FIRST_DENIED: u32 = 0xc612_0000;

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
/// are on it, although the daemon was started anew in the middle of it.
#[test]
fn a_page_of_a_moment() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let _server = scene::server(&bed);
    let mut daemon = Daemon::start(&bed.server, &config());
    let client = bed.client().ipv4().to_string();
    wait_for_a_record(&daemon);
    daemon.ctl_json(&["deny", "198.51.100.1", "--service", "smtp"]);
    let burst = scene::connect(&bed, 5);
    assert_eq!(burst.greeted(), LIMIT);
    // Sources come by the minute, and with the end.
    assert!(daemon.stop().success());
    daemon.start_again();
    wait_for_a_record(&daemon);
    let told = daemon.ctl_json(&["report", "--at", "1s", "--window", "20m"]);
    let mut sources = smtp(&told)["sources"].as_array().into_iter().flatten();
    let source = sources.find(|source| source["source"] == client.as_str());
    let source = source.unwrap_or_else(|| panic!("no {client} in {told}"));
    assert_eq!((source["new"].as_u64(), source["open_max"].as_u64()), (Some(2), Some(2)), "{source}");
    assert!(source["refused"].as_u64() >= Some(3), "{source}");
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
    // The records were there before; the counts are of the daemon that was started again.
    wait::until("it counts what it records", PATIENCE, || {
        ["limiter_recorder_records_total", "limiter_recorder_size_bytes"]
            .iter()
            .all(|name| daemon.count(name, &[]) > 0)
    });
    assert_eq!(daemon.count("limiter_recorder_lost_total", &[]), 0);
}

/// Notes one event after another until told to stop: a rule is added and removed, again and again.
///
/// No prefix comes twice, so that an event that is there twice was recorded twice.
fn note_events(socket: &Path, round: u32, stopped: &AtomicBool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.expect("making a runtime");
    let client = Client::new(socket);
    for n in 0..u32::from(u16::MAX) {
        if stopped.load(Ordering::Relaxed) {
            return;
        }
        let prefix = Ipv4Addr::from(FIRST_DENIED + (round << 16) + n).to_string();
        let (verb, service) = (Verb::Deny, None);
        let rule = RuleRequest { verb, prefix: prefix.clone(), service: None, ttl: None, note: None };
        // The last ones are not answered: the daemon is gone.
        drop(runtime.block_on(client.post::<RuleChange>(RULES, &rule)));
        drop(runtime.block_on(client.delete::<RuleRemoval>(RULES, &RuleQuery { prefix, service })));
    }
}

/// Kills a daemon that notes one event after another, once so much was written and so much time has passed;
/// returns when: its end may wait for the disk.
fn kill_in_mid_write(daemon: &mut Daemon<'_>, round: u32, writes: u32, after: Duration) -> u64 {
    let log = recording(daemon).with_extension("db-wal");
    // Its length tells nothing: it begins anew in place.
    let written = || fs::metadata(&log).and_then(|metadata| metadata.modified()).ok();
    let (socket, stopped) = (daemon.socket(), AtomicBool::new(false));
    let began = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| note_events(&socket, round, &stopped));
        let (mut last, mut seen) = (written(), 0);
        wait::until("writes go on", PATIENCE, || {
            let now = written();
            let is_write = now != last;
            (last, seen) = (now, seen + u32::from(is_write));
            // Right behind a write: the next one, or its synchronisation, is under way.
            is_write && seen >= writes && began.elapsed() >= after
        });
        let killed_ms = now_ms();
        daemon.kill();
        stopped.store(true, Ordering::Relaxed);
        killed_ms
    })
}

/// Returns how old the last counters and the last event of a daemon were when it was killed.
#[track_caller]
fn lost_ms(daemon: &Daemon<'_>, killed_ms: u64) -> (u64, u64) {
    let told = history(daemon);
    assert!(!events(&told, "start").is_empty(), "events from before it are there: {told}");
    let counters_ms = told["state"]["at_ms"].as_u64().expect("there are records");
    let last = told["events"].as_array().and_then(|events| events.last()).expect("there are events");
    let event_ms = last["at_ms"].as_u64().expect("an event has a time");
    (killed_ms.saturating_sub(counters_ms), killed_ms.saturating_sub(event_ms))
}

/// Whatever is being written when the daemon is killed, the recording opens, has no event twice, and
/// lacks at most the last ten seconds.
///
/// Writes are seen as going on: the daemon is killed right behind one of them, each round at another point
/// between two records of counters.
#[test]
fn a_kill_in_mid_write_costs_seconds() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let mut daemon = Daemon::start(&bed.server, &config());
    let mut worst = (0, 0);
    for round in 0..ROUNDS {
        let after = Duration::from_millis(40) * round;
        let killed_ms = kill_in_mid_write(&mut daemon, round, 8 + round / 2, after);
        let lost = lost_ms(&daemon, killed_ms);
        assert!(lost.0.max(lost.1) <= LOSS_MAX_MS, "round {round}: {lost:?} ms of counters, of events");
        worst = (worst.0.max(lost.0), worst.1.max(lost.1));
        daemon.start_again();
        assert!(!recording(&daemon).with_extension("db.damaged").exists(), "round {round}: it opens");
    }
    println!("{ROUNDS} kills in mid-write cost {} ms of counters and {} ms of events", worst.0, worst.1);
    let mut rules = events(&history(&daemon), "rule");
    let noted = rules.len();
    rules.sort_unstable();
    rules.dedup();
    assert_eq!(rules.len(), noted, "no event is there twice");
    assert!(noted > 8 * ROUNDS as usize, "{noted} events");
}

/// At the interval that an operator has who sets none, a kill just before the next record costs less
/// than ten seconds of counters, and no event of before.
#[test]
fn a_kill_at_the_default_interval_costs_less_than_ten_seconds() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let mut daemon = Daemon::start(&bed.server, &scene::config(LIMIT));
    wait_for_a_record(&daemon);
    let recorded_ms = history(&daemon)["state"]["at_ms"].as_u64().expect("there are records");
    wait::until("the next record is near", PATIENCE, || now_ms() >= recorded_ms + LOSS_MAX_MS - 1_500);
    let killed_ms = kill_in_mid_write(&mut daemon, 0, 2, Duration::ZERO);
    let lost = lost_ms(&daemon, killed_ms);
    println!("a kill just before the next record cost {} ms of counters and {} ms of events", lost.0, lost.1);
    assert!(lost.0 >= LOSS_MAX_MS / 2, "the next record was not made yet: {lost:?}");
    assert!(lost.0 <= LOSS_MAX_MS && lost.1 <= 1_000, "{lost:?} ms of counters, of events");
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
