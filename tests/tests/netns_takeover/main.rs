//! A daemon that dies, is replaced or finds what does not fit: no gap, no count lost.
//!
//! | module | what it shows |
//! | --- | --- |
//! | `deaths` | ten kills under load; what is attached goes on, and for how long |
//! | `upgrades` | a stop that keeps everything, pins that do not fit, pins of others |
//! | `keys` | prefix lengths and ports change under open connections |
//! | `leftovers` | a stop and a cleanup leave nothing |
#![forbid(unsafe_code)]

mod deaths;
mod keys;
mod leftovers;
mod upgrades;

use std::time::Duration;

use limiter_tests::daemon::Daemon;
use limiter_tests::scene;

/// How long a condition may take on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a source may have open.
const LIMIT: usize = 12;

/// The configuration of most tests here.
fn config() -> String {
    scene::config(LIMIT)
}

/// How many connections there are by source, from a recount made for it.
fn by_source(daemon: &Daemon<'_>) -> Vec<u64> {
    let top = daemon.ctl_json(&["top"]);
    top["sources"].as_array().expect("sources").iter().filter_map(|s| s["open"].as_u64()).collect()
}

/// One source holds so many connections, and recounts have nothing to correct.
#[track_caller]
fn assert_one_source_holds(daemon: &Daemon<'_>, wanted: u64) {
    assert_eq!(daemon.open("smtp"), wanted);
    for _ in 0..3 {
        assert_eq!(by_source(daemon), [wanted], "one source holds all");
    }
    daemon.assert_sound();
}
