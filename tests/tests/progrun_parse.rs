//! Every way through the headers, one frame at a time, in XDP and in tc.
//!
//! - lengths: `frames_cut_*`, `padding_*`, `lengths_*`
//! - link: `vlan_tags_*`, `frames_without_*`
//! - IPv4: `ipv4_headers_*`, fragments: `fragments_*`
//! - IPv6: `extension_headers_*`, `long_chains_*`
//! - TCP: `every_combination_of_flags_*`, `ports_*`
//! - addresses: `packets_to_others_*`; no policy: `without_a_policy_*`

use limiter_common::addr::Family;
use limiter_common::map::FailOpen;
use limiter_common::policy::{CLASS_DEFAULT, UNGUARDED};
use limiter_common::verdict::{PassReason, Point, Verdict};
use limiter_tests::fixture::{
    Action, Count, FAMILIES, FRAME_BYTES_MIN, Fixture, HOSTS, IMAP, Judge, KERNEL, Law, Place, SMTP,
};
use limiter_tests::frame::{Extension, Flags, Fragment, Frame, TPID_8021AD, Tcp, Transport};
use limiter_tests::require;

const V6: (Family, [&str; 3]) = FAMILIES[1];
const UNPARSEABLE: Law = Law::Passed(PassReason::Unparseable);
const FRAGMENT: Law = Law::Passed(PassReason::Fragment);
const JUDGED: Law = Law::Judged(SMTP);

fn tagged(frame: Frame, tags: u16) -> Frame {
    (0..tags).fold(frame, |frame, n| frame.vlan(100 + n))
}

/// A frame that ends inside a header that must be read passes, counted; one
/// that ends behind the fixed TCP header is judged by what its headers say.
#[test]
fn frames_cut_at_each_byte() {
    require!(KERNEL);
    let mut judge = Judge::new();
    for (family, [server, ..]) in FAMILIES {
        for tags in 0..=2_u16 {
            let link_len = FRAME_BYTES_MIN + 4 * usize::from(tags);
            let tcp = link_len + if family == Family::V4 { 20 } else { 40 };
            for len in FRAME_BYTES_MIN..=tcp + 24 {
                let what = format!("{family:?}, {tags} tags, {len} bytes");
                let frame = |source| tagged(Frame::syn(source, server), tags).to_bytes()[..len].to_vec();
                if len < link_len {
                    // Nobody knows the family before its type is read.
                    let counted = Count {
                        service: UNGUARDED,
                        class: CLASS_DEFAULT,
                        family: Family::V4,
                        point: Point::Syn,
                        verdict: Verdict::Pass(PassReason::Unparseable),
                    };
                    judge.expect_one(&what, &frame(HOSTS[family as usize][1]), Action::Pass, Some(counted));
                } else {
                    judge.expect(&what, if len < tcp + 20 { UNPARSEABLE } else { JUDGED }, family, frame);
                }
            }
        }
    }
}

/// Frames cut inside a chain of extension headers are no different.
#[test]
fn frames_cut_inside_a_chain() {
    require!(KERNEL);
    let mut judge = Judge::new();
    let (family, [server, ..]) = V6;
    let whole = |source| {
        let chain = [Extension::HopByHop, Extension::Routing, Extension::Authentication(12)];
        chain.into_iter().fold(Frame::syn(source, server), Frame::extension).to_bytes()
    };
    let tcp = 14 + 40 + 8 + 8 + 24;
    for len in 54..=tcp + 24 {
        let law = if len < tcp + 20 { UNPARSEABLE } else { JUDGED };
        judge.expect(&format!("{len} bytes"), law, family, |source| whole(source)[..len].to_vec());
    }
}

/// Up to two tags of either kind are walked; a third one is not.
#[test]
fn vlan_tags_up_to_two() {
    require!(KERNEL);
    let mut judge = Judge::new();
    for (family, [server, within, at_limit]) in FAMILIES {
        for tags in 0..=2 {
            let frame = |source| tagged(Frame::syn(source, server), tags).to_bytes();
            judge.expect(&format!("{family:?}, {tags} tags"), JUDGED, family, frame);
        }
        let service_tag = |source| Frame::syn(source, server).tag(TPID_8021AD, 7).vlan(8).to_bytes();
        judge.expect("a service tag outside", JUDGED, family, service_tag);
        for source in [within, at_limit] {
            let counted = Count {
                service: UNGUARDED,
                class: CLASS_DEFAULT,
                family: Family::V4,
                point: Point::Syn,
                verdict: Verdict::Pass(PassReason::Unparseable),
            };
            let frame = tagged(Frame::syn(source, server), 3).to_bytes();
            judge.expect_one("three tags", &frame, Action::Pass, Some(counted));
        }
    }
}

