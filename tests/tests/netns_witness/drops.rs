//! - `a_policy_that_drops_live_packets_is_named`: at every hook of netfilter, in both families and directions,
//!   with and without early demux; and nothing of normal TCP is
//! - `mail_that_the_host_sends_is_watched_too`: the same for connections to others' port 25
//! - `other_policies_are_named`: tc, both ways, and the routes that a packet may not come by
//! - `drops_are_shown_beside_refusals`: one timeline, and `status` says what to look at
//! - `strangers_do_not_count`: other ports, other namespaces, forwarded mail

use std::io::Write as _;
use std::net::SocketAddr;

use aya::programs::TcAttachType;
use limiter_tests::daemon::{DAEMON, Daemon};
use limiter_tests::veth::Bed;
use limiter_tests::{host, require, tc, wait};

use crate::{PATIENCE, Pair, SMTP, client, daemon, drop_at, let_pass, server};

/// A hook of netfilter, and which packets of the server's connections it sees.
struct Hook {
    chain: &'static str,
    direction: &'static str,
}

const HOOKS: [Hook; 4] = [
    Hook { chain: "prerouting", direction: "in" },
    Hook { chain: "input", direction: "in" },
    Hook { chain: "output", direction: "out" },
    Hook { chain: "postrouting", direction: "out" },
];

fn established(daemon: &Daemon<'_>, service: &str, direction: &str, reason: &str) -> u64 {
    let labels = [("service", service), ("direction", direction), ("reason", reason)];
    daemon.count("limiter_established_drops_total", &labels)
}

fn established_in_all(daemon: &Daemon<'_>) -> u64 {
    daemon.count("limiter_established_drops_total", &[])
}

/// Every hook, family and direction; the packets that TCP itself discards meanwhile are not among them.
#[test]
fn a_policy_that_drops_live_packets_is_named() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let daemon = daemon(&bed, "");
    for early_demux in ["1", "0"] {
        bed.server.sysctl("net.ipv4.tcp_early_demux", early_demux);
        for v6 in [false, true] {
            for Hook { chain, direction } in HOOKS {
                let address = SocketAddr::new(server(&bed, v6), SMTP);
                let mut pair = Pair::connect(&bed.client().namespace, &bed.server, address);
                pair.talk();
                let before = established(&daemon, "smtp", direction, "NETFILTER_DROP");
                let port = if direction == "in" { "dport" } else { "sport" };
                drop_at(&bed.server, chain, &format!("tcp {port} {SMTP} drop"));
                let mut speaker = if direction == "in" { &pair.client } else { &pair.server };
                // Where the rule drops what the host itself sends, the sender may be told.
                drop(speaker.write_all(b"250 2.0.0 Ok\r\n"));
                wait::until("the drop is in the metric", PATIENCE, || {
                    established(&daemon, "smtp", direction, "NETFILTER_DROP") > before
                });
                let_pass(&bed.server);
                drop(pair);
            }
        }
    }
    let named = ["in", "out"].map(|direction| established(&daemon, "smtp", direction, "NETFILTER_DROP"));
    assert_eq!(established_in_all(&daemon), named.iter().sum::<u64>(), "and for no other reason");
    println!("packets of live connections dropped: {named:?}");
    daemon.assert_sound();
}

/// Connections that the host opens to other mail servers.
#[test]
fn mail_that_the_host_sends_is_watched_too() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let daemon = daemon(&bed, "");
    for v6 in [false, true] {
        let address = SocketAddr::new(client(&bed, v6), SMTP);
        let mut pair = Pair::connect(&bed.server, &bed.client().namespace, address);
        pair.talk();
        let before = established(&daemon, "outbound", "in", "NETFILTER_DROP");
        assert_eq!(established(&daemon, "outbound", "out", "NETFILTER_DROP"), 0);
        drop_at(&bed.server, "input", "tcp sport 25 drop");
        pair.server.write_all(b"250 2.0.0 Ok\r\n").expect("it is sent, and lost");
        wait::until("the drop is in the metric", PATIENCE, || {
            established(&daemon, "outbound", "in", "NETFILTER_DROP") > before
        });
        let_pass(&bed.server);
    }
    assert_eq!(established(&daemon, "smtp", "in", "NETFILTER_DROP"), 0, "it is no client of ours");
}

/// tc on the way in and out, and strict reverse paths.
#[test]
fn other_policies_are_named() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let daemon = daemon(&bed, "");
    let address = SocketAddr::new(server(&bed, false), SMTP);
    let ways = [(TcAttachType::Ingress, "in", "TC_INGRESS"), (TcAttachType::Egress, "out", "TC_EGRESS")];
    for (way, direction, reason) in ways {
        let mut pair = Pair::connect(&bed.client().namespace, &bed.server, address);
        pair.talk();
        let before = established(&daemon, "smtp", direction, reason);
        bed.server.output("tc", &["qdisc", "add", "dev", "srv0", "clsact"]);
        tc::add_dropping_filter(&bed.server, "srv0", way);
        let mut speaker = if direction == "in" { &pair.client } else { &pair.server };
        speaker.write_all(b"250 2.0.0 Ok\r\n").expect("it is sent, and lost");
        wait::until(reason, PATIENCE, || established(&daemon, "smtp", direction, reason) > before);
        bed.server.output("tc", &["qdisc", "del", "dev", "srv0", "clsact"]);
    }
    let mut pair = Pair::connect(&bed.client().namespace, &bed.server, address);
    pair.talk();
    // The way back to the client leads elsewhere now.
    bed.server.sysctl("net.ipv4.conf.srv0.rp_filter", "1");
    bed.server.sysctl("net.ipv4.tcp_early_demux", "0");
    bed.server.ip(&format!("route add {}/32 dev lo", client(&bed, false)));
    pair.client.write_all(b"NOOP\r\n").expect("it is sent, and lost");
    wait::until("IP_RPFILTER", PATIENCE, || established(&daemon, "smtp", "in", "IP_RPFILTER") > 0);
}

