//! The test beds themselves, on the real kernel and without limiter.
//!
//! - namespaces come, work and go: `a_namespace_*`, `a_panicking_test_*`
//! - every shape of a raw handshake, against a plain server: `handshakes_*`,
//!   `a_forged_*`, `a_split_*`, `deferred_*`
//! - `XDP_TX` to a client: `a_client_*`
//! - 2,000 connects at once, refusals, queues: `connects_*`
//! - a real Postfix: `postfix_*`
//! - processes, control groups, requirements: `a_process_*`, `a_cgroup_*`, `a_missing_*`

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use limiter_tests::client::{Burst, Outcome, Target};
use limiter_tests::frame::Frame;
use limiter_tests::host::{Cgroup, Requirement};
use limiter_tests::mail::{self, Mail, Postfix};
use limiter_tests::netns::Namespace;
use limiter_tests::process::Process;
use limiter_tests::raw::{Handshakes, Shape};
use limiter_tests::server::{BANNER, Server};
use limiter_tests::veth::{Bed, Client};
use limiter_tests::wire::Wire;
use limiter_tests::xdp::{Action, Attached, XdpMode};
use limiter_tests::{host, require, wait};

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);
const SMTP: u16 = 25;

fn v4(client: &Client) -> SocketAddr {
    SocketAddr::new(client.server_ipv4(), SMTP)
}

fn v6(client: &Client) -> SocketAddr {
    SocketAddr::new(client.server_ipv6(), SMTP)
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A namespace is named, has loopback and settings of its own, and is gone when dropped.
#[test]
fn a_namespace_lives_as_long_as_its_value() {
    require!(host::BED);
    let namespace = Namespace::create("life");
    let path = namespace.path();
    namespace.sysctl("net.ipv4.tcp_syncookies", "2");
    assert_eq!(namespace.read_sysctl("net.ipv4.tcp_syncookies"), "2");
    assert!(namespace.output("ip", &["-o", "link"]).contains("LOOPBACK,UP"));
    drop(namespace);
    assert!(!path.exists(), "the namespace is deleted");
}

/// Namespaces of a test that panics are deleted while it unwinds.
#[test]
fn a_panicking_test_leaves_no_namespace() {
    require!(host::BED);
    let mut path = None;
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let namespace = Namespace::create("panic");
        path = Some(namespace.path());
        namespace.run(|| panic!("on purpose"));
    }));
    assert!(panicked.is_err(), "a panic inside a namespace is the test's panic");
    assert!(!path.expect("the namespace was there").exists(), "the namespace is deleted");
}

/// Completes 200 handshakes that are all in flight, in one shape, and counts what the server gets.
fn complete_200(bed: &Bed, server: SocketAddr, sources: &[IpAddr], shape: &Shape) {
    let listening = Server::greeting(&bed.server, server);
    let mut raw = Handshakes::in_flight(bed.client(), server, sources, 200);
    assert_eq!(listening.accepted(), 0, "no handshake completes by itself");
    raw.complete(shape);
    listening.wait_held(200, PATIENCE);
    assert_eq!(raw.wait_for(PATIENCE, |h| h.data == BANNER), 200, "each is greeted: {shape:?}");
    assert_eq!(raw.count(|h| h.reset.is_some() || h.bad_checksums > 0), 0, "nothing is reset: {shape:?}");
}

/// Every shape that completes a handshake completes all 200 in flight, over IPv4.
#[test]
fn handshakes_complete_in_every_shape_over_ipv4() {
    require!(host::BED);
    let data = b"EHLO test\r\n".to_vec();
    let shapes = [
        Shape::Ack,
        Shape::AckWithData(data.clone()),
        Shape::AckThenData(data.clone()),
        Shape::FinAck,
        Shape::Fragments(8, Vec::new()),
        Shape::Fragments(8, data),
    ];
    let bed = Bed::new();
    for shape in shapes {
        complete_200(&bed, v4(bed.client()), &[address("192.0.2.7")], &shape);
    }
}