/// What is not TCP over IP is not looked at, and not counted.
#[test]
fn frames_without_tcp_are_ignored() {
    require!(KERNEL);
    let mut judge = Judge::new();
    for (family, [server, ..]) in FAMILIES {
        for transport in [
            Transport::Udp(vec![0; 40]),
            Transport::Echo,
            Transport::Raw(132, vec![0; 40]),
            Transport::Raw(50, vec![0; 40]),
        ] {
            let frame = |source| Frame::new(source, server, transport.clone()).to_bytes();
            judge.expect(&format!("{family:?}, {transport:?}"), Law::Ignored, family, frame);
        }
        for ethertype in [0x0806_u16, 0x88cc, 0x05dc, 0x0000] {
            let frame = |source| {
                let mut bytes = Frame::syn(source, server).to_bytes();
                bytes[12..14].copy_from_slice(&ethertype.to_be_bytes());
                bytes
            };
            judge.expect(&format!("type {ethertype:#06x}"), Law::Ignored, family, frame);
        }
    }
}

/// IPv4 options are stepped over, whatever the length; impossible headers pass, counted.
#[test]
fn ipv4_headers_of_every_length() {
    require!(KERNEL);
    let mut judge = Judge::new();
    let server = HOSTS[0][0];
    for ihl in 5..=15 {
        let frame = |source| Frame::syn(source, server).ihl(ihl).to_bytes();
        judge.expect(&format!("{ihl} words"), JUDGED, Family::V4, frame);
    }
    for first in [0x40, 0x41, 0x42, 0x43, 0x44, 0x05, 0x55, 0x65, 0xf5] {
        let frame = |source| {
            let mut bytes = Frame::syn(source, server).to_bytes();
            bytes[14] = first;
            bytes
        };
        judge.expect(&format!("version and length {first:#04x}"), UNPARSEABLE, Family::V4, frame);
    }
}

/// Ethernet's padding is no part of the packet.
#[test]
fn padding_is_not_read() {
    require!(KERNEL);
    let mut judge = Judge::new();
    for (family, [server, ..]) in FAMILIES {
        judge.expect("padded", JUDGED, family, |source| Frame::syn(source, server).padded().to_bytes());
        let padded_by_a_lot = |source| {
            let mut bytes = Frame::syn(source, server).to_bytes();
            bytes.resize(1_400, 0xa5);
            bytes
        };
        judge.expect("padded by a lot", JUDGED, family, padded_by_a_lot);
    }
}

/// Lengths that contradict each other pass, counted.
#[test]
fn lengths_that_contradict_each_other() {
    require!(KERNEL);
    let mut judge = Judge::new();
    for (family, [server, ..]) in FAMILIES {
        // Offset of the length in the frame, and what it says of a header of 20 bytes alone.
        let (at, enough) = if family == Family::V4 { (16, 44_u16) } else { (18, 24) };
        for short in [0, 1, 19, enough - 24, enough - 5, enough - 1, enough] {
            let frame = |source| {
                let mut bytes = Frame::syn(source, server).padded().to_bytes();
                bytes[at..at + 2].copy_from_slice(&short.to_be_bytes());
                bytes
            };
            let law = if short < enough { UNPARSEABLE } else { JUDGED };
            judge.expect(&format!("{family:?}, a length of {short}"), law, family, frame);
        }
        for words in 0..=15 {
            let frame = |source| {
                Frame::tcp(source, server, Tcp::syn().data_offset(words).payload(vec![0; 16])).to_bytes()
            };
            let law = if (5..=10).contains(&words) { JUDGED } else { UNPARSEABLE };
            judge.expect(&format!("{family:?}, a TCP header of {words} words"), law, family, frame);
        }
    }
}

/// A fragment passes, counted, first or later; a whole packet marked "don't
/// fragment" or in a fragment header is none.
#[test]
fn fragments_meet_the_gate() {
    require!(KERNEL);
    let mut judge = Judge::new();
    for (family, [server, ..]) in FAMILIES {
        for (offset, more) in [(0, true), (8, true), (8, false), (65_528, false)] {
            let frame = |source| Frame::syn(source, server).fragment(offset, more).to_bytes();
            judge.expect(&format!("{family:?}, offset {offset}, more {more}"), FRAGMENT, family, frame);
        }
        for n in 0..3 {
            let frame = |source| Frame::syn(source, server).to_fragments(8).swap_remove(n);
            judge.expect(&format!("{family:?}, piece {n} of a TCP header"), FRAGMENT, family, frame);
        }
    }
    let (v4, v6) = (HOSTS[0][0], HOSTS[1][0]);
    let whole = |source| Frame::syn(source, v4).dont_fragment().id(7).to_bytes();
    judge.expect("don't fragment", JUDGED, Family::V4, whole);
    let atomic = |source| Frame::syn(source, v6).fragment(0, false).to_bytes();
    judge.expect("an atomic fragment", JUDGED, Family::V6, atomic);
    let udp = |source| Frame::new(source, v4, Transport::Udp(vec![0; 40])).fragment(0, true).to_bytes();
    judge.expect("a fragment of UDP", Law::Ignored, Family::V4, udp);
}

