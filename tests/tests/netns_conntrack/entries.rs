//! Entries and states, through everything that can happen to a connection.

use std::net::SocketAddr;
use std::time::Duration;

use limiter_tests::daemon::{DAEMON, Daemon};
use limiter_tests::raw::Handshakes;
use limiter_tests::veth::Bed;
use limiter_tests::{host, require, wait};

use super::{
    CONNTRACK, PATIENCE, SMTP, all_entries, config, connect, connect_from, conntrack, entries, events, fact,
    greeter, tracking, wait_all, wait_entries, wait_watching,
};

/// How long entries may stay that the kernel tells nothing of: two looks at the table.
const REFRESHED: Duration = Duration::from_secs(25);

/// A connection's entry has the state that the kernel has it in, from the SYN to its end, in both families.
#[test]
fn states_are_right_through_a_life() {
    require!(host::BED, DAEMON, CONNTRACK);
    let bed = tracking();
    let server = greeter(&bed.server, SMTP);
    let daemon = Daemon::start(&bed.server, &config("25"));
    wait_watching(&daemon);
    for (index, address) in [bed.client().server_ipv4(), bed.client().server_ipv6()].into_iter().enumerate() {
        let ghost = if address.is_ipv4() { "10.90.0.77" } else { "fd90:0::77" }.parse().unwrap();
        let half = Handshakes::in_flight(bed.client(), SocketAddr::new(address, SMTP), &[ghost], 1);
        wait_entries(&daemon, "smtp", "syn_recv", 1);
        drop(half);
        let stream = connect(bed.client(), address);
        let took = wait_entries(&daemon, "smtp", "established", 1);
        println!("{address}: established shown within {took:?}");
        server.wait_held(1, PATIENCE);
        // The client closes, which the server's kernel acknowledges; then the server does.
        drop(stream);
        wait_entries(&daemon, "smtp", "close_wait", 1);
        server.close(1);
        wait_entries(&daemon, "smtp", "time_wait", 1);
        assert_eq!(entries(&daemon, "smtp", "established"), 0);
        conntrack(&bed.server, &["-F"]);
        wait_all(&daemon, "smtp", 0);
        let destroyed = events(&daemon, "destroy");
        assert_eq!(destroyed, 2 * (index as u64 + 1), "the half-open one and the whole one");
    }
    assert_eq!(events(&daemon, "new"), 4);
    assert!(events(&daemon, "update") >= 8, "each state was told: {}", events(&daemon, "update"));
    assert_eq!((events(&daemon, "overrun"), events(&daemon, "lost")), (0, 0));
}

/// One entry deleted and a whole table flushed are seen at once, though the connections live on.
#[test]
fn deletions_are_seen() {
    require!(host::BED, DAEMON, CONNTRACK);
    let bed = tracking();
    let _server = greeter(&bed.server, SMTP);
    let daemon = Daemon::start(&bed.server, &config("25"));
    wait_watching(&daemon);
    let streams: Vec<_> = (0..3).map(|_| connect(bed.client(), bed.client().server_ipv4())).collect();
    wait_entries(&daemon, "smtp", "established", 3);
    let port = streams[0].local_addr().unwrap().port().to_string();
    conntrack(&bed.server, &["-D", "-p", "tcp", "--sport", &port]);
    let one = wait_entries(&daemon, "smtp", "established", 2);
    conntrack(&bed.server, &["-F"]);
    let all = wait_all(&daemon, "smtp", 0);
    println!("one deletion shown within {one:?}, a flush within {all:?}");
    assert_eq!(events(&daemon, "resync"), 0, "told, not looked for");
}

/// Entries from before anybody listened are there from the start, and their end is seen although the kernel does not
/// tell of it.
#[test]
fn entries_from_before_are_known() {
    require!(host::BED, DAEMON, CONNTRACK);
    let bed = tracking();
    let _server = greeter(&bed.server, SMTP);
    let _streams: Vec<_> = (0..3).map(|_| connect(bed.client(), bed.client().server_ipv6())).collect();
    let daemon = Daemon::start(&bed.server, &config("25"));
    wait_entries(&daemon, "smtp", "established", 3);
    conntrack(&bed.server, &["-F"]);
    let took = wait::until_eq("entries", &0, REFRESHED, || all_entries(&daemon, "smtp"));
    println!("a flush of entries from before shown within {took:?}");
}

