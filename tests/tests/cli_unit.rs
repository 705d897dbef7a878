//! The systemd unit that is shipped: it agrees with the defaults of the
//! configuration, grants what the daemon needs, and systemd takes it.
//!
//! Runs in parallel.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use limiter_tests::host::Requirement;
use limiter_tests::require;
use limiter_user::config::{Config, Runtime};
use limiter_user::daemon::privileges::NEEDED;

/// What checks units.
const ANALYZE: &[Requirement] = &[Requirement::Command("systemd-analyze", "systemd")];
/// What `systemd-analyze security` may say at most, times ten: versions of systemd differ a little in what they weigh.
const EXPOSURE_MAX: u32 = 25;

fn unit_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/limiterd.service")
}

fn unit() -> String {
    fs::read_to_string(unit_path()).expect("the unit is shipped")
}

/// Every value of a key, in order.
fn values(key: &str) -> Vec<String> {
    let value = |line: &str| Some(line.strip_prefix(key)?.strip_prefix('=')?.to_owned());
    unit().lines().filter_map(value).collect()
}

/// The only value of a key.
#[track_caller]
fn value(key: &str) -> String {
    let [value] = <[String; 1]>::try_from(values(key)).unwrap_or_else(|all| panic!("one {key}: {all:?}"));
    value
}

fn defaults() -> Runtime {
    let text = "[[service]]\nname = \"smtp\"\nports = [25]\n";
    Config::parse(text, "defaults").expect("a service is a whole configuration").runtime
}

fn run(command: &mut Command) -> (Output, String) {
    let output = command.output().unwrap_or_else(|e| panic!("starting {command:?}: {e}"));
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    (output, String::from_utf8_lossy(&said).into_owned())
}

/// Every line is a section, a comment or a key with a value, and only lists have a key twice.
#[test]
fn every_line_says_something() {
    let mut keys = Vec::new();
    for line in unit().lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with('[') {
            assert!(["[Unit]", "[Service]", "[Install]"].contains(&line), "{line}");
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("a key has a value: {line}"));
        assert!(!value.is_empty() && key.chars().all(char::is_alphanumeric), "{line}");
        assert!(key == "SystemCallFilter" || !keys.contains(&key.to_owned()), "{key} is there twice");
        keys.push(key.to_owned());
    }
}

/// The directories of the unit are those that the configuration has without being told.
#[test]
fn directories_are_those_of_the_configuration() {
    let runtime = defaults();
    assert_eq!(runtime.state_dir, Path::new("/var/lib").join(value("StateDirectory")));
    assert_eq!(runtime.control_socket.parent(), Some(&*Path::new("/run").join(value("RuntimeDirectory"))));
    assert_eq!(runtime.pin_dir.parent(), Some(Path::new(&value("ReadWritePaths"))), "pins can be made");
    let start = value("ExecStart");
    let config = start.rsplit(' ').next().expect("a configuration file");
    let directory = Path::new("/etc").join(value("ConfigurationDirectory"));
    assert_eq!(Path::new(config).parent(), Some(&*directory));
}

/// The unit grants what the daemon keeps, and nothing that it would not give up.
#[test]
fn capabilities_are_those_that_the_daemon_keeps() {
    let granted = value("CapabilityBoundingSet");
    let mut granted: Vec<&str> = granted.split(' ').collect();
    let needed: Vec<String> = NEEDED.iter().map(ToString::to_string).collect();
    granted.retain(|capability| !needed.iter().any(|needed| needed == capability));
    assert_eq!(granted, ["CAP_CHOWN"], "for the group of the control socket, at start");
    assert!(values("SystemCallFilter")[0].split(' ').any(|word| word == "bpf"));
    let families = value("RestrictAddressFamilies");
    for family in ["AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"] {
        assert!(families.split(' ').any(|word| word == family), "{family}");
    }
}

/// The watchdog is fed every second: what it waits for must be far longer than a slow recount.
#[test]
fn systemd_hears_from_the_daemon() {
    assert_eq!(value("Type"), "notify");
    assert_eq!(value("Restart"), "always");
    let watchdog = value("WatchdogSec");
    let seconds: u32 = watchdog.trim_end_matches('s').parse().expect("seconds");
    assert!(seconds >= 30, "{watchdog}");
    assert!(value("ExecReload").ends_with("limiterctl reload"), "a bad file makes the reload fail");
}

/// systemd finds nothing to say about the unit; the programs need not be installed here.
#[test]
fn systemd_takes_the_unit() {
    require!(ANALYZE);
    let directory = tempfile::tempdir().expect("creating a directory");
    let copy = directory.path().join("limiterd.service");
    let there =
        |text: String, program: &str| text.replace(&format!("/usr/local/sbin/{program}"), "/bin/true");
    fs::write(&copy, there(there(unit(), "limiterd"), "limiterctl")).expect("writing a copy");
    let (output, said) = run(Command::new("systemd-analyze").args(["--man=no", "verify"]).arg(&copy));
    let about_us: Vec<&str> = said.lines().filter(|line| line.contains("limiterd.service")).collect();
    assert!(output.status.success() && about_us.is_empty(), "{said}");
}

/// The sandbox is about as tight as docs/operations.md says.
#[test]
fn the_sandbox_is_tight() {
    require!(ANALYZE);
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--offline=true", "--no-pager"]).arg(unit_path());
    let (_, said) = run(&mut command);
    let figure =
        said.lines().find_map(|line| line.split_once("Overall exposure level").map(|(_, rest)| rest));
    let figure = figure.and_then(|rest| rest.split(": ").nth(1)?.split(' ').next());
    let figure = figure.unwrap_or_else(|| panic!("a figure in\n{said}"));
    let tenths: u32 = figure.replace('.', "").parse().expect("one decimal");
    assert!(tenths <= EXPOSURE_MAX, "the exposure is {figure}:\n{said}");
}