/// Every shape that completes a handshake completes all 200 in flight, over
/// IPv6, from two addresses of one /64.
#[test]
fn handshakes_complete_in_every_shape_over_ipv6() {
    require!(host::BED);
    let sources = [address("2001:db8::1"), address("2001:db8::2")];
    let data = b"EHLO test\r\n".to_vec();
    let shapes = [
        Shape::Ack,
        Shape::AckWithData(data.clone()),
        Shape::AckThenData(data.clone()),
        Shape::FinAck,
        Shape::OptionHeaders(30),
        Shape::Fragments(24, data),
    ];
    let bed = Bed::new();
    for shape in shapes {
        complete_200(&bed, v6(bed.client()), &sources, &shape);
    }
}

/// IPv6 fragments whose first one lacks the TCP header are dropped by the kernel.
#[test]
fn a_split_tcp_header_completes_nothing_over_ipv6() {
    require!(host::BED);
    let bed = Bed::new();
    let server = v6(bed.client());
    let listening = Server::greeting(&bed.server, server);
    let mut raw = Handshakes::in_flight(bed.client(), server, &[address("2001:db8::1")], 20);
    raw.complete(&Shape::Fragments(8, Vec::new()));
    raw.complete_some(0..1, &Shape::Ack);
    listening.wait_held(1, PATIENCE);
    assert_eq!(listening.accepted(), 1, "only the whole segment completes its handshake");
}

/// With threaded NAPI the segments of many handshakes meet the server in one batch.
#[test]
fn handshakes_complete_in_a_batch() {
    require!(host::BED);
    let bed = Bed::plan().queues(2).build();
    bed.server.threaded_napi("srv0", true);
    let shape = Shape::AckThenData(b"EHLO test\r\n".to_vec());
    complete_200(&bed, v4(bed.client()), &[address("192.0.2.7")], &shape);
}

/// With the server's packets spread over both CPUs the handshakes complete all the same.
#[test]
fn handshakes_complete_on_two_cpus() {
    require!(host::BED);
    let bed = Bed::plan().queues(2).build();
    bed.server.receive_packet_steering("srv0", "3");
    assert_eq!(bed.server.read_device("srv0/queues/rx-0/rps_cpus"), "3");
    complete_200(&bed, v6(bed.client()), &[address("2001:db8::1")], &Shape::Ack);
}

/// With SYN cookies for every SYN the handshakes complete all the same.
#[test]
fn handshakes_complete_with_cookies() {
    require!(host::BED);
    let bed = Bed::new();
    bed.server.sysctl("net.ipv4.tcp_syncookies", "2");
    complete_200(&bed, v4(bed.client()), &[address("192.0.2.7")], &Shape::Ack);
    complete_200(&bed, v6(bed.client()), &[address("2001:db8::1")], &Shape::Ack);
}

/// An ACK of a number that the server never sent, or with a wrong checksum, completes nothing.
#[test]
fn a_forged_ack_completes_nothing() {
    require!(host::BED);
    let bed = Bed::new();
    let server = v4(bed.client());
    let listening = Server::greeting(&bed.server, server);
    let mut raw = Handshakes::in_flight(bed.client(), server, &[address("192.0.2.7")], 50);
    raw.complete(&Shape::BadChecksum);
    raw.complete(&Shape::ForgedAck);
    assert_eq!(raw.wait_for(PATIENCE, |h| h.reset.is_some()), 50, "a forged ACK is reset");
    assert_eq!(listening.accepted(), 0);
    raw.complete(&Shape::Ack);
    listening.wait_held(50, PATIENCE);
}

