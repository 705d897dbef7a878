//! How a SYN is refused, byte by byte, in XDP and in tc.
//!
//! - the reset: `a_reset_*`, `resets_*`, `regression_*`
//! - silence: `drop_*`; watching: `observe_*`

use std::net::SocketAddr;

use limiter_common::addr::Family;
use limiter_common::gcra::Quota;
use limiter_common::limits::{Limits, Service};
use limiter_common::verdict::{Point, RefuseReason, Verdict};
use limiter_tests::fixture::{
    Action, Count, FAMILIES, Fixture, Judge, KERNEL, LIMIT, Place, Rules, SMTP, now_ns,
};
use limiter_tests::frame::{Extension, Flags, Frame, Reply, TPID_8021AD, Tcp};
use limiter_tests::require;

/// Resets that a CPU sends in a second (`reset.rs` of the kernel half).
const RESETS_PER_SECOND: u64 = 20_000;
const SECOND_NS: u64 = 1_000_000_000;
/// How far the programs' clock may lag behind: one tick at 100 Hz, and as much again.
const COARSE_NS: u64 = 20_000_000;

fn refused(family: Family) -> Count {
    let verdict = Verdict::Refuse(RefuseReason::ConnectionsPerSource);
    Count { service: SMTP, class: 0, family, point: Point::Syn, verdict }
}

/// Shapes of a SYN around the same TCP header.
fn shapes(frame: &Frame) -> Vec<(String, Frame)> {
    let mut shapes = vec![("plain".to_owned(), frame.clone()), ("padded".to_owned(), frame.clone().padded())];
    if frame.source.is_ipv4() {
        shapes.extend((5..=15).map(|ihl| (format!("{ihl} words"), frame.clone().ihl(ihl))));
    } else {
        let chain = [
            Extension::HopByHop,
            Extension::Authentication(12),
            Extension::LongOptions(100),
            Extension::Routing,
        ];
        for len in 1..=chain.len() {
            let with = chain[..len].iter().cloned().fold(frame.clone(), Frame::extension);
            shapes.push((format!("{len} extension headers"), with));
        }
    }
    shapes
}

/// A reset answers the very SYN: addresses, ports and stations turned around,
/// tags kept, IP options and extension headers dropped, checksums right, and
/// everything acknowledged that the SYN carried.
#[test]
fn a_reset_answers_the_very_syn() {
    require!(KERNEL);
    let mut judge = Judge::new();
    let macs = ([2, 1, 2, 3, 4, 5], [2, 6, 7, 8, 9, 10]);
    let segments = [
        Tcp::syn().seq(7),
        Tcp::new(Flags::SYN),
        Tcp::syn().seq(0xffff_ffff),
        Tcp::syn().seq(0xffff_fff0).payload(vec![0x5a; 41]),
        Tcp::syn().options(&[1; 40]).payload(vec![0xa5; 1_000]),
        Tcp::syn().with(Flags::FIN | Flags::PSH).seq(7).payload(b"EHLO".as_slice()),
        Tcp::syn().with(Flags::ECE | Flags::CWR).seq(7),
    ];
    for (family, [server, _, client]) in FAMILIES {
        for segment in &segments {
            let plain = Frame::tcp(client, server, segment.clone()).between(macs.0, macs.1);
            let tagged = [plain.clone(), plain.clone().vlan(0xefff), plain.tag(TPID_8021AD, 5).vlan(6)];
            for (tags, frame) in tagged.iter().enumerate() {
                for (shape, frame) in shapes(frame) {
                    let what = format!("{family:?}, {tags} tags, {shape}, {segment:?}");
                    judge.expect_one(&what, &frame.to_bytes(), Action::Tx, Some(refused(family)));
                    let mut resets: Vec<_> =
                        judge.fixtures().map(|fixture| fixture.run(&frame.to_bytes()).bytes).collect();
                    judge.forget_counts();
                    let reset = resets.swap_remove(0);
                    assert_eq!(resets, std::slice::from_ref(&reset), "the same in XDP and in tc: {what}");
                    let ip_len = if family == Family::V4 { 20 } else { 40 };
                    assert_eq!(reset.len(), 14 + 4 * tags + ip_len + 20, "headers and no more: {what}");
                    let reply = Reply::parse(&reset).unwrap_or_else(|| panic!("no reset: {what}"));
                    let (client, server): (SocketAddr, SocketAddr) = (frame.source, frame.destination);
                    assert_eq!((reply.source, reply.destination), (server, client), "{what}");
                    assert_eq!((reply.macs, &reply.vlans), ((macs.1, macs.0), &frame.vlans), "{what}");
                    assert!(reply.checksum_ok && reply.ip_checksum_ok, "checksums: {what}");
                    assert_eq!(reply.tcp.flags, Flags::RST | Flags::ACK, "{what}");
                    let next = segment.seq.wrapping_add(segment.sequence_len());
                    assert_eq!((reply.tcp.seq, reply.tcp.ack), (0, next), "{what}");
                    assert_eq!((reply.ttl, reply.tcp.window), (64, 0), "{what}");
                    assert!(reply.tcp.options.is_empty() && reply.tcp.payload.is_empty(), "{what}");
                }
            }
        }
    }
}

