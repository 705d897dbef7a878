//! What nobody proved changes nothing: forged segments, on the real kernel, against the real daemon.
//!
//! - a million SYNs in a victim's name: `a_million_syns_*`
//! - SYN and forged ACK, with request sockets and with SYN cookies: `forged_acks_*`, `forged_cookies_*`
//! - wrong checksums: `bad_checksums_*`
//! - RST, FIN and SYN inside a live connection's tuple: `forged_segments_*`

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use limiter_tests::daemon::{DAEMON, Daemon};
use limiter_tests::frame::{Flags, Frame, Tcp, transport_checksum};
use limiter_tests::raw::{Handshakes, Shape};
use limiter_tests::server::{BANNER, Server};
use limiter_tests::veth::{Bed, Client};
use limiter_tests::wire::Wire;
use limiter_tests::{host, require, wait};

const PATIENCE: Duration = Duration::from_secs(10);
const LIMIT: u16 = 20;
/// A limit, and a quota that a single forged SYN in a second would use up if it were charged.
const CONFIG: &str = r#"
mode = "enforce"
interfaces = ["srv0"]
[[service]]
name = "smtp"
ports = [25]
connections_per_source = 20
new_connections_per_source = { per_minute = 60, burst = 40 }
"#;
/// Source ports of what the victim itself sends: no forged segment has them.
const VICTIM_PORTS: u16 = 200;
/// Source ports of forged segments.
const FORGED_PORTS: std::ops::RangeInclusive<u16> = 1024..=u16::MAX;
/// Ethernet and IPv4 headers without options.
const TCP_AT: usize = 34;

fn victim_v4() -> IpAddr {
    "192.0.2.66".parse().expect("an address")
}

fn victim_v6() -> IpAddr {
    "2001:db8:66::1".parse().expect("an address")
}

fn v4(client: &Client) -> SocketAddr {
    SocketAddr::new(client.server_ipv4(), 25)
}

fn v6(client: &Client) -> SocketAddr {
    SocketAddr::new(client.server_ipv6(), 25)
}

/// How many connections the kernel side holds a source to have.
fn held(daemon: &Daemon<'_>, source: IpAddr) -> u64 {
    let check = daemon.ctl_json(&["check", &source.to_string(), "--port", "25"]);
    check["answers"][0]["held"].as_u64().expect("a check says what the source holds")
}

/// How full the map of sources is, from a recount made for it.
fn sources_fill(daemon: &Daemon<'_>) -> f64 {
    daemon.ctl_json(&["top"]);
    daemon.metric("limiter_map_fill_ratio", &[("map", "sources")])
}

/// Nothing is counted for the victim, no entry is left, nobody was refused.
#[track_caller]
fn assert_nothing_moved(daemon: &Daemon<'_>, victim: IpAddr) {
    assert_eq!(daemon.open("smtp"), 0, "no connection is counted");
    assert_eq!(held(daemon, victim), 0, "no slot is taken");
    assert_eq!(sources_fill(daemon).to_bits(), 0, "no entry is left");
    assert_eq!(daemon.count("limiter_packets_total", &[("verdict", "refuse")]), 0, "nobody is refused");
    daemon.assert_sound();
}

/// The victim gets all its limit allows, at once, and no more.
#[track_caller]
fn assert_victim_has_its_limit(bed: &Bed, daemon: &Daemon<'_>, listening: &Server, victim: IpAddr) {
    let address = listening.address;
    let mut raw = Handshakes::prepare_from(VICTIM_PORTS, bed.client(), address, &[victim], LIMIT + 5);
    raw.send_syns();
    assert_eq!(raw.wait_for(PATIENCE, |h| h.server_isn.is_some()), usize::from(LIMIT + 5));
    raw.complete(&Shape::Ack);
    listening.wait_held(usize::from(LIMIT), PATIENCE);
    let greeted = |all: &[limiter_tests::raw::Handshake]| {
        all.iter().filter(|h| h.data == BANNER).count() == usize::from(LIMIT)
    };
    assert!(raw.wait_until(PATIENCE, greeted), "the victim's connections are greeted");
    assert_eq!(daemon.open("smtp"), u64::from(LIMIT));
    assert_eq!(held(daemon, victim), u64::from(LIMIT));
    assert_eq!(listening.most(), usize::from(LIMIT));
}

/// SYNs in the victim's name, one from each port: sent again and again with other sequence numbers.
struct Flood {
    frames: Vec<Vec<u8>>,
    addresses: (IpAddr, IpAddr),
}

