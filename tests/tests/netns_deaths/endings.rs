//! The server's process, the administrator, the kernel's patience or a namespace ends it.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use limiter_tests::client::{Burst, Target};
use limiter_tests::daemon::{DAEMON, Daemon};
use limiter_tests::process::Process;
use limiter_tests::raw::Handshake;
use limiter_tests::server::Server;
use limiter_tests::veth::Bed;
use limiter_tests::{host, require, wait};

use super::{
    CONFIG, PATIENCE, SOME, assert_open, assert_recounts_agree, connect, in_state, open_raw, reset_some, v4,
    wait_open, wait_state,
};

/// SIGKILL of the server's process: the kernel closes its sockets, and all are free.
#[test]
fn a_killed_server_frees_everything() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let daemon = Daemon::start(&bed.server, CONFIG);
    let address = v4(bed.client());
    let mut command = bed.server.command(env!("CARGO_BIN_EXE_holding-server"));
    let process = Process::start("holding-server", command.arg(address.to_string()));
    process.wait_for_log("listening", PATIENCE);
    let mut burst = connect(&bed, address, 20);
    wait_open(&daemon, 20, "all are established");
    burst.close(5);
    reset_some(&mut burst, 5);
    wait_state(&bed, "established", 10);
    wait_state(&bed, "close-wait", 5);
    assert_open(&daemon, 20, "the server's process holds all");
    process.kill();
    let took = wait_open(&daemon, 0, "the process is gone");
    eprintln!("0 within {took:?} of the SIGKILL");
    assert_recounts_agree(&daemon);
}

/// Whether `ss -K` can kill sockets here (`CONFIG_INET_DIAG_DESTROY`), tried on an unguarded port.
fn ss_can_kill(bed: &Bed) -> bool {
    let address = SocketAddr::new(bed.client().server_ipv4(), 2525);
    let server = Server::plan(address).listen(&bed.server);
    let _burst = connect(bed, address, 1);
    server.wait_held(1, PATIENCE);
    // It prints the sockets that it killed.
    bed.server.output("ss", &["-HtanK", "state", "established", "sport = :2525"]).lines().count() == 1
}

/// `ss -K` ends the connection, the server's close the count; an orphan goes at once.
#[test]
fn ss_kills_connections_and_frees_orphans() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let daemon = Daemon::start(&bed.server, CONFIG);
    let server = Server::plan(v4(bed.client())).listen(&bed.server);
    let raw = open_raw(&bed, &server);
    if !ss_can_kill(&bed) {
        eprintln!("SKIP ss_kills_connections_and_frees_orphans: sockets cannot be destroyed by `ss -K` here");
        return;
    }
    bed.server.output("ss", &["-HtanK", "state", "established", "sport = :25"]);
    wait_state(&bed, "established", 0);
    assert_open(&daemon, SOME, "killed, and held by the server");
    server.close(SOME);
    wait_open(&daemon, 0, "the server has closed");
    drop(raw);
    let _raw = open_raw(&bed, &server);
    server.close(SOME);
    wait_state(&bed, "fin-wait-1", SOME);
    assert_open(&daemon, SOME, "orphans count");
    bed.server.output("ss", &["-HtanK", "state", "fin-wait-1", "sport = :25"]);
    wait_open(&daemon, 0, "the orphans are destroyed");
    assert_recounts_agree(&daemon);
}

/// An orphan whose FIN nobody acknowledges counts until the kernel gives up on it.
#[test]
fn an_orphan_counts_until_it_times_out() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    bed.server.sysctl("net.ipv4.tcp_orphan_retries", "2");
    let daemon = Daemon::start(&bed.server, CONFIG);
    let server = Server::plan(v4(bed.client())).listen(&bed.server);
    let _raw = open_raw(&bed, &server);
    server.close(SOME);
    let start = Instant::now();
    wait_state(&bed, "fin-wait-1", SOME);
    wait::until_eq("the orphans' count", &0, PATIENCE * 3, || {
        // Read first: what is gone a moment later still counts.
        let orphans = in_state(&bed, "fin-wait-1") as u64;
        let open = daemon.open("smtp");
        assert!(open <= SOME as u64, "none counts twice");
        if start.elapsed() < Duration::from_millis(100) {
            assert_eq!((orphans, open), (SOME as u64, SOME as u64), "orphans count");
        }
        open
    });
    let took = start.elapsed();
    assert_eq!(in_state(&bed, "fin-wait-1"), 0, "what counts no longer is gone");
    eprintln!("{SOME} orphans timed out after {took:?}");
    assert!(took > Duration::from_millis(300), "not before the second retransmission: {took:?}");
    assert_recounts_agree(&daemon);
}

