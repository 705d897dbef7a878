//! Either side closes, or half-closes, or the listener does.

use std::net::{Shutdown, TcpStream};

use limiter_tests::daemon::{DAEMON, Daemon};
use limiter_tests::server::Server;
use limiter_tests::veth::Bed;
use limiter_tests::{host, require};

use super::{
    CONFIG, PATIENCE, SOME, assert_open, assert_recounts_agree, connect, reset_some, v4, v6, wait_open,
    wait_state,
};

/// The client closes first: counted until the server's process has closed too.
#[test]
fn closed_by_the_client_counts_until_the_server_closes() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let daemon = Daemon::start(&bed.server, CONFIG);
    for address in [v4(bed.client()), v6(bed.client())] {
        let server = Server::plan(address).listen(&bed.server);
        let mut burst = connect(&bed, address, SOME);
        server.wait_held(SOME, PATIENCE);
        burst.close(SOME);
        wait_state(&bed, "close-wait", SOME);
        assert_open(&daemon, SOME, "the server holds them");
        server.close(2);
        wait_open(&daemon, SOME - 2, "two are destroyed");
        server.close(SOME - 2);
        let took = wait_open(&daemon, 0, "all are destroyed");
        eprintln!("{address}: 0 within {took:?} of the server's close");
        assert_recounts_agree(&daemon);
    }
}

/// The server closes first: what is left then is no socket, though `ss` lists FIN-WAIT-2.
#[test]
fn closed_by_the_server_counts_until_the_kernel_lets_go() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let daemon = Daemon::start(&bed.server, CONFIG);
    for address in [v4(bed.client()), v6(bed.client())] {
        let server = Server::plan(address).listen(&bed.server);
        let burst = connect(&bed, address, SOME);
        server.wait_held(SOME, PATIENCE);
        assert_open(&daemon, SOME, "all are open");
        server.close(SOME);
        let took = wait_open(&daemon, 0, "the kernel keeps no socket");
        wait_state(&bed, "fin-wait-2", SOME);
        eprintln!("{address}: 0 within {took:?}, {SOME} listed in FIN-WAIT-2");
        drop(burst);
        // Gone with the client's FIN: what the next address must not count.
        wait_state(&bed, "fin-wait-2", 0);
        assert_recounts_agree(&daemon);
    }
}

/// Half-closed by either side, or by both: counted until the server's process lets go.
#[test]
fn half_closed_connections_count_until_the_server_closes() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let daemon = Daemon::start(&bed.server, CONFIG);
    let address = v4(bed.client());
    let server = Server::plan(address).listen(&bed.server);
    let burst = connect(&bed, address, 2);
    server.wait_held(2, PATIENCE);
    let shut = |stream: &TcpStream| stream.shutdown(Shutdown::Write).expect("half a close");
    let streams = server.take(2);
    shut(&streams[0]);
    wait_state(&bed, "fin-wait-2", 1);
    assert_open(&daemon, 2, "the server has shut one side");
    burst.attempts.iter().filter_map(|a| a.stream.as_ref()).for_each(shut);
    wait_state(&bed, "close-wait", 1);
    wait_state(&bed, "time-wait", 1);
    assert_open(&daemon, 2, "TCP is done with one, the server with none");
    shut(&streams[1]);
    wait_state(&bed, "close-wait", 0);
    assert_open(&daemon, 2, "TCP is done with both, the server with none");
    drop(streams);
    wait_open(&daemon, 0, "the server has closed");
    assert_recounts_agree(&daemon);
}

/// Queued and never accepted: counted in the queue, whatever the client does, until the listener closes.
#[test]
fn queued_connections_count_until_the_listener_closes() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let daemon = Daemon::start(&bed.server, CONFIG);
    let address = v4(bed.client());
    let mut server = Server::plan(address).never_accepting().listen(&bed.server);
    let mut burst = connect(&bed, address, 6);
    // The server completes a handshake after its client.
    wait_open(&daemon, 6, "queued");
    assert_open(&daemon, 6, "queued");
    reset_some(&mut burst, 2);
    wait_state(&bed, "established", 4);
    burst.close(2);
    wait_state(&bed, "close-wait", 2);
    assert_open(&daemon, 6, "two reset, two closed, all in the queue");
    server.stop_listening();
    let took = wait_open(&daemon, 0, "the listener is closed");
    eprintln!("0 within {took:?} of the listener's close");
    assert_recounts_agree(&daemon);
}

/// A listener that closes keeps what was accepted, and the count with it.
#[test]
fn accepted_connections_outlive_the_listener() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let daemon = Daemon::start(&bed.server, CONFIG);
    let mut server = Server::plan(v4(bed.client())).listen(&bed.server);
    let burst = connect(&bed, server.address, SOME);
    server.wait_held(SOME, PATIENCE);
    server.stop_listening();
    assert_eq!(burst.open(), SOME);
    assert_open(&daemon, SOME, "the listener is closed, the connections are not");
    server.close(SOME);
    wait_open(&daemon, 0, "the server has closed");
    assert_recounts_agree(&daemon);
}
