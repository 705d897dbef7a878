//! Attaching, a second daemon, and an ordered stop.

use std::fs;
use std::io;
use std::time::Duration;

use limiter_tests::daemon::{DAEMON, Daemon, binary};
use limiter_tests::netns::Namespace;
use limiter_tests::process::Process;
use limiter_tests::veth::Bed;
use limiter_tests::xdp::{Action, Attached, XdpMode};
use limiter_tests::{host, require};

use super::{SMTP, accepted, config, connect, fill, greeter, refused};

/// How long a daemon that cannot start, or has nothing left to do, may take to end.
const FAILURE_TIME: Duration = Duration::from_secs(30);
/// How long a stop may take: answers under way have two seconds.
const STOP_TIME: Duration = Duration::from_secs(5);

/// Starts one more daemon in `namespace` that has to fail; returns what it said.
#[track_caller]
fn fails_to_start(namespace: &Namespace, config: &str) -> String {
    let directory = tempfile::tempdir().expect("creating a directory");
    let file = directory.path().join("limiter.toml");
    fs::write(&file, config).expect("writing a configuration");
    let mut command = namespace.command(&binary("limiterd").to_string_lossy());
    let process = Process::start("a second limiterd", command.arg("--config").arg(&file));
    let status = process.wait_exit(FAILURE_TIME);
    assert_eq!(status.code(), Some(1), "it fails to start:\n{}", process.log());
    process.log()
}

/// A configuration whose runtime files are in `directory`.
fn with_runtime(config: &str, directory: &str) -> String {
    format!(
        "{config}[runtime]\ncontrol_socket = \"{directory}/limiterd.sock\"\nmetrics_listen = \"127.0.0.1:9591\"\n"
    )
}

/// Whether an XDP program is on a device of the namespace.
fn has_xdp(namespace: &Namespace, device: &str) -> bool {
    namespace.output("ip", &["link", "show", "dev", device]).contains("xdp")
}

/// A second daemon on the same socket is refused before it touches anything, and says why.
#[test]
fn two_daemons_do_not_share_a_socket() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let _server = greeter(&bed, SMTP);
    let daemon = Daemon::start(&bed.server, &config());
    let directory = daemon.socket().parent().expect("a socket is in a directory").display().to_string();
    let said = fails_to_start(&bed.server, &with_runtime(&config(), &directory));
    assert!(said.contains("another limiterd answers on"), "{said}");
    assert!(said.contains("stop it first"), "it says what helps: {said}");
    let held = fill(bed.client());
    refused(bed.client());
    drop(held);
}

/// Who insists on the driver is told of a foreign XDP program, which stays where it is.
#[test]
fn a_foreign_xdp_program_is_not_replaced() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let _foreign = Attached::new(&bed.server, "srv0", Action::Pass, XdpMode::Driver);
    let directory = tempfile::tempdir().expect("creating a directory");
    let native = format!("attach = \"native\"\n{}", config());
    let said = fails_to_start(&bed.server, &with_runtime(&native, &directory.path().display().to_string()));
    assert!(said.contains("srv0 has an XDP program that is not limiter's"), "{said}");
    assert!(said.contains("attach = \"none\""), "it says what helps: {said}");
    assert!(has_xdp(&bed.server, "srv0"), "the foreign program is still there");
}

/// Where the driver has no XDP, `auto` attaches in the network stack and says so; `native` insists.
#[test]
fn auto_falls_back_to_generic() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let on_loopback = config().replace("srv0", "lo");
    let directory = tempfile::tempdir().expect("creating a directory");
    let native = format!("attach = \"native\"\n{on_loopback}");
    let said = fails_to_start(&bed.server, &with_runtime(&native, &directory.path().display().to_string()));
    assert!(said.contains("attaching XDP to lo"), "{said}");

    let daemon = Daemon::start(&bed.server, &on_loopback);
    let status = daemon.ctl_json(&["status"]);
    assert_eq!(status["attachments"][0]["interface"], "lo");
    assert_eq!(status["attachments"][0]["mode"], "generic");
    assert_eq!(daemon.count("limiter_attach_info", &[("interface", "lo"), ("mode", "generic")]), 1);
    assert!(daemon.process().log().contains("the driver does not take XDP"), "the log says so");
}

/// One daemon guards several interfaces under one count of connections each source.
#[test]
fn several_interfaces_are_guarded() {
    require!(host::BED, DAEMON);
    let bed = Bed::plan().clients(3).build();
    let _server = greeter(&bed, SMTP);
    let daemon =
        Daemon::start(&bed.server, &config().replace("[\"srv0\"]", "[\"srv0\", \"srv1\", \"srv2\"]"));
    let held: Vec<_> = bed.clients.iter().flat_map(fill).collect();
    for client in &bed.clients {
        refused(client);
    }
    let labels = [("verdict", "refuse"), ("point", "syn"), ("reason", "connections_per_source")];
    assert_eq!(daemon.count("limiter_packets_total", &labels), 3);
    assert_eq!(daemon.ctl_json(&["status"])["attachments"].as_array().map(Vec::len), Some(3));
    drop(held);
}

/// A reset sent from the driver is lost on a veth whose peer has no XDP program, and status says so;
/// from the network stack it arrives.
#[test]
fn a_veth_without_a_program_at_its_peer_needs_generic() {
    require!(host::BED, DAEMON);
    let bed = Bed::plan().without_pass().build();
    let client = bed.client();
    let _server = greeter(&bed, SMTP);
    let mut daemon = Daemon::start(&bed.server, &config());
    let status = daemon.ctl_json(&["status"]);
    let remark = status["attachments"][0]["remark"].as_str().unwrap_or_default();
    assert!(remark.contains("XDP program of its own"), "status says so: {status}");
    let held = fill(client);
    let kind = connect(client).map(|_| ()).map_err(|e| e.kind());
    assert_eq!(kind, Err(io::ErrorKind::TimedOut), "the reset is lost");
    assert!(daemon.stop().success(), "a stop is not a failure");

    daemon.configure(&format!("attach = \"generic\"\n{}", config()));
    daemon.start_again();
    refused(client);
    drop(held);
}

/// SIGTERM detaches everything, removes the socket, leaves connections alone, and is no failure.
#[test]
fn sigterm_stops_in_order() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let client = bed.client();
    let server = greeter(&bed, SMTP);
    let mut daemon = Daemon::start(&bed.server, &config());
    let held = fill(client);
    refused(client);
    assert!(has_xdp(&bed.server, "srv0"), "it is attached");
    daemon.process().signal(nix::sys::signal::Signal::SIGTERM);
    daemon.process().wait_for_log("everything is detached", STOP_TIME);
    let status = daemon.process().wait_exit(FAILURE_TIME);
    let log = daemon.process().log();
    assert!(status.success() && log.contains("everything is detached"), "{status}:\n{log}");
    daemon.stop();
    assert!(!has_xdp(&bed.server, "srv0"), "nothing is attached");
    assert!(!daemon.socket().exists(), "the socket is gone");
    let more = accepted(client);
    assert_eq!(server.held(), 3, "what was open stays open, and nobody is refused");

    daemon.start_again();
    refused(client);
    assert_eq!(daemon.open("smtp"), 3, "the next one counts what it finds");
    drop((held, more));
}
