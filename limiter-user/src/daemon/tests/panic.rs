//! Panic: detached until `resume`, whoever makes the mark, whatever happens in between.

use super::{
    CONFIG, NOW, ip, kind,
    lasting::{boot, findings, write},
    rule,
};
use crate::{
    control::{
        error::Kind,
        protocol::{Health, PanicRequest, Verb},
    },
    daemon::Boot,
    state::{Panic, marker},
};

fn request(note: &str) -> PanicRequest {
    PanicRequest { note: note.into(), sent_ms: None }
}

/// It is detached, says so first and loudly, and is attached again with what was changed meanwhile.
#[test]
fn a_panic_lasts_until_resume() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), CONFIG);
    let (mut daemon, memory) = boot(directory.path(), NOW);
    assert_eq!(kind(daemon.resume(None, "uid 0", NOW)), Kind::NotFound);
    let state = daemon.panic(&request("ticket 7"), "uid 0", NOW).unwrap();
    assert!(state.is_panic && state.not_saved.is_none() && memory.world().detached);
    let status = daemon.status(NOW);
    assert_eq!(status.health, Health::Failing);
    assert!(status.findings[0].starts_with("panic since ") && status.findings[0].contains("ticket 7"));
    assert!(daemon.snapshot(NOW).is_panic);
    daemon.add_rule(rule(Verb::Deny, "192.0.2.7"), "uid 0".into(), NOW).unwrap();
    daemon.second(NOW.plus_s(1));
    assert!(memory.world().detached, "nothing attaches it by itself");

    daemon.resume(None, "uid 0", NOW.plus_s(2)).unwrap();
    assert!(!memory.world().detached && marker::read(&directory.path().join("state")).is_none());
    assert!(!findings(&mut daemon).contains("panic"));
    assert!(memory.connect(ip("192.0.2.7"), super::SMTP).is_refusal(), "the rule is in force");
}

/// A daemon that starts under the mark knows before it attaches; one that runs notices a mark that
/// was made without it, and its going.
#[test]
fn the_mark_is_what_counts() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), CONFIG);
    let state = directory.path().join("state");
    let (mut daemon, memory) = boot(directory.path(), NOW);
    marker::write(&state, &Panic { since_s: 5, who: "uid 0 without limiterd".into(), note: String::new() })
        .unwrap();
    assert!(Boot::read(&directory.path().join("limiter.toml"), NOW).unwrap().kept.panic.is_some());
    daemon.second(NOW.plus_s(1));
    assert!(memory.world().detached && findings(&mut daemon).contains("without limiterd"));
    marker::remove(&state).unwrap();
    daemon.second(NOW.plus_s(2));
    assert!(!memory.world().detached && !findings(&mut daemon).contains("panic"));
}

/// With a disk that takes nothing everything is detached all the same, and stays so; the answer says
/// what it is worth.
#[test]
fn a_full_disk_does_not_stop_a_panic() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), CONFIG);
    let (mut daemon, memory) = boot(directory.path(), NOW);
    let state = directory.path().join("state");
    std::fs::remove_dir_all(&state).unwrap();
    std::fs::write(&state, "in the way").unwrap();
    let answer = daemon.panic(&request(""), "uid 0", NOW).unwrap();
    assert!(answer.not_saved.is_some() && memory.world().detached);
    daemon.second(NOW.plus_s(1));
    assert!(memory.world().detached, "no mark was there to go");
    daemon.resume(None, "uid 0", NOW.plus_s(2)).unwrap();
    assert!(!memory.world().detached);
}

/// A mark that the disk does not give up does not bring back a panic that is over; it goes once the disk lets it.
#[test]
fn a_mark_that_stays_is_no_new_panic() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), CONFIG);
    let state = directory.path().join("state");
    let (mut daemon, memory) = boot(directory.path(), NOW);
    // A directory in the place of the mark reads as one, and is no file to be removed.
    std::fs::create_dir_all(state.join("panic/in the way")).unwrap();
    daemon.second(NOW.plus_s(1));
    assert!(memory.world().detached);
    let answer = daemon.resume(None, "uid 0", NOW.plus_s(2)).unwrap();
    assert!(answer.not_saved.is_some() && !answer.is_panic);
    daemon.second(NOW.plus_s(3));
    assert!(!memory.world().detached && findings(&mut daemon).contains("mark of a panic that is over"));
    std::fs::remove_dir_all(state.join("panic")).unwrap();
    daemon.second(NOW.plus_s(4));
    // The next panic is one.
    marker::write(&state, &Panic { since_s: 9, who: "uid 0".into(), note: String::new() }).unwrap();
    daemon.second(NOW.plus_s(5));
    assert!(memory.world().detached);
}

/// What could not be detached is tried again every second.
#[test]
fn detaching_is_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), CONFIG);
    let (mut daemon, memory) = boot(directory.path(), NOW);
    memory.world().broken = Some("detach");
    assert_eq!(kind(daemon.panic(&request(""), "uid 0", NOW)), Kind::Rejected);
    daemon.second(NOW.plus_s(1));
    assert!(!memory.world().detached);
    memory.world().broken = None;
    daemon.second(NOW.plus_s(2));
    assert!(memory.world().detached);
}

/// A daemon that hung must not do later what was done without it, and finds that nothing is attached any more.
#[test]
fn a_daemon_that_was_passed_by_finds_out() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), CONFIG);
    let (mut daemon, memory) = boot(directory.path(), NOW);
    let late = NOW.plus_s(60);
    let sent_ms = Some(NOW.unix_ms);
    assert_eq!(kind(daemon.panic(&PanicRequest { sent_ms, ..request("") }, "uid 0", late)), Kind::Rejected);
    assert!(!memory.world().detached);
    memory.world().taken_off = true;
    daemon.look_at_network(Ok(vec![ip("192.0.2.1")]), late);
    assert!(!memory.world().taken_off && !memory.world().detached, "it attached again");
}
