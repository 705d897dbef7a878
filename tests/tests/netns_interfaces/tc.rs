//! Behind the XDP program of somebody else.

use limiter_tests::daemon::{DAEMON, Daemon, binary};
use limiter_tests::host::Requirement;
use limiter_tests::process::Process;
use limiter_tests::tc::{add_foreign_filter, disciplines, filters, tcx_programs};
use limiter_tests::veth::Bed;
use limiter_tests::xdp::{Action, Attached, NAME, XdpMode};
use limiter_tests::{host, require};

use super::{PATIENCE, attachment, config, fill, greeter, mode, refused, refused_at_syn, xdp_program};

const TOOLS: &[Requirement] = &[Requirement::Command("tc", "iproute2")];

/// Programs in the ingress of the server's tc, by TCX and by filters.
fn programs(bed: &Bed) -> (usize, usize) {
    let filters = filters(&bed.server, "srv0");
    (
        tcx_programs(&bed.server, "srv0").len(),
        filters.lines().filter(|line| line.contains(" handle ")).count(),
    )
}

fn has_clsact(bed: &Bed) -> bool {
    disciplines(&bed.server, "srv0").contains("clsact")
}

/// The same refusals at the same points as in XDP; a foreign program is still there.
fn refuses_in_tc(bed: &Bed, daemon: &Daemon<'_>, wanted: &str, foreign: &str) {
    assert_eq!(mode(daemon, "srv0"), wanted);
    assert_eq!(daemon.count("limiter_attach_info", &[("interface", "srv0"), ("mode", wanted)]), 1);
    let held = fill(bed.client());
    refused(bed.client());
    assert_eq!(refused_at_syn(daemon), 2, "counted where XDP counts");
    assert_eq!(xdp_program(bed, "srv0").as_deref(), Some(foreign), "nobody replaced it");
    daemon.assert_sound();
    drop(held);
}

/// Where a foreign XDP program has the interface, `auto` judges behind it in tc, says so, and leaves nothing behind.
#[test]
fn auto_judges_behind_a_foreign_xdp_program() {
    require!(host::BED, DAEMON, TOOLS);
    for filter in [false, true] {
        let bed = Bed::new();
        let _server = greeter(&bed);
        let _foreign = Attached::new(&bed.server, "srv0", Action::Pass, XdpMode::Driver);
        let foreign = xdp_program(&bed, "srv0").expect("a program is there");
        let start = if filter { Daemon::start_without_tcx } else { Daemon::start };
        let mut daemon = start(&bed.server, &config("[\"srv0\"]", "auto"));
        let remark = attachment(&daemon, "srv0")["remark"].to_string();
        assert!(remark.contains(NAME) && remark.contains(&foreign), "it is named: {remark}");
        refuses_in_tc(&bed, &daemon, if filter { "clsact" } else { "tcx" }, &foreign);
        assert_eq!(programs(&bed), if filter { (0, 1) } else { (1, 0) });
        assert!(daemon.stop().success());
        assert_eq!((programs(&bed), has_clsact(&bed)), ((0, 0), false), "nothing is left");
        assert_eq!(xdp_program(&bed, "srv0"), Some(foreign));
    }
}

/// A reset is right also where the checksum of the SYN was still to be computed: by the sender's card, or by ours.
///
/// Without offloads at the server's end, what tc sends back is checked by the client in full.
#[test]
fn a_reset_is_right_whoever_computes_checksums() {
    require!(host::BED, DAEMON, TOOLS);
    for (at_server, at_client) in [("on", "on"), ("off", "on"), ("on", "off"), ("off", "off")] {
        let bed = Bed::plan().offloads().without_pass().build();
        bed.server.output("ethtool", &["-K", "srv0", "tx", at_server]);
        bed.client().namespace.output("ethtool", &["-K", "cli0", "tx", at_client]);
        let _server = greeter(&bed);
        let daemon = Daemon::start(&bed.server, &config("[\"srv0\"]", "tcx"));
        let held = fill(bed.client());
        refused(bed.client());
        assert_eq!(
            refused_at_syn(&daemon),
            2,
            "checksums {at_server} at the server, {at_client} at the client"
        );
        daemon.assert_sound();
        drop(held);
    }
}