impl Flood {
    fn syns(client: &Client, victim: IpAddr, server: SocketAddr) -> Self {
        let frame = |port| {
            let macs = (client.ghost_mac(), client.server_mac());
            let source = SocketAddr::new(victim, port);
            Frame::syn(source, server).between(macs.0, macs.1).to_bytes()
        };
        Self { frames: FORGED_PORTS.map(frame).collect(), addresses: (victim, server.ip()) }
    }

    /// Gives every frame another sequence number.
    fn renumber(&mut self, round: u32) {
        let (source, destination) = self.addresses;
        for (n, frame) in (0_u32..).zip(&mut self.frames) {
            let tcp = &mut frame[TCP_AT..];
            tcp[4..8].copy_from_slice(&(n ^ round.wrapping_mul(0x9e37_79b9)).to_be_bytes());
            tcp[16..18].fill(0);
            let sum = transport_checksum(source, destination, 6, tcp);
            tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        }
    }
}

/// I2: a million SYNs in a victim's name charge it nothing and make no entry,
/// and its own connections are accepted up to its limit.
///
/// The frames are written once and renumbered for every round, so that sending
/// takes the time and not the writing.
#[test]
fn a_million_syns_charge_the_victim_nothing() {
    const SYNS: usize = 1_000_000;
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let (server, victim) = (v4(bed.client()), victim_v4());
    let listening = Server::greeting(&bed.server, server);
    let daemon = Daemon::start(&bed.server, CONFIG);
    bed.client().add_ghosts(&[victim]);
    let wire = Wire::send_only(&bed.client().namespace, &bed.client().device());
    let mut flood = Flood::syns(bed.client(), victim, server);
    let (mut sent, mut sending) = (0, Duration::ZERO);
    for round in 0.. {
        flood.renumber(round);
        let start = Instant::now();
        let batch = flood.frames.len().min(SYNS - sent);
        for frame in &flood.frames[..batch] {
            wire.send(frame);
        }
        sending += start.elapsed();
        sent += batch;
        assert_eq!((daemon.open("smtp"), held(&daemon, victim)), (0, 0), "after {sent} SYNs");
        if sent == SYNS {
            break;
        }
    }
    let passed = [("point", "syn"), ("verdict", "pass"), ("reason", "within_limits"), ("family", "ipv4")];
    let passed = daemon.count("limiter_packets_total", &passed);
    eprintln!("{sent} forged SYNs in {sending:?}, {passed} met XDP and passed");
    assert_eq!(passed, SYNS as u64, "every SYN was judged, and passed");
    assert_nothing_moved(&daemon, victim);
    assert_victim_has_its_limit(&bed, &daemon, &listening, victim);
    daemon.assert_sound();
}

/// A SYN and an ACK of a number that the server never sent, from one port of the victim's.
fn forged_pair(client: &Client, source: SocketAddr, server: SocketAddr, n: u32) -> [Vec<u8>; 2] {
    let isn = n.wrapping_mul(0x9e37_79b9);
    let forged = Tcp::acking(isn.rotate_left(9)).seq(isn.wrapping_add(1));
    let macs = (client.ghost_mac(), client.server_mac());
    [Tcp::syn().seq(isn), forged]
        .map(|tcp| Frame::tcp(source, server, tcp).between(macs.0, macs.1).to_bytes())
}

/// Sends SYN and forged ACK `count` times, each pair from a port of its own.
fn send_forged_pairs(client: &Client, wire: &Wire, victim: IpAddr, server: SocketAddr, count: u16) {
    for (n, port) in (0_u32..).zip(FORGED_PORTS).take(usize::from(count)) {
        for frame in forged_pair(client, SocketAddr::new(victim, port), server, n) {
            wire.send(&frame);
        }
    }
}

/// I2: SYN plus forged ACK completes nothing, takes no slot and leaves no entry, over both families.
#[test]
fn forged_acks_take_no_slot() {
    require!(host::BED, DAEMON);
    for (server, victim) in [(v4 as fn(&Client) -> SocketAddr, victim_v4()), (v6, victim_v6())] {
        let bed = Bed::new();
        let server = server(bed.client());
        let listening = Server::greeting(&bed.server, server);
        let daemon = Daemon::start(&bed.server, CONFIG);
        bed.client().add_ghosts(&[victim]);
        let wire = Wire::send_only(&bed.client().namespace, &bed.client().device());
        let start = Instant::now();
        send_forged_pairs(bed.client(), &wire, victim, server, 20_000);
        eprintln!("20000 pairs of SYN and forged ACK to {server} in {:?}", start.elapsed());
        assert_eq!(listening.accepted(), 0);
        assert_nothing_moved(&daemon, victim);
        assert_victim_has_its_limit(&bed, &daemon, &listening, victim);
        daemon.assert_sound();
    }
}

