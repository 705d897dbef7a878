//! What is claimed where nothing is tracked, and what the kernel's statistics show.

use std::net::SocketAddr;

use limiter_tests::daemon::{DAEMON, Daemon};
use limiter_tests::frame::{Flags, Frame, Tcp};
use limiter_tests::veth::Bed;
use limiter_tests::wire::Wire;
use limiter_tests::{host, require, wait};

use super::{
    CONNTRACK, PATIENCE, SMTP, all_entries, config, connect, events, fact, findings, greeter, tracking,
    wait_watching,
};

/// Without a ruleset that asks for it nothing is tracked: no entries, no events, no findings, and a fact.
#[test]
fn nothing_is_claimed_without_tracking() {
    require!(host::BED, DAEMON, CONNTRACK);
    let bed = Bed::new();
    let server = greeter(&bed.server, SMTP);
    let daemon = Daemon::start(&bed.server, &config("25"));
    wait_watching(&daemon);
    let _streams: Vec<_> = (0..5).map(|_| connect(bed.client(), bed.client().server_ipv4())).collect();
    server.wait_held(5, PATIENCE);
    daemon.wait_recounts(1);
    assert_eq!(fact(&daemon), "conntrack: nothing is tracked");
    assert!(!findings(&daemon).contains("conntrack"), "{}", findings(&daemon));
    assert_eq!((all_entries(&daemon, "smtp"), events(&daemon, "new")), (0, 0));
    assert_eq!(daemon.count("limiter_conntrack_findings", &[]), 0);
    assert!(daemon.metric("limiter_conntrack_fill_ratio", &[]).abs() < f64::EPSILON);
}

/// A packet of no connection is `invalid` to tracking, and counted.
#[test]
fn invalid_packets_are_counted() {
    const PACKETS: u32 = 20;
    require!(host::BED, DAEMON, CONNTRACK);
    let bed = tracking();
    bed.server.sysctl("net.netfilter.nf_conntrack_tcp_loose", "0");
    let daemon = Daemon::start(&bed.server, &config("25"));
    wait_watching(&daemon);
    let invalid = || daemon.count("limiter_conntrack_stat_total", &[("stat", "invalid")]);
    let before = invalid();
    let client = bed.client();
    let wire = Wire::send_only(&client.namespace, &client.device());
    for n in 0..PACKETS {
        let from = SocketAddr::new(client.ipv4(), 30_000);
        let to = SocketAddr::new(client.server_ipv4(), SMTP);
        let ack = Tcp::new(Flags::ACK).seq(n).ack(7);
        wire.send(&Frame::tcp(from, to, ack).between(client.mac(), client.server_mac()).to_bytes());
    }
    // The resets that answer them belong to no connection either.
    let took = wait::until_eq("invalid packets", &(before + 2 * u64::from(PACKETS)), PATIENCE, invalid);
    println!("{PACKETS} invalid packets and their answers shown within {took:?}");
    assert_eq!(all_entries(&daemon, "smtp"), 0);
}
