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
    PanicRequest { note: note.into() }
}

/// It is detached, says so first and loudly, and is attached again with what was changed meanwhile.
#[test]
fn a_panic_lasts_until_resume() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), CONFIG);
    let (mut daemon, memory) = boot(directory.path(), NOW);
    assert_eq!(kind(daemon.resume("uid 0", NOW)), Kind::NotFound);
    let state = daemon.panic(&request("ticket 7"), "uid 0", NOW).unwrap();
    assert!(state.is_panic && state.not_saved.is_none() && memory.world().detached);
    let status = daemon.status(NOW);
    assert_eq!(status.health, Health::Failing);
    assert!(status.findings[0].starts_with("panic since ") && status.findings[0].contains("ticket 7"));
    assert!(daemon.snapshot(NOW).is_panic);
    daemon.add_rule(rule(Verb::Deny, "192.0.2.7"), "uid 0".into(), NOW).unwrap();
    daemon.second(NOW.plus_s(1));
    assert!(memory.world().detached, "nothing attaches it by itself");

    daemon.resume("uid 0", NOW.plus_s(2)).unwrap();
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
    daemon.resume("uid 0", NOW.plus_s(2)).unwrap();
    assert!(!memory.world().detached);
}
