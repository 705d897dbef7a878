//! The control socket asks the kernel who is at the other end.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};

use limiter_tests::daemon::{DAEMON, Daemon, binary};
use limiter_tests::host::Requirement;
use limiter_tests::veth::Bed;
use limiter_tests::{host, require};

use super::config;

/// What runs a command as somebody else.
pub(super) const SETPRIV: &[Requirement] = &[Requirement::Command("setpriv", "util-linux")];
/// A user that no machine has, and a group that may write.
const STRANGER: &str = "61234";
const GROUP: &str = "61235";

/// `limiterctl` where everybody can run it, beside a socket that everybody can look for.
fn open_house(daemon: &Daemon) -> PathBuf {
    let directory = daemon.config().parent().expect("the file is in a directory").to_owned();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).expect("opening the directory");
    let program = directory.join("limiterctl");
    fs::copy(binary("limiterctl"), &program).expect("copying limiterctl");
    program
}

/// Runs `limiterctl` as a user without privileges that is in these groups.
fn ctl_as_stranger(daemon: &Daemon, groups: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", STRANGER, "--regid", STRANGER]);
    if groups.is_empty() {
        command.arg("--clear-groups");
    } else {
        command.args(["--groups", groups]);
    }
    command.arg(open_house(daemon)).arg("--socket").arg(daemon.socket()).args(arguments);
    command.output().unwrap_or_else(|e| panic!("starting {command:?}: {e}"))
}

/// Checks that a command ends with `code`; returns what it said.
#[track_caller]
fn ends_with(output: &Output, code: i32) -> String {
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

/// Where all may ask, a stranger asks, and changes nothing; a member of the group changes, under its own name.
#[test]
fn strangers_ask_and_members_change() {
    require!(host::BED, DAEMON, SETPRIV);
    let bed = Bed::new();
    let runtime = format!("control_group = {GROUP}\ncontrol_read = \"all\"");
    let daemon = Daemon::start_with(&bed.server, &config(), &runtime);
    let revision = daemon.ctl_json(&["status"])["policy"]["revision"].clone();

    for question in [&["status"][..], &["list"], &["top"], &["drops"], &["check", "192.0.2.7"]] {
        ends_with(&ctl_as_stranger(&daemon, "", question), 0);
    }
    let changes: [&[&str]; 5] = [
        &["allow", "192.0.2.7"],
        &["deny", "192.0.2.7"],
        &["remove", "192.0.2.7"],
        &["mode", "observe"],
        &["reload"],
    ];
    for change in changes {
        let said = ends_with(&ctl_as_stranger(&daemon, "", change), 1);
        assert!(said.contains("may change anything") && said.contains("run limiterctl as root"), "{said}");
        assert!(daemon.process().log().contains(&format!("uid {STRANGER} pid ")), "the refusal is logged");
    }
    assert_eq!(daemon.ctl_json(&["status"])["policy"]["revision"], revision, "nothing has changed");

    ends_with(&ctl_as_stranger(&daemon, GROUP, &["allow", "192.0.2.7"]), 0);
    let list = daemon.ctl_json(&["list"]);
    let rules = list["rules"].as_array().expect("a list of rules");
    let rule = rules.iter().find(|rule| rule["prefix"] == "192.0.2.7/32");
    let who = rule.and_then(|rule| rule["who"].as_str()).unwrap_or_default();
    assert!(who.starts_with(&format!("uid {STRANGER} pid ")), "the rule names who made it: {list}");
}

/// Where only the group may ask, a stranger cannot even connect, and is told what would help.
#[test]
fn a_closed_socket_is_for_root_and_the_group() {
    require!(host::BED, DAEMON, SETPRIV);
    let bed = Bed::new();
    let daemon = Daemon::start_with(&bed.server, &config(), &format!("control_group = {GROUP}"));
    let said = ends_with(&ctl_as_stranger(&daemon, "", &["status"]), 1);
    assert!(said.contains("control_group"), "{said}");
    ends_with(&ctl_as_stranger(&daemon, GROUP, &["status"]), 0);
    ends_with(&ctl_as_stranger(&daemon, GROUP, &["reload"]), 0);
    let mode = fs::metadata(daemon.socket()).expect("the socket is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
}
