//! The daemon gives up what it does not need, and goes on doing all that it does.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use limiter_tests::daemon::{DAEMON, Daemon, binary};
use limiter_tests::process::Process;
use limiter_tests::veth::Bed;
use limiter_tests::{host, require, wait};

use super::access::SETPRIV;
use super::{LIMIT, SMTP, accepted, address, config, fill, greeter, refused, wait_empty};

/// `CAP_NET_ADMIN` (12), `CAP_PERFMON` (38) and `CAP_BPF` (39), of `include/uapi/linux/capability.h`.
const NEEDED: u64 = 1 << 12 | 1 << 38 | 1 << 39;
/// The three, as setpriv names them.
const GRANTED: &str = "+bpf,+net_admin,+perfmon";
/// A user that no machine has.
const USER: u32 = 61_236;
/// How long a daemon may take to start, and to stop.
const DAEMON_TIME: Duration = Duration::from_secs(30);
/// How long a count may take to show.
const SHOW_TIME: Duration = Duration::from_secs(10);

/// The value of a line of `/proc/PID/task/TID/status`.
fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{name} is in\n{status}")).trim()
}

/// Checks what every thread of a process holds; returns how many there are.
#[track_caller]
fn assert_only_needed(pid: u32) -> usize {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the daemon runs");
    let mut threads = 0;
    for task in tasks.flatten() {
        // A thread that ended meanwhile holds nothing.
        let Ok(status) = fs::read_to_string(task.path().join("status")) else {
            continue;
        };
        let set = |name| u64::from_str_radix(field(&status, name), 16).expect("sets are hexadecimal");
        assert_eq!([set("CapEff"), set("CapPrm")], [NEEDED; 2], "no more and no less:\n{status}");
        assert_eq!([set("CapBnd"), set("CapAmb"), set("CapInh")], [0; 3], "nothing to gain:\n{status}");
        assert_eq!(field(&status, "NoNewPrivs"), "1");
        threads += 1;
    }
    threads
}

/// Every thread holds the three capabilities and nothing else, before and after the daemon did all that it can do.
#[test]
fn every_thread_holds_three_capabilities_and_all_works() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let client = bed.client();
    let server = greeter(&bed, SMTP);
    let mut daemon = Daemon::start(&bed.server, &config());
    let pid = daemon.process().pid();
    assert!(assert_only_needed(pid) >= 2, "the packet path has a thread of its own");

    let status = daemon.ctl_json(&["status"]);
    let held = status["daemon"]["capabilities"].clone();
    assert_eq!(held, serde_json::json!(["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"]));
    assert!(!status["findings"].to_string().contains("may do more"), "{status}");

    let held = fill(client);
    refused(client);
    daemon.ctl_json(&["allow", &address(client)]);
    let allowed = accepted(client);
    daemon.ctl_json(&["remove", &address(client)]);
    refused(client);
    let check = daemon.ctl_json(&["check", &address(client), "--port", "25"]);
    assert_eq!(check["answers"][0]["verdict"], "refuse", "the live program answers: {check}");
    daemon.configure(&config().replace(
        &format!("connections_per_source = {LIMIT}"),
        &format!("connections_per_source = {}", LIMIT + 2),
    ));
    daemon.ctl_json(&["reload"]);
    let last = accepted(client);
    let open = u64::from(LIMIT + 2);
    wait::until_eq("open connections", &open, SHOW_TIME, || daemon.open("smtp"));
    refused(client);
    daemon.wait_recounts(2);
    assert_only_needed(pid);

    drop((held, allowed, last));
    server.close(usize::try_from(open).expect("few"));
    wait_empty(&daemon);
    daemon.assert_sound();
    assert!(daemon.stop().success(), "an ordered stop needs no more either");
    drop(accepted(client));
}

/// A user without privileges to whom systemd gives the three as ambient capabilities runs it as well, where the
/// directories are its own.
#[test]
fn an_ordinary_user_with_three_capabilities_runs_it() {
    require!(host::BED, DAEMON, SETPRIV);
    let bed = Bed::new();
    let client = bed.client();
    let server = greeter(&bed, SMTP);
    let directory = tempfile::tempdir().expect("creating a directory");
    let (home, program) = (directory.path().join("home"), directory.path().join("limiterd"));
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("opening it");
    fs::create_dir(&home).and_then(|()| chown(&home, Some(USER), Some(USER))).expect("making a home");
    fs::copy(binary("limiterd"), &program).expect("copying limiterd");
    let pins = format!("/sys/fs/bpf/limiter-test-{}-user", std::process::id());
    let (file, socket) = (directory.path().join("limiter.toml"), home.join("limiterd.sock"));
    let runtime = format!(
        "[runtime]\nstate_dir = \"{0}/state\"\ncontrol_socket = \"{0}/limiterd.sock\"\npin_dir = \"{pins}\"\n",
        home.display()
    );
    fs::write(&file, config() + &runtime).expect("writing the configuration");

    let mut command = bed.server.command("setpriv");
    let user = USER.to_string();
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--inh-caps", GRANTED]);
    command.args(["--ambient-caps", GRANTED]).arg(&program).arg("--config").arg(&file);
    let process = Process::start("limiterd", &mut command);
    let status = || {
        let mut command = Command::new(binary("limiterctl"));
        command.arg("--socket").arg(&socket).args(["--json", "status"]);
        command.output().ok().filter(|output| output.status.success())
    };
    let answer =
        wait::until_some(DAEMON_TIME, status).unwrap_or_else(|| panic!("it runs:\n{}", process.log()));
    let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
    assert!(["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"].iter().all(|held| answer.contains(held)), "{answer}");

    let held = fill(client);
    refused(client);
    drop(held);
    server.close(usize::try_from(LIMIT).expect("few"));
    assert!(process.stop(DAEMON_TIME).success(), "{}", process.log());
    if Path::new(&pins).exists() {
        fs::remove_dir_all(&pins).expect("removing what was pinned");
    }
}