/// Every extension header that may stand before TCP is stepped over, alone and in pairs.
#[test]
fn extension_headers_of_every_kind() {
    require!(KERNEL);
    let mut judge = Judge::new();
    let (family, [server, ..]) = V6;
    let mut walked = vec![
        Extension::HopByHop,
        Extension::DestinationOptions,
        Extension::Routing,
        Extension::Fragment(Fragment { offset_bytes: 0, more: false }),
    ];
    walked.extend([1, 2, 8, 100].map(Extension::LongOptions));
    walked.extend([0, 12, 16, 64].map(Extension::Authentication));
    for first in &walked {
        let alone = |source| Frame::syn(source, server).extension(first.clone()).to_bytes();
        judge.expect(&format!("{first:?}"), JUDGED, family, alone);
        for second in &walked {
            let pair = |source| {
                Frame::syn(source, server).extension(first.clone()).extension(second.clone()).to_bytes()
            };
            judge.expect(&format!("{first:?}, {second:?}"), JUDGED, family, pair);
        }
    }
    for unknown in [Extension::Encapsulated, Extension::Unknown(253), Extension::NoNext] {
        let frame = |source| Frame::syn(source, server).extension(unknown.clone()).to_bytes();
        judge.expect(&format!("{unknown:?}"), Law::Ignored, family, frame);
    }
}

/// Four extension headers are walked; with more the packet passes, counted.
#[test]
fn long_chains_meet_the_gate() {
    require!(KERNEL);
    let mut judge = Judge::new();
    let (family, [server, ..]) = V6;
    for len in 0..=30 {
        let frame = |source| {
            (0..len)
                .fold(Frame::syn(source, server), |f, _| f.extension(Extension::DestinationOptions))
                .to_bytes()
        };
        let law = if len <= 4 { JUDGED } else { UNPARSEABLE };
        judge.expect(&format!("{len} headers"), law, family, frame);
    }
}

/// SYN without ACK and RST is judged; everything else passes, and nothing is counted.
#[test]
fn every_combination_of_flags() {
    require!(KERNEL);
    let mut judge = Judge::new();
    for (family, [server, ..]) in FAMILIES {
        for bits in 0..=u8::MAX {
            let flags = Flags(bits);
            let opens = flags.has(Flags::SYN) && !flags.has(Flags::ACK) && !flags.has(Flags::RST);
            let law = if opens { JUDGED } else { Law::Ignored };
            let frame = |source| Frame::tcp(source, server, Tcp::new(flags).ack(7)).to_bytes();
            judge.expect(&format!("{family:?}, flags {bits:#04x}"), law, family, frame);
        }
    }
}

/// The destination port finds the service; ports of no service are ignored.
#[test]
fn ports_in_and_out_of_services() {
    require!(KERNEL);
    let mut judge = Judge::new();
    for (family, [server, ..]) in FAMILIES {
        for port in [0, 1, 24, 25, 26, 464, 465, 466, 992, 993, 994, 6_400, 65_534, 65_535] {
            let law = match port {
                25 | 465 => Law::Judged(SMTP),
                993 | 65_535 => Law::Judged(IMAP),
                _ => Law::Ignored,
            };
            let to = server.replace(":25", &format!(":{port}"));
            let frame =
                |source: &str| Frame::syn(source.replace("4000", "25").as_str(), to.as_str()).to_bytes();
            judge.expect(&format!("{family:?}, port {port}"), law, family, frame);
        }
    }
}

/// Packets that are only forwarded are not judged, whoever sends them.
#[test]
fn packets_to_others_are_not_for_us() {
    require!(KERNEL);
    let mut judge = Judge::new();
    let others = [
        (Family::V4, ["198.51.100.2:25", "198.51.101.1:25", "255.255.255.255:25"]),
        (Family::V6, ["[2001:db8::2]:25", "[2001:db8:0:1::1]:25", "[ff02::1]:25"]),
    ];
    for (family, destinations) in others {
        for (destination, source) in
            destinations.iter().flat_map(|d| HOSTS[family as usize][1..].iter().map(move |s| (*d, *s)))
        {
            let counted = Count {
                service: SMTP,
                class: CLASS_DEFAULT,
                family,
                point: Point::Syn,
                verdict: Verdict::Pass(PassReason::NotForUs),
            };
            let frame = Frame::syn(source, destination).to_bytes();
            judge.expect_one(destination, &frame, Action::Pass, Some(counted));
        }
    }
}

/// Without a policy everything passes, and the doubt is counted.
#[test]
fn without_a_policy_everything_passes() {
    require!(KERNEL);
    for place in Place::ALL {
        let mut fixture = Fixture::load_at(place);
        for [server, source, _] in HOSTS {
            assert_eq!(fixture.run(&Frame::syn(source, server).to_bytes()).action, Action::Pass);
            assert_eq!(fixture.fail_opens(FailOpen::NoPolicy), 0, "nobody guards the port");
        }
        fixture.hint_every_port(1);
        for (n, [server, source, _]) in (1..).zip(HOSTS) {
            assert_eq!(fixture.run(&Frame::syn(source, server).to_bytes()).action, Action::Pass);
            assert_eq!(fixture.fail_opens(FailOpen::NoPolicy), n);
        }
        assert_eq!(fixture.counted(), [], "nobody knows whom to count it for");
    }
}
