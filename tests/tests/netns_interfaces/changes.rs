//! Interfaces that come and go, and programs that are taken off them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use aya::programs::loaded_links;
use limiter_tests::daemon::{DAEMON, Daemon};
use limiter_tests::host::{self, Requirement};
use limiter_tests::require;
use limiter_tests::tc::tcx_programs;
use limiter_tests::veth::Bed;
use limiter_tests::wait;

use super::{
    PATIENCE, attachment, config, connect, fill, greeter, mode, refused, refused_at_syn, wait_addresses,
    wait_mode, xdp_program,
};

/// What status says about the health of the whole, and why.
fn health(daemon: &Daemon<'_>) -> (String, String) {
    let status = daemon.ctl_json(&["status"]);
    (status["health"].as_str().unwrap_or_default().to_owned(), status["findings"].to_string())
}

/// A link that is deleted and made anew is guarded again at once, while another source is refused all
/// the while on another link; what was open stays counted.
#[test]
fn a_link_that_returns_is_guarded_again() {
    require!(host::BED, DAEMON);
    let mut bed = Bed::plan().clients(2).build();
    let _greeter = greeter(&bed);
    let Bed { clients, server } = &mut bed;
    let daemon = Daemon::start(server, &config("[\"srv0\", \"srv1\"]", "auto"));
    let _held: Vec<_> = clients.iter().flat_map(fill).collect();
    clients.iter().for_each(refused);
    let (first, other) = clients.split_at_mut(1);
    let (first, other) = (&mut first[0], &other[0]);
    let done = AtomicBool::new(false);
    let took = thread::scope(|scope| {
        let refusals = scope.spawn(|| {
            let mut count = 0;
            while !done.load(Ordering::Relaxed) {
                refused(other);
                count += 1;
            }
            count
        });
        let mut took = Vec::new();
        for _ in 0..3 {
            first.unplug(server);
            wait_mode(&daemon, "srv0", "none");
            assert!(attachment(&daemon, "srv0")["remark"].to_string().contains("no such interface"));
            let (health, findings) = health(&daemon);
            assert!(health == "degraded" && findings.contains("srv0"), "{health}: {findings}");
            first.plug(server);
            took.push(wait_mode(&daemon, "srv0", "native"));
            wait_addresses(&daemon, server);
            refused(first);
        }
        done.store(true, Ordering::Relaxed);
        println!("{} refusals meanwhile", refusals.join().expect("the other client is refused"));
        took
    });
    println!("guarded again after {took:?}");
    assert_eq!(daemon.open("smtp"), 8, "what was open stays counted");
    assert_eq!(daemon.count("limiter_interface_changes_total", &[]), 6, "each loss and each return");
    daemon.assert_sound();
}

/// A missing interface is no reason to stay down: the daemon says so, and attaches when it appears.
#[test]
fn an_interface_that_is_missing_at_start_is_awaited() {
    require!(host::BED, DAEMON);
    for attach in ["auto", "native", "generic", "tcx"] {
        let mut bed = Bed::new();
        let _greeter = greeter(&bed);
        let Bed { clients, server } = &mut bed;
        clients[0].unplug(server);
        let daemon = Daemon::start(server, &config("[\"srv0\"]", attach));
        let (health, findings) = health(&daemon);
        assert!(health == "degraded" && findings.contains("srv0"), "{health}: {findings}");
        clients[0].plug(server);
        wait_mode(&daemon, "srv0", if attach == "auto" { "native" } else { attach });
        wait_addresses(&daemon, server);
        let held = fill(&clients[0]);
        refused(&clients[0]);
        assert_eq!(refused_at_syn(&daemon), 2);
        drop(held);
    }
}

/// `auto` starts without a default route, follows it from one interface to another, and keeps what it has
/// while there is none.
#[test]
fn auto_follows_the_default_route() {
    require!(host::BED, DAEMON);
    let bed = Bed::plan().clients(2).build();
    let _greeter = greeter(&bed);
    let daemon = Daemon::start(&bed.server, &config("\"auto\"", "auto"));
    assert!(attachment(&daemon, "auto")["remark"].to_string().contains("no default route"));
    bed.server.ip("route add default via 10.90.0.2 dev srv0");
    wait_mode(&daemon, "srv0", "native");
    let _held: Vec<_> = bed.clients.iter().flat_map(fill).collect();
    refused(&bed.clients[0]);
    assert_eq!(refused_at_syn(&daemon), 2);

    bed.server.ip("route replace default via 10.90.1.2 dev srv1");
    wait_mode(&daemon, "srv1", "native");
    wait::until("the former one is free", PATIENCE, || xdp_program(&bed, "srv0").is_none());
    assert_eq!(mode(&daemon, "srv0"), "absent");
    refused(&bed.clients[1]);
    assert_eq!(refused_at_syn(&daemon), 4);

    bed.server.ip("route del default");
    let looks = daemon.count("limiter_interface_changes_total", &[]);
    wait::holds_for("the interface is guarded", super::GUARD_TIME, || mode(&daemon, "srv1") == "native");
    assert_eq!(daemon.count("limiter_interface_changes_total", &[]), looks);
}