/// A `clsact` that was there before stays, with the filters of others.
#[test]
fn a_clsact_of_others_stays() {
    require!(host::BED, DAEMON, TOOLS);
    let bed = Bed::new();
    let _server = greeter(&bed);
    bed.server.output("tc", &["qdisc", "add", "dev", "srv0", "clsact"]);
    add_foreign_filter(&bed.server, "srv0");
    let mut daemon = Daemon::start_without_tcx(&bed.server, &config("[\"srv0\"]", "tcx"));
    let held = fill(bed.client());
    refused(bed.client());
    assert_eq!(programs(&bed), (0, 2), "ours and theirs");
    assert!(daemon.stop().success());
    assert!(has_clsact(&bed), "it stays");
    assert_eq!(programs(&bed), (0, 1));
    assert!(filters(&bed.server, "srv0").contains(NAME), "theirs stays");
    drop(held);

    // In a discipline of our own that somebody else uses by now.
    bed.server.output("tc", &["qdisc", "del", "dev", "srv0", "clsact"]);
    let mut daemon = Daemon::start_without_tcx(&bed.server, &config("[\"srv0\"]", "tcx"));
    add_foreign_filter(&bed.server, "srv0");
    assert!(daemon.stop().success());
    assert_eq!((programs(&bed), has_clsact(&bed)), ((0, 1), true), "theirs stays");
}

/// A filter outlives a daemon that is killed; the next daemon takes it over and leaves nothing, nor does a clean-up.
#[test]
fn a_filter_is_taken_over() {
    require!(host::BED, DAEMON, TOOLS);
    let bed = Bed::new();
    let _server = greeter(&bed);
    let mut daemon = Daemon::start_without_tcx(&bed.server, &config("[\"srv0\"]", "tcx"));
    let held = fill(bed.client());
    daemon.kill();
    refused(bed.client());
    daemon.start_again();
    assert_eq!(mode(&daemon, "srv0"), "clsact");
    refused(bed.client());
    assert_eq!(programs(&bed), (0, 1), "one filter");
    assert!(daemon.stop().success());
    assert_eq!((programs(&bed), has_clsact(&bed)), ((0, 0), false), "nothing is left");

    daemon.start_again();
    daemon.kill();
    assert_eq!(programs(&bed), (0, 1), "it outlives the daemon");
    let cleaned = daemon.clean_up();
    assert!(cleaned.status.success(), "{cleaned:?}");
    assert_eq!((programs(&bed), has_clsact(&bed)), ((0, 0), false), "nothing is left after a clean-up");
    drop(held);
}

/// Who insists on XDP is told who has it.
#[test]
fn native_and_generic_do_not_start_behind_a_foreign_program() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let _foreign = Attached::new(&bed.server, "srv0", Action::Pass, XdpMode::Driver);
    let foreign = xdp_program(&bed, "srv0").expect("a program is there");
    for attach in ["native", "generic"] {
        let mut daemon = Daemon::start(&bed.server, &config("[\"srv0\"]", "none"));
        assert!(daemon.stop().success());
        daemon.configure(&config("[\"srv0\"]", attach));
        let mut command = bed.server.command(&binary("limiterd").to_string_lossy());
        let process = Process::start("limiterd", command.arg("--config").arg(daemon.config()));
        let status = process.wait_exit(PATIENCE);
        let said = process.log();
        assert_eq!(status.code(), Some(1), "it does not start:\n{said}");
        assert!(said.contains(&format!("{NAME} (id {foreign})")), "the program is named:\n{said}");
        assert!(said.contains("attach = \"tcx\""), "it says what helps:\n{said}");
        assert_eq!(xdp_program(&bed, "srv0").as_deref(), Some(foreign.as_str()), "it is left alone");
    }
}