/// A CPU sends so many resets in a second; beyond that it refuses in silence, and counts all the same.
#[test]
fn resets_have_a_budget() {
    require!(KERNEL);
    let mut judge = Judge::new();
    // Two seconds, since the clock may tick between the writing and the run.
    let spend = |judge: &mut Judge, sent: u64| {
        let second = now_ns() / SECOND_NS;
        judge.fixtures().for_each(|fixture| fixture.set_resets_sent(second, sent));
    };
    for (family, [server, _, client]) in FAMILIES {
        let frame = Frame::syn(client, server).to_bytes();
        spend(&mut judge, RESETS_PER_SECOND - 1);
        judge.expect_one("the last of the budget", &frame, Action::Tx, Some(refused(family)));
        for fixture in judge.fixtures() {
            assert!(is_silent_beyond_the_budget(fixture, &frame), "lost, and left as it was: {family:?}");
        }
        judge.forget_counts();
        let before = now_ns() / SECOND_NS - 1;
        judge.fixtures().for_each(|fixture| fixture.set_resets_sent(before, u64::MAX / 2));
        judge.expect_one("the next second", &frame, Action::Tx, Some(refused(family)));
    }
}

/// A tick between writing and running renews the budget: at most one attempt of ten can meet it.
fn is_silent_beyond_the_budget(fixture: &mut Fixture, frame: &[u8]) -> bool {
    (0..10).any(|_| {
        let begun_ns = now_ns();
        let second = begun_ns / SECOND_NS;
        fixture.set_resets_sent(second, RESETS_PER_SECOND);
        let outcome = fixture.run(frame);
        // The programs' clock may lag behind: to them the second before may not be over yet.
        let is_one_second = [begun_ns - COARSE_NS, now_ns()].map(|ns| ns / SECOND_NS) == [second; 2];
        assert!(outcome.action == Action::Drop || !is_one_second, "{outcome:?}");
        outcome.action == Action::Drop && outcome.bytes == frame
    })
}

/// A fixture with one source at its limit, in a service with these flags.
fn with_flags(place: Place, flags: u32) -> Fixture {
    let mut fixture = Fixture::load_at(place);
    let service = Service { flags, ..Service::default() };
    let limits = Limits::limited(LIMIT, Quota::NONE);
    fixture.apply(&Rules::default().service(1, &[25], service).limits(1, 0, limits));
    for (local, source) in [("198.51.100.1", "192.0.2.20"), ("2001:db8::1", "2001:db8:20::")] {
        fixture.add_local(local.parse().expect("an address"));
        fixture.set_open(source.parse().expect("an address"), SMTP, LIMIT);
    }
    fixture
}

/// In `drop` a refused SYN is lost in silence.
#[test]
fn drop_is_silence() {
    require!(KERNEL);
    for place in Place::ALL {
        let fixture = with_flags(place, Service::ENFORCE);
        for (family, [server, _, client]) in FAMILIES {
            let frame = Frame::syn(client, server).vlan(7).to_bytes();
            let outcome = fixture.run(&frame);
            assert_eq!((outcome.action, outcome.bytes), (Action::Drop, frame), "{family:?}, {place:?}");
            assert!(fixture.counted().contains(&(refused(family), 1)), "{family:?}, {place:?}");
        }
    }
}

/// In `observe`, and while per-source limits are suspended, what would be refused passes, counted as such.
#[test]
fn observe_passes_what_it_would_refuse() {
    require!(KERNEL);
    let flags = [0, Service::RESET, Service::ENFORCE | Service::RESET | Service::SUSPENDED];
    for (place, flags) in Place::ALL.iter().flat_map(|place| flags.map(|flags| (*place, flags))) {
        let fixture = with_flags(place, flags);
        for (family, [server, _, client]) in FAMILIES {
            let frame = Frame::syn(client, server).to_bytes();
            let outcome = fixture.run(&frame);
            assert_eq!((outcome.action, outcome.bytes), (Action::Pass, frame), "{family:?}");
            let verdict = Verdict::WouldRefuse(RefuseReason::ConnectionsPerSource);
            assert!(fixture.counted().contains(&(Count { verdict, ..refused(family) }, 1)), "{family:?}");
        }
    }
}

/// An IPv6 packet from a v4-mapped address is charged like IPv4, and answered by IPv6.
#[test]
fn regression_a_mapped_source_gets_a_reset_of_the_wrong_family() {
    require!(KERNEL);
    let mut judge = Judge::new();
    let frame = Frame::syn("[::ffff:192.0.2.20]:4000", "[2001:db8::1]:25");
    judge.expect_one("a v4-mapped source", &frame.to_bytes(), Action::Tx, Some(refused(Family::V6)));
    for fixture in judge.fixtures() {
        let reset = fixture.run(&frame.to_bytes()).bytes;
        let reply = Reply::parse(&reset).expect("the reset is a segment of IPv6");
        assert!(reply.refuses(frame.source, frame.destination, 0), "{reply:?}");
    }
    judge.forget_counts();
}
