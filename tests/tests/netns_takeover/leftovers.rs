//! What is left behind, and what takes it away.

use std::collections::BTreeSet;
use std::process::Command;

use aya::programs::{loaded_links, loaded_programs};
use limiter_tests::daemon::{DAEMON, Daemon};
use limiter_tests::host::{Cgroup, Requirement};
use limiter_tests::process::Process;
use limiter_tests::scene::{address, connect, has_xdp};
use limiter_tests::server::Server;
use limiter_tests::veth::Bed;
use limiter_tests::{host, require, usage, wait};

use super::{PATIENCE, assert_one_source_holds, config};

/// How many programs are attached to a control group itself.
fn attached_to(cgroup: &Cgroup) -> usize {
    let listed = host::run(Command::new("bpftool").args(["cgroup", "show"]).arg(cgroup.path()));
    listed.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).count()
}

/// Ids of the programs that a process has open, and of the links that attach them: those are pinned.
fn ids_of(process: &Process) -> (BTreeSet<u32>, BTreeSet<u32>) {
    let id = |text: String| {
        let mut values = text.lines().filter_map(|line| line.strip_prefix("prog_id:"));
        values.next().map(|id| id.trim().parse::<u32>().expect("an id is a number"))
    };
    let programs: BTreeSet<u32> = usage::descriptors(process).into_iter().filter_map(id).collect();
    let links = loaded_links().flatten().filter(|link| programs.contains(&link.program_id()));
    let links = links.map(|link| link.id()).collect();
    (programs, links)
}

/// Which of these ids the kernel still has.
fn left(programs: &BTreeSet<u32>, links: &BTreeSet<u32>) -> (Vec<u32>, Vec<u32>) {
    let listed = loaded_programs().flatten().map(|program| program.id());
    let linked = loaded_links().flatten().map(|link| link.id());
    (listed.filter(|id| programs.contains(id)).collect(), linked.filter(|id| links.contains(id)).collect())
}

/// Ends a daemon in some way: no program, no link and nothing on the interface
/// is left; the open connections work, and the next daemon counts them.
fn leaves_nothing(end: fn(&mut Daemon<'_>)) {
    let bed = Bed::new();
    let cgroup = Cgroup::create("stop");
    let server = Server::plan(address(&bed)).listen(&bed.server);
    let mut daemon =
        Daemon::start_with(&bed.server, &config(), &format!("cgroup = \"{}\"", cgroup.path().display()));
    let (programs, links) = ids_of(daemon.process());
    assert_eq!(attached_to(&cgroup), 3, "the gate, the charge, and the witness of the first byte");
    assert!(has_xdp(&bed), "XDP is attached");
    assert!(programs.len() >= 6 && links.len() >= 5, "{programs:?} {links:?}");
    assert_eq!(left(&programs, &links).1.len(), links.len(), "the kernel lists what the daemon has");
    let burst = connect(&bed, 3);
    server.wait_held(3, PATIENCE);

    end(&mut daemon);
    assert_eq!(attached_to(&cgroup), 0, "nothing is left on the control group");
    assert!(!has_xdp(&bed), "nothing is left on the interface");
    // The kernel frees a program a grace period after its last user.
    wait::until_eq("what is left", &(vec![], vec![]), PATIENCE, || left(&programs, &links));
    eprintln!("{} programs and {} links are gone", programs.len(), links.len());
    assert_eq!(burst.open(), 3, "connections are left alone");
    daemon.start_again();
    assert_one_source_holds(&daemon, 3);
}

/// SIGTERM detaches everything.
#[test]
fn a_stop_leaves_nothing_attached() {
    require!(host::BED, DAEMON, &[Requirement::Command("bpftool", "bpftool")]);
    leaves_nothing(|daemon| assert!(daemon.stop().success(), "a stop is no failure"));
}

/// SIGKILL leaves everything attached and refusing; `limiterd --cleanup` removes it, and not under a
/// daemon that lives.
#[test]
fn a_cleanup_after_a_kill_leaves_nothing_attached() {
    require!(host::BED, DAEMON, &[Requirement::Command("bpftool", "bpftool")]);
    leaves_nothing(|daemon| {
        let said = daemon.clean_up();
        assert!(!said.status.success(), "a daemon that lives keeps its pins: {said:?}");
        assert!(String::from_utf8_lossy(&said.stderr).contains("stop it first"), "{said:?}");
        let (pins, layout) = (daemon.pins().to_owned(), daemon.layout());
        daemon.kill();
        assert!(layout.join("links/gate").exists(), "a kill leaves the pins");
        let said = daemon.clean_up();
        assert!(said.status.success() && !pins.exists(), "{said:?}");
        assert!(String::from_utf8_lossy(&said.stdout).contains("/links/gate"), "it says what went: {said:?}");
    });
}
