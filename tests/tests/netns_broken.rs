//! Every row of the table of broken configurations, fed to a live daemon.
//!
//! - message with place and remedy, exit status, the old policy in force: `broken_files_*`
//! - whoever reads only the first lines of the errors gets the same exit status: `an_error_*`
#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use limiter_tests::daemon::{self, DAEMON, Daemon, enforcing};
use limiter_tests::raw::{Handshakes, Shape};
use limiter_tests::server::Server;
use limiter_tests::veth::Bed;
use limiter_tests::{host, require, wait};
use nix::sys::signal::Signal;

#[path = "../../limiter-user/src/config/broken/table/mod.rs"]
mod table;

use table::Broken;

/// Kinds of mistakes that the issue asks for.
const KINDS_MIN: usize = 50;
/// How long the daemon may take to read a file and to refuse a SYN, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections that a source may have open.
const LIMIT: u32 = 1;

/// What the daemon says of itself after a broken file.
struct Seen {
    revision: u64,
    reload_error: String,
}

fn seen(daemon: &Daemon<'_>) -> Seen {
    let status = daemon.ctl_json(&["status"]);
    let policy = &status["policy"];
    Seen {
        revision: policy["revision"].as_u64().expect("a number"),
        reload_error: policy["reload_error"].as_str().unwrap_or_default().to_owned(),
    }
}

/// Returns exit status and output of `limiterd --check`.
fn check(path: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(daemon::binary("limiterd"));
    let output = command.arg("--check").arg("--config").arg(path).output().expect("limiterd starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Feeds one row to the check, to the command and to the signal; returns what is wrong.
fn feed(row: &Broken, daemon: &Daemon<'_>, revision: u64, failed_before: u64) -> Vec<String> {
    let path = daemon.config();
    row.put(&path).expect("the file is put in place");
    let mut complaints = Vec::new();
    let (code, said) = check(&path);
    complaints.extend(row.complaint(&path, &said));
    if code != Some(2) {
        complaints.push(format!("--check exits with {code:?}"));
    }
    let output = daemon.ctl(&["reload"]);
    let said = String::from_utf8_lossy(&output.stderr);
    complaints.extend(row.complaint(&path, &said));
    if output.status.code() != Some(1) || !said.contains("the policy in force is unchanged") {
        complaints.push(format!("reload exits with {:?}: {said}", output.status.code()));
    }
    daemon.process().signal(Signal::SIGHUP);
    let failures = || daemon.count("limiter_reloads_total", &[("outcome", "failed")]);
    wait::until_eq("failed reloads", &(failed_before + 2), PATIENCE, failures);
    let now = seen(daemon);
    if now.revision != revision {
        complaints.push(format!("revision {} is in force, not {revision}", now.revision));
    }
    complaints.extend(row.complaint(&path, &now.reload_error));
    complaints
}

/// Each broken file is refused by `--check`, the command and the signal, with the place and a
/// remedy; the policy in force stays, and so does the refusal of a source at its limit.
#[test]
fn broken_files_change_nothing() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let client = bed.client();
    let target = SocketAddr::new(client.server_ipv4(), 25);
    let server = Server::greeting(&bed.server, target);
    let daemon = Daemon::start(&bed.server, &enforcing("auto", LIMIT));
    let source: IpAddr = "192.0.2.7".parse().expect("an address");
    let mut held = Handshakes::in_flight(client, target, &[source], 1);
    held.complete(&Shape::Ack);
    server.wait_held(1, PATIENCE);

    let rows = table::all();
    let kinds: BTreeSet<_> = rows.iter().map(|row| row.says).collect();
    assert!(kinds.len() >= KINDS_MIN, "{} kinds", kinds.len());
    let (start, before) = (Instant::now(), seen(&daemon));
    let mut complaints = Vec::new();
    for (n, row) in (0..).zip(&rows) {
        complaints.extend(feed(row, &daemon, before.revision, 2 * n));
        let mut next = Handshakes::prepare(client, target, &[source], 1);
        next.send_syns();
        assert_eq!(next.wait_for(PATIENCE, |h| h.reset.is_some()), 1, "refused after {row:?}");
    }
    println!("{} files of {} kinds in {:?}", rows.len(), kinds.len(), start.elapsed());
    assert!(complaints.is_empty(), "{}", complaints.join("\n\n"));

    table::remove(&daemon.config()).expect("the broken file goes");
    daemon.configure(&enforcing("auto", LIMIT + 1));
    daemon.ctl_json(&["reload"]);
    let after = seen(&daemon);
    assert!(after.revision > before.revision && after.reload_error.is_empty(), "a good file ends that");
    Handshakes::in_flight(client, target, &[source], 1).complete(&Shape::Ack);
    server.wait_held(2, PATIENCE);
    daemon.assert_sound();
}

/// `limiterd --check | head -1` ends with 2 as it does without `head`.
#[test]
fn an_error_that_nobody_reads_to_its_end_keeps_its_status() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("limiter.toml");
    // Far more than a pipe holds, so that the daemon writes on after its reader has gone.
    let class = format!(
        "[[class]]\nname = \"a\"\nprefixes = [\n{}]\n",
        format!("\"{}\",\n", "x".repeat(150)).repeat(1_000)
    );
    std::fs::write(&path, class).expect("the file is written");
    let mut command = Command::new(daemon::binary("limiterd"));
    command.arg("--check").arg("--config").arg(&path).stderr(Stdio::piped());
    let mut child = command.spawn().expect("limiterd starts");
    let mut stderr = child.stderr.take().expect("standard error is a pipe");
    stderr.read_exact(&mut [0; 10]).expect("it says something");
    drop(stderr);
    assert_eq!(child.wait().expect("it ends").code(), Some(2));
}
