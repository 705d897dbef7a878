//! Prefix lengths and ports change under open connections: each is charged to whom the new policy says.

use std::net::IpAddr;

use limiter_tests::client::{Burst, Target};
use limiter_tests::daemon::{DAEMON, Daemon};
use limiter_tests::scene::{SMTP, address, connect, server};
use limiter_tests::server::Server;
use limiter_tests::veth::Bed;
use limiter_tests::{host, require, wait};

use super::{PATIENCE, by_source, config};

/// Two addresses of one /24 are two sources, then one, then two again; closing frees the right one,
/// and at no time is a connection lost or counted twice.
#[test]
fn a_change_of_prefix_length_moves_open_connections() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let client = bed.client();
    let IpAddr::V4(first) = client.ipv4() else { panic!("{} is IPv4", client.ipv4()) };
    let second = IpAddr::V4((u32::from(first) + 40).into());
    client.add_addresses(&[second]);
    let server = server(&bed);
    let daemon = Daemon::start(&bed.server, &config());
    let sources = [client.ipv4(), second];
    let spread =
        |count| Burst::connect(&client.namespace, &Target::greeting(address(&bed)).from(&sources), count);
    let held = spread(14);
    assert_eq!((held.greeted(), by_source(&daemon)), (14, vec![7, 7]));

    let wide = format!("{}[source]\nipv4_prefix_len = 24\n", config());
    daemon.configure(&wide);
    daemon.ctl_json(&["reload"]);
    assert_eq!(by_source(&daemon), [14], "both are one source");
    assert_eq!(spread(2).refused(), 2, "which is over its limit");
    server.close(4);
    server.wait_held(10, PATIENCE);
    wait::until_eq("the count", &vec![10], PATIENCE, || by_source(&daemon));
    let more = spread(4);
    assert_eq!((more.greeted(), more.refused()), (2, 2), "twelve and not one more");

    daemon.configure(&config());
    daemon.ctl_json(&["reload"]);
    assert_eq!(by_source(&daemon).iter().sum::<u64>(), 12, "and two again: {:?}", by_source(&daemon));
    server.close(12);
    wait::until_eq("the count", &0, PATIENCE, || daemon.open("smtp"));
    daemon.assert_sound();
}

/// A port that moves to another service takes its open connections along; one that leaves every
/// service frees them, and they are counted again when it comes back.
#[test]
fn a_port_that_moves_takes_its_connections_along() {
    const RELAY: &str = "[[service]]\nname = \"relay\"\nports = [25]\nconnections_per_source = 5\n";
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let server = server(&bed);
    let elsewhere = Server::greeting(&bed.server, (bed.client().server_ipv4(), 2525).into());
    let daemon = Daemon::start(&bed.server, &config());
    let held = connect(&bed, 6);
    assert_eq!((held.greeted(), daemon.open("smtp")), (6, 6));

    let moved = config().replace(&format!("ports = [{SMTP}]"), "ports = [2525]") + RELAY;
    daemon.configure(&moved);
    daemon.ctl_json(&["reload"]);
    assert_eq!((daemon.open("smtp"), daemon.open("relay")), (0, 6));
    assert_eq!(connect(&bed, 1).refused(), 1, "under the limit of the service it is in");

    daemon.configure(&config().replace("ports = [25]", "ports = [2525]"));
    daemon.ctl_json(&["reload"]);
    assert_eq!((daemon.open("smtp"), daemon.open("relay")), (0, 0), "nobody guards the port");
    let free = connect(&bed, 20);
    assert_eq!(free.greeted(), 20);

    daemon.configure(&config());
    daemon.ctl_json(&["reload"]);
    assert_eq!(daemon.open("smtp"), 26, "what is open is counted, old and new");
    assert_eq!((held.open(), free.open()), (6, 20), "and was left alone");
    assert_eq!(connect(&bed, 1).refused(), 1);
    server.close(26);
    drop(elsewhere);
    wait::until_eq("the count", &0, PATIENCE, || daemon.open("smtp"));
    daemon.assert_sound();
}