/// Refusals of limiter and drops of the kernel in one timeline; metrics keep them apart.
#[test]
fn drops_are_shown_beside_refusals() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let daemon = daemon(&bed, "connections_per_source = 1\n[breaker]\nenabled = false\n");
    let address = SocketAddr::new(server(&bed, false), SMTP);
    let mut pair = Pair::connect(&bed.client().namespace, &bed.server, address);
    pair.talk();
    let refused =
        bed.client().namespace.run(|| std::net::TcpStream::connect_timeout(&address, crate::ANSWER));
    refused.expect_err("one too many");
    drop_at(&bed.server, "input", "tcp dport 25 drop");
    pair.client.write_all(b"NOOP\r\n").expect("it is sent, and lost");
    let mut drops = serde_json::Value::Null;
    wait::until("both are shown", PATIENCE, || {
        drops = daemon.ctl_json(&["drops"]);
        let verdicts = drops["drops"].as_array().expect("a list");
        let has = |verdict: &str| verdicts.iter().any(|drop| drop["verdict"] == verdict);
        has("refuse") && has("kernel_drop")
    });
    let list = drops["drops"].as_array().expect("a list");
    let dropped = list.iter().find(|drop| drop["verdict"] == "kernel_drop").expect("a drop of the kernel");
    assert_eq!(dropped["reason"], "NETFILTER_DROP");
    assert_eq!(dropped["service"], "smtp");
    assert_eq!(dropped["class"], "default");
    assert_eq!(dropped["point"], "kernel");
    assert_eq!(dropped["direction"], "in");
    assert_eq!(dropped["established"], true);
    assert_eq!(dropped["address"], client(&bed, false).to_string().as_str());
    assert_eq!(dropped["port"], SMTP);
    let times: Vec<u64> = list.iter().filter_map(|drop| drop["at_ms"].as_u64()).collect();
    assert!(times.is_sorted(), "one timeline: {times:?}");
    let status = daemon.ctl_json(&["status"]);
    let reasons = status["services"][0]["reasons"].to_string();
    assert!(reasons.contains("NETFILTER_DROP") && reasons.contains("limiterctl drops"), "{reasons}");
    assert_eq!(daemon.refused("smtp", "connections_per_source"), 1);
}

/// What is no packet of this host's mail is nobody's business here.
#[test]
fn strangers_do_not_count() {
    require!(host::BED, DAEMON);
    let bed = Bed::plan().clients(2).build();
    let daemon = daemon(&bed, "");
    // Another port of this host.
    let address = SocketAddr::new(server(&bed, false), 8_080);
    let mut web = Pair::connect(&bed.client().namespace, &bed.server, address);
    web.talk();
    drop_at(&bed.server, "input", "tcp dport 8080 drop");
    web.client.write_all(b"GET /\r\n").expect("it is sent, and lost");
    // Mail between others, in a namespace of theirs.
    let inside = &bed.clients[0].namespace;
    let address = SocketAddr::new(bed.clients[0].ipv4(), SMTP);
    let mut local = Pair::connect(inside, inside, address);
    local.talk();
    drop_at(inside, "input", "tcp dport 25 counter drop");
    local.client.write_all(b"NOOP\r\n").expect("it is sent, and lost");
    let_pass(inside);
    // Mail between others, by way of this host.
    bed.server.sysctl("net.ipv4.ip_forward", "1");
    for (one, other) in [(0, 1), (1, 0)] {
        let (from, to) = (&bed.clients[one], &bed.clients[other]);
        from.namespace.ip(&format!("route add {}/32 via {}", to.ipv4(), from.server_ipv4()));
    }
    let address = SocketAddr::new(bed.clients[1].ipv4(), SMTP);
    let mut forwarded = Pair::connect(&bed.clients[0].namespace, &bed.clients[1].namespace, address);
    forwarded.talk();
    let_pass(&bed.server);
    drop_at(&bed.server, "forward", "tcp dport 25 counter drop");
    forwarded.client.write_all(b"NOOP\r\n").expect("it is sent, and lost");
    wait::until("the forwarded packet is dropped", PATIENCE, || {
        !bed.server.output("nft", &["list", "table", "inet", "test"]).contains("packets 0 ")
    });
    assert_eq!(daemon.count("limiter_kernel_drops_total", &[("reason", "NETFILTER_DROP")]), 0);
    assert_eq!(established_in_all(&daemon), 0);
}