/// An orphan in FIN-WAIT-2 is a socket for as long as `tcp_fin_timeout` exceeds
/// what a TIME-WAIT entry can stand in for (60 s), and counts for so long.
#[test]
fn a_half_closed_orphan_counts_until_the_kernel_replaces_it() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    bed.server.sysctl("net.ipv4.tcp_fin_timeout", "62");
    let daemon = Daemon::start(&bed.server, CONFIG);
    let server = Server::plan(v4(bed.client())).listen(&bed.server);
    let mut raw = open_raw(&bed, &server);
    server.close(SOME);
    let start = Instant::now();
    assert_eq!(raw.wait_for(PATIENCE, |h: &Handshake| h.fin), SOME);
    wait_state(&bed, "fin-wait-2", SOME);
    assert_open(&daemon, SOME, "orphans in FIN-WAIT-2 count");
    wait_open(&daemon, 0, "the kernel has replaced them");
    let took = start.elapsed();
    eprintln!("{SOME} orphans in FIN-WAIT-2 counted for {took:?}");
    assert!(took > Duration::from_millis(1500), "2 s beyond TIME-WAIT's minute: {took:?}");
    assert_eq!(in_state(&bed, "fin-wait-2"), SOME, "the entries that stand in for them are listed");
    assert_recounts_agree(&daemon);
}

/// The client's namespace is deleted, and the link with it: what the server
/// holds counts, and is gone when it has closed and the kernel has given up.
#[test]
fn a_deleted_client_namespace_frees_what_the_server_closes() {
    require!(host::BED, DAEMON);
    let mut bed = Bed::plan().clients(2).build();
    bed.server.sysctl("net.ipv4.tcp_orphan_retries", "1");
    if host::kernel_version() >= (6, 15) {
        // Where the FIN finds no route at all the kernel probes, up to this
        // interval, before it gives up on an orphan; two minutes by default.
        bed.server.sysctl("net.ipv4.tcp_rto_max_ms", "1000");
    }
    let address = v4(&bed.clients[1]);
    let server = Server::plan(address).listen(&bed.server);
    let gone = bed.clients.pop().expect("two clients");
    let daemon = Daemon::start(&bed.server, CONFIG);
    let burst = Burst::connect(&gone.namespace, &Target::silent(address), SOME);
    server.wait_held(SOME, PATIENCE);
    drop(gone);
    // A namespace lives as long as its sockets.
    drop(burst);
    let link = || bed.server.output("ip", &["-o", "link"]).contains("srv1");
    wait::until("the link is gone", PATIENCE, || !link());
    assert_open(&daemon, SOME, "the server holds them");
    server.close(SOME);
    let start = Instant::now();
    wait::until_eq("the count", &0, PATIENCE * 3, || daemon.open("smtp"));
    eprintln!("{SOME} connections without a network freed after {:?}", start.elapsed());
    assert_recounts_agree(&daemon);
}

/// The name of the server's namespace is deleted: its sockets, and the daemon in
/// it, live on, count, and are released one by one.
#[test]
fn a_deleted_server_namespace_counts_to_the_last_socket() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let daemon = Daemon::start(&bed.server, CONFIG);
    let server = Server::plan(v4(bed.client())).listen(&bed.server);
    let burst = connect(&bed, server.address, SOME);
    server.wait_held(SOME, PATIENCE);
    host::run(Command::new("ip").args(["netns", "delete", bed.server.name()]));
    assert_eq!(burst.open(), SOME, "the namespace lives while something is in it");
    assert_open(&daemon, SOME, "the sockets live on");
    server.close(2);
    wait_open(&daemon, SOME - 2, "two are destroyed");
    server.close(SOME - 2);
    wait_open(&daemon, 0, "all are destroyed");
    assert_recounts_agree(&daemon);
}