/// I2: with SYN cookies for every SYN, ACKs that carry an invalid cookie take no
/// slot and leave no entry, with and without a SYN before them.
///
/// No request socket tells such an ACK from a good one, so the gate reserves for
/// it and takes the reservation back when the kernel drops it.
#[test]
fn forged_cookies_leave_no_entry() {
    require!(host::BED, DAEMON);
    for (server, victim) in [(v4 as fn(&Client) -> SocketAddr, victim_v4()), (v6, victim_v6())] {
        let bed = Bed::new();
        bed.server.sysctl("net.ipv4.tcp_syncookies", "2");
        let server = server(bed.client());
        let listening = Server::greeting(&bed.server, server);
        let daemon = Daemon::start(&bed.server, CONFIG);
        bed.client().add_ghosts(&[victim]);
        let wire = Wire::send_only(&bed.client().namespace, &bed.client().device());
        send_forged_pairs(bed.client(), &wire, victim, server, 20_000);
        let macs = (bed.client().ghost_mac(), bed.client().server_mac());
        for (n, port) in (0_u32..).zip(FORGED_PORTS.rev()).take(20_000) {
            let ack = Tcp::acking(n.wrapping_mul(0x85eb_ca6b)).seq(n);
            let frame = Frame::tcp(SocketAddr::new(victim, port), server, ack).between(macs.0, macs.1);
            wire.send(&frame.to_bytes());
        }
        let admitted = daemon.count("limiter_packets_total", &[("point", "gate"), ("verdict", "pass")]);
        eprintln!("40000 ACKs with invalid cookies to {server}: the gate looked at {admitted}");
        assert!(admitted > 0, "forged cookies meet the gate");
        assert_eq!(listening.accepted(), 0);
        assert_nothing_moved(&daemon, victim);
        assert_victim_has_its_limit(&bed, &daemon, &listening, victim);
        daemon.assert_sound();
    }
}

/// I2: while forged cookies pour in, the victim's own connections are accepted:
/// a forged ACK holds a slot for no longer than the call that carries it.
#[test]
fn forged_cookies_do_not_disturb_the_victim() {
    // A forged ACK on each of two CPUs may hold a slot at the moment of the look.
    const OWN: u16 = LIMIT - 2;
    const ROUND: u16 = 500;
    require!(host::BED, DAEMON);
    let bed = Bed::plan().clients(2).build();
    bed.server.sysctl("net.ipv4.tcp_syncookies", "2");
    let (server, victim) = (v4(bed.client()), victim_v4());
    let listening = Server::greeting(&bed.server, server);
    let daemon = Daemon::start(&bed.server, CONFIG);
    bed.client().add_ghosts(&[victim]);
    let attacker = &bed.clients[1];
    let wire = Wire::send_only(&attacker.namespace, &attacker.device());
    let (stop, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    let accepted = thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                send_forged_pairs(attacker, &wire, victim, server, ROUND);
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        });
        let connect = |n| {
            let before = rounds.load(Ordering::Relaxed);
            wait::until("the flood goes on", PATIENCE, || rounds.load(Ordering::Relaxed) > before);
            let mut raw = Handshakes::prepare_from(VICTIM_PORTS + n, bed.client(), server, &[victim], 1);
            raw.send_syns();
            raw.wait_for(PATIENCE, |h| h.server_isn.is_some());
            raw.complete(&Shape::Ack);
            raw.wait_for(PATIENCE, |h| h.data == BANNER)
        };
        let accepted: usize = (0..OWN).map(connect).sum();
        stop.store(true, Ordering::Relaxed);
        accepted
    });
    eprintln!(
        "{accepted} connections of the victim within {} forged pairs",
        rounds.into_inner() * u64::from(ROUND)
    );
    assert_eq!(accepted, usize::from(OWN), "each connection of the victim's is greeted");
    assert_eq!(listening.held(), usize::from(OWN));
    assert_eq!((daemon.open("smtp"), held(&daemon, victim)), (OWN.into(), OWN.into()));
    daemon.assert_sound();
}

