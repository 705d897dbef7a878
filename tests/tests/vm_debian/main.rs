//! The kernel that Debian ships (6.1 in Debian 12), in a virtual machine: limiter loads, limits and
//! witnesses there as well.
//!
//! - `limits_and_drops_on_the_kernel_of_debian`: eight connections of each of two sources, a packet dropped
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use limiter_tests::daemon::{DAEMON, binary};
use limiter_tests::host::{self, Requirement};
use limiter_tests::metrics::{self, Sample};
use limiter_tests::{require, vm};

/// What the guest calls beside busybox and the server.
const COMMANDS: &[Requirement] =
    &[Requirement::Command("ip", "iproute2"), Requirement::Command("nft", "nftables")];
/// What of the guest's kernel is in modules.
const MODULES: [&str; 6] = ["veth", "nf_conntrack_netlink", "nf_tables", "nft_ct", "tcp_diag", "inet_diag"];
/// Without acceleration a machine takes a minute for it all.
const DEADLINE: Duration = Duration::from_mins(10);
/// Sources, and what each may have open.
const SOURCES: u64 = 2;
const LIMIT: u64 = 5;

/// Returns what the guest printed, by section.
fn sections(said: &str) -> BTreeMap<&str, &str> {
    let parts = said.split("=== ").skip(1);
    parts.filter_map(|part| part.split_once('\n')).collect()
}

/// The metrics in a section, between what the guest's shell and kernel say of themselves.
fn samples(section: &str) -> Vec<Sample> {
    let lines: Vec<&str> = section.lines().filter(|line| line.starts_with("limiter_")).collect();
    metrics::parse(&lines.join("\n"))
}

fn count(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> u64 {
    metrics::count(name, metrics::sum(samples, name, labels))
}

/// Each source gets in as often as it may, in both families; a packet of an open connection that
/// a rule drops is told; in the end nothing is left, and nothing was in doubt.
#[test]
fn limits_and_drops_on_the_kernel_of_debian() {
    require!(vm::NEEDS, COMMANDS, DAEMON);
    let mut programs: Vec<PathBuf> = vec![binary("limiterd"), env!("CARGO_BIN_EXE_holding-server").into()];
    programs.extend(["ip", "nft"].map(|name| host::find_command(name).expect("it is required")));
    let said = vm::run(include_str!("init.sh"), &programs, &MODULES, DEADLINE);
    let sections = sections(&said);
    let section = |name: &str| *sections.get(name).unwrap_or_else(|| panic!("no section {name} in\n{said}"));
    eprintln!("Linux {}", section("release").trim());

    let established = section("held").lines().filter_map(|line| line.strip_prefix("established "));
    let established: Vec<u64> = established.filter_map(|n| n.trim().parse().ok()).collect();
    assert_eq!(established, [LIMIT; 2], "of each source, as the kernel has it: {said}");
    let held = samples(section("held"));
    assert_eq!(count(&held, "limiter_connections", &[]), SOURCES * LIMIT);
    assert!(count(&held, "limiter_packets_total", &[("verdict", "refuse")]) >= 3 * SOURCES, "{said}");

    let dropped = samples(section("dropped"));
    let of_netfilter = [("service", "smtp"), ("direction", "in"), ("reason", "NETFILTER_DROP")];
    assert!(count(&dropped, "limiter_established_drops_total", &of_netfilter) > 0, "{said}");

    let closed = samples(section("closed"));
    for name in ["limiter_connections", "limiter_fail_open_total", "limiter_recount_drift_total"] {
        assert_eq!(count(&closed, name, &[]), 0, "{name}: {said}");
    }
    section("end");
}
