//! What outlives the daemon, on real disks: long lists, disks that are full, disks that are read-only.
//!
//! - `a_long_list_survives_a_kill`
//! - `a_full_disk_costs_no_rule`, `a_read_only_disk_costs_no_rule`

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use limiter_tests::daemon::{DAEMON, Daemon};
use limiter_tests::disk::Disk;
use limiter_tests::veth::Bed;
use limiter_tests::{host, require, scene, wait};

/// How long a condition may take on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a source may have open.
const LIMIT: usize = 2;
/// How long an import of 100,000 prefixes may take, on such a machine.
const IMPORT_TIME: Duration = Duration::from_secs(10);
/// KiB of a disk that is soon full.
const DISK_KIB: u32 = 512;
/// Tries so many connections at once; returns how many were let in.
fn let_in(bed: &Bed, count: usize) -> usize {
    scene::connect(bed, count).greeted()
}

/// 100,000 prefixes are imported in seconds and are there after a kill; one bad line changes nothing.
#[test]
fn a_long_list_survives_a_kill() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let _server = scene::server(&bed);
    let mut daemon = Daemon::start(&bed.server, &scene::config(LIMIT));
    assert_eq!(let_in(&bed, 4), LIMIT, "it limits");
    let mut text = format!("# partners\n{}\n", bed.client().ipv4());
    for n in 0..99_999_u32 {
        writeln!(text, "100.{}.{}.{}/31", 64 + (n >> 15), n >> 7 & 255, (n & 127) << 1).expect("memory");
    }
    let file = daemon.config().with_file_name("partners.txt");
    let name = file.display().to_string();
    fs::write(&file, text.clone() + "mail.example.org\n").expect("writing a list");
    let output = daemon.ctl(&["import", &name]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("{name}:100002: ")), "the line is named: {said}");
    assert_eq!(let_in(&bed, 1), 0, "nothing was imported");

    fs::write(&file, text).expect("writing a list");
    let began = Instant::now();
    let change = daemon.ctl_json(&["import", &name, "--note", "partners"]);
    let took = began.elapsed();
    eprintln!("100,000 prefixes imported in {took:.2?}");
    assert_eq!(change["added"], 100_000);
    assert!(took < IMPORT_TIME, "{took:?}");
    assert_eq!(let_in(&bed, 5), 5, "who is on the list is exempt");
    daemon.kill();
    daemon.start_again();
    assert_eq!(let_in(&bed, 5), 5, "and still is");
    let exported = daemon.ctl(&["export"]).stdout;
    assert_eq!(String::from_utf8_lossy(&exported).lines().count(), 100_000);
    wait::until("the list is accounted for", PATIENCE, || {
        let rules = daemon.ctl_json(&["list"])["rules"].clone();
        let rules = rules.as_array().expect("rules").iter();
        rules.filter_map(|rule| rule["used"]["accepted"].as_u64()).sum::<u64>() >= 5
    });
    daemon.assert_sound();
}

/// While the disk takes nothing a rule is in force all the same, and the answer, `status` and
/// `/healthz` say what it is worth; once the disk takes it again it lasts.
fn costs_no_rule(config: &str, break_disk: fn(&Disk), mend_disk: fn(&Disk)) {
    let bed = Bed::new();
    let _server = scene::server(&bed);
    let mut daemon = Daemon::start(&bed.server, config);
    assert!(daemon.stop().success());
    let disk = Disk::mount(&daemon, DISK_KIB);
    daemon.start_again();
    let kept = daemon.ctl_json(&["deny", "198.51.100.1"]);
    assert_eq!(kept["not_saved"], serde_json::Value::Null, "the disk takes it");

    break_disk(&disk);
    let client = bed.client().ipv4().to_string();
    let change = daemon.ctl_json(&["deny", &client]);
    assert!(change["not_saved"].is_string(), "{change}");
    assert_eq!(let_in(&bed, 1), 0, "it is in force at once");
    assert_eq!(daemon.get("/healthz").0, 503);
    let file = daemon.config().display().to_string();
    assert_eq!(daemon.ctl(&["apply", &file]).status.code(), Some(1), "no net, no rope");
    daemon.kill();
    daemon.start_again();
    let listed = daemon.ctl_json(&["list"]).to_string();
    assert!(listed.contains("198.51.100.1"), "what was kept is there: {listed}");

    daemon.ctl_json(&["deny", &client]);
    mend_disk(&disk);
    wait::until("the disk takes it", PATIENCE, || daemon.get("/healthz").0 == 200);
    daemon.kill();
    daemon.start_again();
    assert_eq!(let_in(&bed, 1), 0, "and so it lasts");
    assert!(daemon.stop().success());
}

/// No space left on the device.
#[test]
fn a_full_disk_costs_no_rule() {
    require!(host::BED, DAEMON);
    costs_no_rule(&scene::config(LIMIT), Disk::fill, Disk::make_room);
}

/// A file system that was mounted read-only, as after an error.
///
/// Without the flight recorder: the kernel does not mount anew, read-only, what has files open for writing.
#[test]
fn a_read_only_disk_costs_no_rule() {
    require!(host::BED, DAEMON);
    let config = format!("{}[recorder]\nenabled = false\n", scene::config(LIMIT));
    costs_no_rule(&config, |disk| disk.remount("ro"), |disk| disk.remount("rw"));
}
