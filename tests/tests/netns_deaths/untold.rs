//! Deaths that the tracepoint does not tell of: a kernel does not run a tracing program wherever
//! the tracepoint is met.
//!
//! Here it tells of none: its link is replaced by another one under the daemon.

use std::fs;

use limiter_tests::client::{Burst, Target};
use limiter_tests::daemon::{DAEMON, Daemon};
use limiter_tests::server::Server;
use limiter_tests::veth::Bed;
use limiter_tests::{host, map_memory, require, wait};

use super::{
    CONFIG, PATIENCE, SOME, assert_recounts_agree, connect, reset_some, v4, v6, wait_open, wait_state,
};

/// Starts a daemon whose tracepoint is detached.
fn start<'a>(bed: &'a Bed, config: &str) -> Daemon<'a> {
    let daemon = Daemon::start(&bed.server, config);
    let links = daemon.layout().join("links");
    fs::remove_file(links.join("release")).expect("the link is pinned");
    // A link that is missing is attached again within a second.
    fs::hard_link(links.join("give_back"), links.join("release")).expect("bpffs has hard links");
    daemon
}

/// Who closed last does not matter, nor whether it was by a FIN or a reset: TCP itself tells.
#[test]
fn tcp_tells_of_every_end_in_its_own_hands() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let daemon = start(&bed, CONFIG);
    for address in [v4(bed.client()), v6(bed.client())] {
        let server = Server::plan(address).listen(&bed.server);
        let open = || {
            let burst = connect(&bed, address, SOME);
            server.wait_held(SOME, PATIENCE);
            assert_eq!(daemon.open("smtp"), SOME as u64, "they are charged");
            burst
        };
        let burst = open();
        server.close(SOME);
        drop(burst);
        wait_open(&daemon, 0, "the server closed first");

        drop(open());
        wait_state(&bed, "close-wait", SOME);
        server.close(SOME);
        wait_open(&daemon, 0, "the client closed first");

        let mut burst = open();
        server.close(SOME);
        reset_some(&mut burst, SOME);
        wait_open(&daemon, 0, "the client reset what the server had closed");
    }
    assert_recounts_agree(&daemon);
}

/// A socket that a process holds past its reset stays charged; when nobody tells of its end,
/// recounts find it and correct the counts of the source, the service and the class.
#[test]
fn recounts_find_what_nobody_tells() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let daemon = start(&bed, &format!("{CONFIG}connections_total = 500\n"));
    let address = v4(bed.client());
    let server = Server::plan(address).listen(&bed.server);
    let mut burst = Burst::connect(&bed.client().namespace, &Target::silent(address), SOME);
    server.wait_held(SOME, PATIENCE);
    reset_some(&mut burst, SOME);
    wait_state(&bed, "established", 0);
    assert_recounts_agree(&daemon);
    assert_eq!(daemon.open("smtp"), SOME as u64, "the server holds them");

    server.close(SOME);
    wait::until_eq("the gauge", &0, PATIENCE, || {
        daemon.recount(1);
        daemon.open("smtp")
    });
    let drift = daemon.count("limiter_recount_drift_total", &[("service", "smtp")]);
    assert_eq!(drift, 3 * SOME as u64, "the source, the service and the class");
    assert_eq!(daemon.ctl_json(&["top"])["total"], 0);
}

/// Sockets whose source has lost its entry are drift as well, one for each.
#[test]
fn recounts_find_sockets_without_a_source() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let daemon = Daemon::start(&bed.server, CONFIG);
    let address = v4(bed.client());
    let server = Server::plan(address).listen(&bed.server);
    let burst = connect(&bed, address, SOME);
    server.wait_held(SOME, PATIENCE);
    assert_recounts_agree(&daemon);

    let mut sources = map_memory::sources(&daemon);
    let key = sources.keys().next().expect("there is a source").expect("the map can be read");
    sources.remove(&key).expect("the entry is there");
    daemon.recount(2);
    let drift = daemon.count("limiter_recount_drift_total", &[("service", "smtp")]);
    // Nothing can be corrected, so two more recounts of the daemon's own find the same again.
    assert!(drift > 0 && drift.is_multiple_of(SOME as u64), "{drift}: its sockets, not the class");
    drop(burst);
    server.close(SOME);
    wait_open(&daemon, 0, "counts of the class do not hang on the source");
}
