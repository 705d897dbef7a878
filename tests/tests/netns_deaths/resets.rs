//! The client resets.

use std::net::Shutdown;

use limiter_tests::client::{Burst, Target};
use limiter_tests::daemon::{DAEMON, Daemon};
use limiter_tests::frame::Flags;
use limiter_tests::raw::{Handshakes, Shape};
use limiter_tests::server::Server;
use limiter_tests::veth::Bed;
use limiter_tests::{host, require};

use super::{
    CONFIG, LIMIT, PATIENCE, SOME, assert_open, assert_recounts_agree, connect, ghost, open_raw, reset_some,
    v4, wait_open, wait_state,
};

/// One state of a connection, how raw clients and the server get there, and what is left after a reset.
struct ResetIn {
    /// As `ss` filters by it.
    state: &'static str,
    /// What the client sends to get there; it acknowledges nothing more.
    client: Option<Flags>,
    /// Whether the server's process has closed before.
    server_closed: bool,
}

/// A reset in each state that a connection passes through: what the server's
/// process has closed is gone at once, what it still holds counts until it closes.
#[test]
fn a_reset_frees_what_the_server_has_closed() {
    require!(host::BED, DAEMON);
    let states = [
        ResetIn { state: "established", client: None, server_closed: false },
        ResetIn { state: "close-wait", client: Some(Flags::FIN), server_closed: false },
        ResetIn { state: "fin-wait-1", client: None, server_closed: true },
        ResetIn { state: "last-ack", client: Some(Flags::FIN), server_closed: true },
    ];
    let bed = Bed::new();
    let daemon = Daemon::start(&bed.server, CONFIG);
    let address = v4(bed.client());
    let server = Server::plan(address).listen(&bed.server);
    for ResetIn { state, client, server_closed } in states {
        let mut raw = open_raw(&bed, &server);
        if let Some(flags) = client {
            raw.send_each(|h| Some(h.segment(flags | Flags::ACK)));
        }
        if server_closed {
            if client.is_some() {
                wait_state(&bed, "close-wait", SOME);
            }
            server.close(SOME);
        }
        wait_state(&bed, state, SOME);
        assert_open(&daemon, SOME, state);
        raw.send_each(|h| Some(h.segment(Flags::RST)));
        wait_state(&bed, state, 0);
        if server_closed {
            wait_open(&daemon, 0, &format!("a reset in {state} destroys it"));
        } else {
            assert_open(&daemon, SOME, &format!("reset in {state}, and held by the server"));
            server.close(SOME);
            wait_open(&daemon, 0, &format!("reset in {state}, and closed by the server"));
        }
        eprintln!("reset in {state}: held by the server {}", !server_closed);
        assert_recounts_agree(&daemon);
    }
}

/// A reset to a request socket, in CLOSING, in a FIN-WAIT-2 that the server
/// holds, and in TIME-WAIT: the states that take more than one step.
#[test]
fn a_reset_frees_in_the_rarer_states_too() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let daemon = Daemon::start(&bed.server, CONFIG);
    let address = v4(bed.client());
    let server = Server::plan(address).listen(&bed.server);

    let mut raw = Handshakes::in_flight(bed.client(), address, &[ghost()], 5);
    wait_state(&bed, "syn-recv", SOME);
    assert_open(&daemon, 0, "no handshake is complete");
    raw.complete(&Shape::Reset);
    wait_state(&bed, "syn-recv", 0);
    assert_open(&daemon, 0, "a reset completes none");

    let mut raw = open_raw(&bed, &server);
    server.close(SOME);
    wait_state(&bed, "fin-wait-1", SOME);
    // Written before the server's FIN was read: it is not acknowledged.
    raw.send_each(|h| Some(h.segment(Flags::FIN | Flags::ACK)));
    wait_state(&bed, "closing", SOME);
    assert_open(&daemon, SOME, "closing");
    raw.send_each(|h| Some(h.segment(Flags::RST)));
    wait_open(&daemon, 0, "a reset in closing destroys it");

    let mut raw = open_raw(&bed, &server);
    let streams = server.take(SOME);
    for stream in &streams {
        stream.shutdown(Shutdown::Write).expect("half a close");
    }
    assert_eq!(raw.wait_for(PATIENCE, |h| h.fin), SOME);
    wait_state(&bed, "fin-wait-2", SOME);
    assert_open(&daemon, SOME, "half-closed by the server");
    raw.send_each(|h| Some(h.segment(Flags::RST)));
    wait_state(&bed, "fin-wait-2", 0);
    assert_open(&daemon, SOME, "reset, and held by the server");
    drop(streams);
    wait_open(&daemon, 0, "the server has closed");

    let mut raw = open_raw(&bed, &server);
    server.close(SOME);
    assert_eq!(raw.wait_for(PATIENCE, |h| h.fin), SOME);
    raw.send_each(|h| Some(h.segment(Flags::FIN | Flags::ACK)));
    wait_state(&bed, "time-wait", SOME);
    wait_open(&daemon, 0, "TIME-WAIT is no socket");
    raw.send_each(|h| Some(h.segment(Flags::RST)));
    assert_open(&daemon, 0, "none is released twice");
    assert_recounts_agree(&daemon);
}

/// 60 times connect and reset against a server that keeps its descriptors
/// leaves no room for more, and recounts agree; room is what the server closes.
#[test]
fn resets_make_no_room_while_the_server_holds_on() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let daemon = Daemon::start(&bed.server, CONFIG);
    let address = v4(bed.client());
    let server = Server::greeting(&bed.server, address);
    for n in 1..=LIMIT {
        let mut burst = connect(&bed, address, 1);
        server.wait_held(n, PATIENCE);
        reset_some(&mut burst, 1);
    }
    wait_state(&bed, "established", 0);
    assert_open(&daemon, LIMIT, "TCP holds none, the server's process 60");
    // A client that a reset follows may look connected: only a greeted one is.
    let more = || Burst::connect(&bed.client().namespace, &Target::greeting(address), 3);
    let refused = more();
    assert_eq!((refused.greeted(), refused.refused()), (0, 3), "{refused:?}");
    assert_recounts_agree(&daemon);
    assert_open(&daemon, LIMIT, "a recount finds them all");
    let refused = more();
    assert_eq!((refused.greeted(), refused.refused()), (0, 3), "{refused:?}");
    server.close(2);
    wait_open(&daemon, LIMIT - 2, "two are closed");
    let some = more();
    assert_eq!((some.greeted(), some.refused()), (2, 1), "room for what was closed: {some:?}");
    server.wait_held(LIMIT, PATIENCE);
    let refused = daemon.refused("smtp", "connections_per_source");
    eprintln!("{LIMIT} resets left no room: {refused} refused, room again for 2 after 2 closes");
    assert!(refused >= 7, "seven clients, each refused at least once: {refused}");
    server.close(LIMIT);
    drop(some);
    wait_open(&daemon, 0, "all are closed");
    assert_recounts_agree(&daemon);
}