/// The same addresses and ports in another zone are another entry.
#[test]
fn zones_are_kept_apart() {
    require!(host::BED, DAEMON, CONNTRACK);
    let bed = tracking();
    let _server = greeter(&bed.server, SMTP);
    let daemon = Daemon::start(&bed.server, &config("25"));
    wait_watching(&daemon);
    let stream = connect(bed.client(), bed.client().server_ipv4());
    wait_entries(&daemon, "smtp", "established", 1);
    let (client, server) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
    let (from, to) = (client.ip().to_string(), server.ip().to_string());
    let (sport, dport) = (client.port().to_string(), server.port().to_string());
    let tuple = ["-p", "tcp", "-s", &from, "-d", &to, "--sport", &sport, "--dport", &dport, "-w", "7"];
    let rest = ["--state", "SYN_SENT", "-t", "600"];
    conntrack(&bed.server, &[&["-I"], &tuple[..], &rest[..]].concat());
    wait_entries(&daemon, "smtp", "syn_sent", 1);
    assert_eq!(entries(&daemon, "smtp", "established"), 1, "the one of no zone is as it was");
    conntrack(&bed.server, &[&["-D"], &tuple[..]].concat());
    wait_all(&daemon, "smtp", 1);
    assert_eq!(entries(&daemon, "smtp", "established"), 1);
}

/// Mail that this host sends has a service of its own.
#[test]
fn outbound_mail_is_shown_apart() {
    require!(host::BED, DAEMON, CONNTRACK);
    let bed = tracking();
    let daemon = Daemon::start(&bed.server, &config("25"));
    wait_watching(&daemon);
    let _receivers = [SMTP, 587, 143].map(|port| greeter(&bed.client().namespace, port));
    let there = |port| SocketAddr::new(bed.client().ipv6(), port);
    let _streams = [SMTP, 587, 143].map(|port| connect_from(&bed.server, there(port)));
    wait_entries(&daemon, "outbound", "established", 2);
    assert_eq!(all_entries(&daemon, "smtp"), 0, "port 25 of others is not port 25 of ours");
}

/// A port that a reload adds is watched from then on, with the entries it has already; one that it takes away is not.
#[test]
fn the_watcher_follows_the_policy() {
    require!(host::BED, DAEMON, CONNTRACK);
    let bed = tracking();
    let _servers = [SMTP, 2525].map(|port| greeter(&bed.server, port));
    let daemon = Daemon::start(&bed.server, &config("25"));
    wait_watching(&daemon);
    let other = SocketAddr::new(bed.client().server_ipv4(), 2525);
    let _early = connect_from(&bed.client().namespace, other);
    let _guarded = connect(bed.client(), bed.client().server_ipv4());
    wait_all(&daemon, "smtp", 1);
    daemon.configure(&config("25, 2525"));
    daemon.ctl_json(&["reload"]);
    wait_entries(&daemon, "smtp", "established", 2);
    let _late = connect_from(&bed.client().namespace, other);
    wait_entries(&daemon, "smtp", "established", 3);
    daemon.configure(&config("2525"));
    daemon.ctl_json(&["reload"]);
    wait_entries(&daemon, "smtp", "established", 2);
    assert!(fact(&daemon).contains("2 entries of guarded ports"), "{}", fact(&daemon));
}

/// What is redirected counts for the port that the client asked for.
#[test]
fn redirected_connections_count_for_their_port() {
    require!(host::BED, DAEMON, CONNTRACK);
    let bed = Bed::new();
    bed.server.nft(
        "table ip bed {\n chain pre {\n type nat hook prerouting priority -100\n tcp dport 25 redirect to :2525\n }\n}\n",
    );
    let _server = greeter(&bed.server, 2525);
    let daemon = Daemon::start(&bed.server, &config("25"));
    wait_watching(&daemon);
    let _stream = connect(bed.client(), bed.client().server_ipv4());
    wait_entries(&daemon, "smtp", "established", 1);
}