/// How many of ten frames come back from a server's device that sends back every frame.
fn reflected(bed: &Bed) -> usize {
    let _reflector = Attached::new(&bed.server, "srv0", Action::Tx, XdpMode::Driver);
    let mut wire = Wire::open(&bed.client().namespace, "cli0");
    let source = SocketAddr::new(bed.client().ipv4(), 40_000);
    for _ in 0..10 {
        wire.send(&Frame::syn(source, v4(bed.client())).to_bytes());
    }
    let end = Instant::now() + SECOND / 5;
    (0..10).map_while(|_| wire.receive_from(source, end)).count()
}

/// `XDP_TX` of the server's reaches a client with an XDP program, and no other:
/// GRO, which gives the client's device a NAPI too, does not wake it. Any other frame of the kernel's
/// does, such as a router solicitation: then what waited arrives with it, so a few tries are made.
#[test]
fn a_client_sees_what_xdp_sends_back() {
    require!(host::BED);
    assert_eq!(reflected(&Bed::new()), 10);
    let bare = Bed::plan().without_pass().build();
    assert_eq!(reflected(&bare), 0);
    bare.client().namespace.output("ethtool", &["-K", "cli0", "gro", "on"]);
    let tries: Vec<usize> = std::iter::repeat_with(|| reflected(&bare)).take(5).collect();
    assert!(tries.contains(&0), "by itself nothing arrives: {tries:?}");
}

/// 2,000 connects at once, from both cores, are all accepted and greeted.
#[test]
fn connects_by_the_thousand() {
    require!(host::BED);
    let bed = Bed::new();
    for address in [v4(bed.client()), v6(bed.client())] {
        let server = Server::greeting(&bed.server, address);
        let burst = Burst::connect(&bed.client().namespace, &Target::greeting(address), 2000);
        assert_eq!(burst.greeted(), 2000, "{burst:?}");
        assert_eq!((server.held(), server.most()), (2000, 2000));
        server.close(500);
        assert_eq!((server.held(), server.most(), server.accepted()), (1500, 2000, 2000));
        eprintln!("2,000 connects to {address}: slowest {:?}", burst.slowest());
    }
}

/// Connects where nobody listens are refused, and time out where nobody answers.
#[test]
fn connects_tell_a_reset_from_silence() {
    require!(host::BED);
    let bed = Bed::new();
    let client = &bed.client().namespace;
    let refused = Burst::connect(client, &Target::silent(v4(bed.client())), 10);
    assert_eq!(refused.count(|o| *o == Outcome::Refused), 10, "{refused:?}");
    assert!(refused.slowest() < SECOND, "{refused:?}");
    bed.server.nft("table inet t { chain c { type filter hook input priority 0; tcp dport 25 drop; }; }");
    let silent = Burst::connect(client, &Target::silent(v4(bed.client())).within(SECOND / 2), 10);
    assert_eq!(silent.count(|o| *o == Outcome::TimedOut), 10, "{silent:?}");
}

/// A server that never accepts queues what its backlog allows; a client sees a connection.
#[test]
fn connects_queue_at_a_server_that_never_accepts() {
    require!(host::BED);
    let bed = Bed::new();
    let address = v4(bed.client());
    let server = Server::plan(address).never_accepting().listen(&bed.server);
    let burst = Burst::connect(&bed.client().namespace, &Target::silent(address), 20);
    assert_eq!((burst.connected(), server.held()), (20, 0), "{burst:?}");
}

/// Connects come from the addresses they are told to, IPv4 to a dual-stack server included.
#[test]
fn connects_come_from_many_addresses() {
    require!(host::BED);
    let bed = Bed::plan().clients(2).build();
    let sources = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(address);
    bed.clients[1].add_addresses(&sources);
    let dual: SocketAddr = "[::]:25".parse().expect("an address");
    let server = Server::plan(dual).dual_stack().banner(BANNER).listen(&bed.server);
    let target = v4(&bed.clients[1]);
    let burst = Burst::connect(&bed.clients[1].namespace, &Target::greeting(target).from(&sources), 9);
    assert_eq!(burst.greeted(), 9, "{burst:?}");
    let peers = server.take(9).into_iter().map(|s| s.peer_addr().expect("connected").ip().to_canonical());
    assert_eq!(peers.filter(|p| *p == sources[0]).count(), 3);
}