/// A reload with other interfaces, or another way to attach, takes effect at once.
#[test]
fn a_reload_changes_what_is_attached() {
    require!(host::BED, DAEMON);
    let bed = Bed::plan().clients(2).build();
    let _greeter = greeter(&bed);
    let daemon = Daemon::start(&bed.server, &config("[\"srv0\"]", "native"));
    let _held: Vec<_> = bed.clients.iter().flat_map(fill).collect();
    for (interfaces, attach, wanted) in [
        ("[\"srv0\", \"srv1\"]", "generic", ["generic", "generic"]),
        ("[\"srv1\"]", "tcx", ["absent", "tcx"]),
        ("[\"srv0\", \"srv1\"]", "native", ["native", "native"]),
        ("[\"srv0\"]", "none", ["none", "absent"]),
        ("[\"srv1\"]", "auto", ["absent", "native"]),
    ] {
        daemon.configure(&config(interfaces, attach));
        daemon.ctl_json(&["reload"]);
        assert_eq!([mode(&daemon, "srv0"), mode(&daemon, "srv1")], wanted, "{interfaces} {attach}");
        let before = refused_at_syn(&daemon);
        let guarded = wanted.iter().zip(&bed.clients).filter(|(mode, _)| !["none", "absent"].contains(mode));
        let guarded: Vec<_> = guarded.map(|(_, client)| refused(client)).collect();
        assert_eq!(refused_at_syn(&daemon) - before, 2 * guarded.len() as u64, "{interfaces} {attach}");
    }
    assert_eq!(xdp_program(&bed, "srv0"), None, "nothing is left where limiter is not wanted any more");
    daemon.assert_sound();
}

/// Whoever takes limiter's program off an interface is noticed: it comes back, with a word in the log.
#[test]
fn a_program_that_is_taken_off_comes_back() {
    require!(host::BED, DAEMON, &[Requirement::Command("bpftool", "bpftool")]);
    for attach in ["auto", "tcx"] {
        let bed = Bed::new();
        let _greeter = greeter(&bed);
        let daemon = Daemon::start(&bed.server, &config("[\"srv0\"]", attach));
        let program = if attach == "auto" {
            xdp_program(&bed, "srv0").and_then(|id| id.parse().ok())
        } else {
            tcx_programs(&bed.server, "srv0").pop()
        };
        let mut links = loaded_links().flatten().filter(|link| Some(link.program_id()) == program);
        let link = links.next().expect("a link attaches it").id().to_string();
        bed.server.output("bpftool", &["link", "detach", "id", &link]);
        wait::until("it is noticed", PATIENCE, || daemon.count("limiter_interface_changes_total", &[]) == 1);
        assert!(daemon.process().log().contains("taken off by somebody else"), "{}", daemon.process().log());
        let held = fill(bed.client());
        refused(bed.client());
        assert_eq!(refused_at_syn(&daemon), 2);
        drop(held);
    }
}

/// An address that the host gets later is its own at once: connections to it are limited.
#[test]
fn a_new_address_is_the_hosts_own() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let _greeter = greeter(&bed);
    let daemon = Daemon::start(&bed.server, &config("[\"srv0\"]", "auto"));
    let held = fill(bed.client());
    bed.server.ip("addr add 10.90.0.77/24 dev srv0");
    bed.client().namespace.ip(&format!(
        "neigh add 10.90.0.77 lladdr {} nud permanent dev cli0",
        bed.client().server_mac().map(|byte| format!("{byte:02x}")).join(":")
    ));
    let later = "10.90.0.77".parse().expect("an address");
    let took = wait::until("a SYN to it is refused", super::GUARD_TIME, || {
        let _refused = connect(bed.client(), later);
        refused_at_syn(&daemon) > 0
    });
    println!("known as the host's own after {took:?}");
    drop(held);
}
