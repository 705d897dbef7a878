//! - `a_listener_that_overflows_is_named`: whose queue is full, how full, and what was lost
//! - `a_port_without_a_listener_is_degraded`: and well again once somebody listens

use std::net::SocketAddr;
use std::time::Duration;

use limiter_tests::client::{Burst, Target};
use limiter_tests::daemon::DAEMON;
use limiter_tests::server::Server;
use limiter_tests::veth::Bed;
use limiter_tests::{host, require, scene, wait};

use crate::{PATIENCE, SMTP, daemon, server};

/// Nobody accepts, and more come than the queue holds.
#[test]
fn a_listener_that_overflows_is_named() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let daemon = daemon(&bed, "[[service]]\nname = \"submission\"\nports = [587]\n");
    let address = SocketAddr::new(server(&bed, false), SMTP);
    let _full = Server::plan(address).backlog(4).never_accepting().listen(&bed.server);
    let _idle = Server::greeting(&bed.server, SocketAddr::new(server(&bed, false), 587));
    let target = Target::silent(address).within(Duration::from_secs(3));
    let _waiting = Burst::connect(&bed.client().namespace, &target, 20);
    let fill = |service, queue| {
        daemon.metric("limiter_listen_queue_ratio_max", &[("service", service), ("queue", queue)])
    };
    wait::until("the queue is full", PATIENCE, || fill("smtp", "accept") >= 1.0);
    wait::until("its drops are counted", PATIENCE, || {
        daemon.count("limiter_listener_drops_total", &[("service", "smtp")]) > 0
            && daemon.count("limiter_accept_queue_overflows_total", &[]) > 0
    });
    assert!(fill("submission", "accept") < 1.0);
    assert_eq!(daemon.count("limiter_listener_drops_total", &[("service", "submission")]), 0);
    let status = daemon.ctl_json(&["status"]);
    let reasons = status["services"][0]["reasons"].to_string();
    assert!(reasons.contains("its listeners dropped"), "{reasons}");
}

/// A guarded port on which nobody listens is not silently fine.
#[test]
fn a_port_without_a_listener_is_degraded() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let daemon = daemon(&bed, "");
    let reasons = || daemon.ctl_json(&["status"])["services"][0]["reasons"].to_string();
    wait::until("it is said", PATIENCE, || reasons().contains("nobody listens on port 25"));
    let _server = scene::server(&bed);
    wait::until("it is well again", PATIENCE, || !reasons().contains("nobody listens"));
}