/// A server that defers accepting sees a connection once there is data.
#[test]
fn deferred_connections_wait_for_data() {
    require!(host::BED);
    let bed = Bed::new();
    let address_v4 = v4(bed.client());
    let server = Server::plan(address_v4).defer_accept(30).listen(&bed.server);
    let mut raw = Handshakes::in_flight(bed.client(), address_v4, &[address("192.0.2.7")], 20);
    raw.complete_some(0..10, &Shape::Ack);
    raw.complete_some(10..20, &Shape::AckWithData(b"EHLO test\r\n".to_vec()));
    server.wait_held(10, PATIENCE);
    assert_eq!(server.accepted(), 10, "a bare ACK is not handed over");
}

/// Postfix starts in a namespace, takes a mail over both families and delivers it.
#[test]
fn postfix_accepts_and_delivers() {
    require!(host::BED, mail::POSTFIX);
    let bed = Bed::new();
    let postfix = Postfix::start(&bed.server, &[]);
    for (n, server) in [bed.client().server_ipv4(), bed.client().server_ipv6()].into_iter().enumerate() {
        let dialogue = mail::send(&bed.client().namespace, server, &Mail::new("a test"));
        assert!(dialogue.accepted(), "{dialogue:?}\n{}", postfix.log());
        postfix.wait_delivered(n + 1, PATIENCE);
    }
    assert!(postfix.mailbox()[0].contains("Subject: a test"));
    let elsewhere = Mail { to: "somebody@elsewhere.test".to_owned(), ..Mail::new("relay") };
    let refused = mail::send(&bed.client().namespace, bed.client().server_ipv4(), &elsewhere);
    assert_eq!(refused.codes(), [220, 250, 250, 554], "no relay: {refused:?}");
    postfix.stop();
    // Its servers hold the listening socket until they are scheduled once more.
    wait::until("nothing listens after the stop", PATIENCE, || !bed.server.listens(25));
    let dialogue = mail::send(&bed.client().namespace, bed.client().server_ipv4(), &Mail::new("late"));
    assert_eq!(dialogue.error, Some(ErrorKind::ConnectionRefused));
}

/// A control group of the test's own takes a process and is gone when dropped.
#[test]
fn a_cgroup_holds_a_process() {
    require!(&[Requirement::Root, Requirement::Cgroup2]);
    let cgroup = Cgroup::create("life");
    let path = cgroup.path().to_owned();
    let process = Process::start("sleep", Command::new("sleep").arg("60"));
    cgroup.adopt(process.pid());
    let members = std::fs::read_to_string(path.join("cgroup.procs")).expect("reading the members");
    assert_eq!(members.trim(), process.pid().to_string());
    process.stop(PATIENCE);
    drop(cgroup);
    assert!(!path.exists(), "the group is removed");
}

/// What is missing is named, with what provides it.
#[test]
fn a_missing_requirement_is_named() {
    let missing = Requirement::Command("no-such-command", "no-such-package").missing();
    assert_eq!(missing.as_deref(), Some("no command no-such-command (needs package no-such-package)"));
    assert_eq!(Requirement::Kernel((5, 0), "anything").missing(), None);
    assert!(Requirement::Kernel((99, 0), "the future").missing().is_some_and(|m| m.contains("needs 99.0")));
}

/// A process is heard, stopped by its id, and its status told.
#[test]
fn a_process_is_heard_and_stopped() {
    let process = Process::start("shell", Command::new("sh").args(["-c", "echo here; exec sleep 60"]));
    process.wait_for_log("here", PATIENCE);
    assert_eq!(process.exit_status(), None);
    assert_eq!(process.stop(PATIENCE).signal(), Some(15));
    process.kill();
}