/// I2: segments with a wrong checksum count nothing: SYNs, completing ACKs, bare
/// and with so much data that the kernel checks the sum late.
#[test]
fn bad_checksums_count_nothing() {
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let (server, victim) = (v4(bed.client()), victim_v4());
    let listening = Server::greeting(&bed.server, server);
    let daemon = Daemon::start(&bed.server, CONFIG);
    let mut raw = Handshakes::in_flight(bed.client(), server, &[victim], 100);
    for handshake in raw.all() {
        let ack = handshake.segment(Flags::ACK);
        let segments = [
            Tcp::syn().seq(7).broken_checksum(),
            ack.clone().broken_checksum(),
            ack.clone().with(Flags::PSH).payload(vec![b'x'; 1000]).broken_checksum(),
            ack.with(Flags::FIN).broken_checksum(),
        ];
        for segment in segments {
            raw.wire().send(&handshake.frame(segment).to_bytes());
        }
    }
    assert_eq!(listening.accepted(), 0);
    assert_nothing_moved(&daemon, victim);
    raw.complete_some(0..usize::from(LIMIT), &Shape::Ack);
    listening.wait_held(usize::from(LIMIT), PATIENCE);
    assert_eq!((daemon.open("smtp"), held(&daemon, victim)), (LIMIT.into(), LIMIT.into()));
    daemon.assert_sound();
}

/// I2, I4: RST, FIN, SYN and data with wrong numbers inside the tuple of a live
/// connection release nothing and charge nothing, and it works as before.
#[test]
fn forged_segments_in_a_live_connection_change_nothing() {
    const LIVE: u16 = 10;
    const ROUNDS: u32 = 200;
    require!(host::BED, DAEMON);
    let bed = Bed::new();
    let (server, victim) = (v4(bed.client()), victim_v4());
    let listening = Server::greeting(&bed.server, server);
    let daemon = Daemon::start(&bed.server, CONFIG);
    let mut raw = Handshakes::in_flight(bed.client(), server, &[victim], LIVE);
    raw.complete(&Shape::Ack);
    assert_eq!(raw.wait_for(PATIENCE, |h| h.data == BANNER), usize::from(LIVE));
    let mut sent = 0_u32;
    for round in 0..ROUNDS {
        for handshake in raw.all() {
            for segment in forged_inside(&handshake.segment(Flags::NONE), round) {
                raw.wire().send(&handshake.frame(segment).to_bytes());
                sent += 1;
            }
        }
        if round.is_multiple_of(50) {
            assert_eq!((daemon.open("smtp"), held(&daemon, victim)), (LIVE.into(), LIVE.into()));
        }
    }
    eprintln!("{sent} forged segments inside {LIVE} live connections");
    raw.send_each(|h| Some(h.segment(Flags::ACK | Flags::PSH).payload("EHLO test\r\n")));
    let mut streams = listening.take(usize::from(LIVE));
    for stream in &mut streams {
        let mut said = [0; 11];
        stream.set_nonblocking(false).expect("a live socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a live socket");
        stream.read_exact(&mut said).expect("the client's words arrive");
        assert_eq!(&said, b"EHLO test\r\n");
        stream.write_all(b"250 ok\r\n").expect("the connection is open");
    }
    let answered = raw.wait_for(PATIENCE, |h| h.data.ends_with(b"250 ok\r\n"));
    assert_eq!(answered, usize::from(LIVE), "every live connection works");
    assert_eq!(raw.count(|h| h.reset.is_some()), 0, "none was reset");
    assert_eq!((daemon.open("smtp"), held(&daemon, victim)), (LIVE.into(), LIVE.into()));
    drop(streams);
    let closed = raw.wait_for(PATIENCE, |h| h.fin);
    assert_eq!(closed, usize::from(LIVE), "and ends in order");
    daemon.assert_sound();
}

/// Segments that a blind attacker might send: none has the number that TCP waits for.
///
/// No FIN lies within the window: TCP keeps such a one, and obeys it when the gap is filled.
fn forged_inside(next: &Tcp, round: u32) -> [Tcp; 8] {
    let segment =
        |flags, offset: u32| next.clone().with(flags).seq(next.seq.wrapping_add(offset).wrapping_add(round));
    let far = 0x1000_0000;
    [
        segment(Flags::RST, 1),
        segment(Flags::RST | Flags::ACK, 1000),
        segment(Flags::RST, far),
        segment(Flags::RST, far.wrapping_neg()),
        segment(Flags::FIN | Flags::ACK, far),
        segment(Flags::FIN | Flags::ACK, far.wrapping_neg()),
        segment(Flags::SYN, 77),
        segment(Flags::ACK | Flags::PSH, far).payload("QUIT\r\n"),
    ]
}
