//! Random worlds and frames.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use limiter_tests::frame::{Extension, Flags, Fragment, Frame, TPID_8021AD, Tcp, Transport};
use limiter_tests::random::Random;

use crate::reference::{CLASSES, Mode, Prefix, Rule, SERVICES, Source, V4_MAPPED, World};

const SECOND_NS: u64 = 1_000_000_000;
/// Ports of services 1, 2 and 3, then one of none.
const PORTS: [(u16, usize); 4] = [(25, 1), (465, 1), (993, 2), (65_535, 3)];

/// Few networks with few hosts, so that prefixes overlap and sources share keys.
fn address(random: &mut Random) -> u128 {
    let (network, host) = (u128::from(random.below(3)), u128::from(random.below(4)));
    match random.below(20) {
        0..10 => V4_MAPPED | (0xc000_0200 + (network << 8) + host),
        10..19 => 0x2001_0db8 << 96 | network << 64 | host,
        _ => u128::from(random.next()) << 64 | u128::from(random.next()),
    }
}

/// Addresses of the host, in either family.
pub(crate) const OWN: [u128; 3] =
    [V4_MAPPED | 0xc633_6401, V4_MAPPED | 0xc633_6402, 0x2001_0db8 << 96 | 0xffff];

fn rule(random: &mut Random) -> Rule {
    match random.below(6) {
        0 => Rule::Exempt,
        1 => Rule::Denied,
        _ => {
            let interval_ns = if random.one_in(2) { 0 } else { (1 + random.below(60)) * SECOND_NS };
            let burst_ns = interval_ns * random.below(5);
            Rule::Limited { connections: random.pick(&[0, 1, 2, 20]), interval_ns, burst_ns }
        }
    }
}

fn mode(random: &mut Random) -> Mode {
    Mode {
        enforce: !random.one_in(3),
        reset: random.one_in(2),
        suspended: random.one_in(5),
        count_local: random.one_in(2),
        syn_quota: random.one_in(4),
        ceiling: random.pick(&[0, 0, 1, 5, 1_000]),
    }
}

/// A policy, without any state.
pub(crate) fn world(random: &mut Random) -> World {
    let mut prefixes: BTreeMap<(u128, u32), Prefix> = BTreeMap::new();
    for _ in 0..random.below(16) {
        let (bits, covered) = (random.pick(&[0, 32, 56, 64, 96, 112, 120, 126, 127, 128]), address(random));
        let address = if bits == 0 { 0 } else { covered >> (128 - bits) << (128 - bits) };
        let classes = [(); SERVICES].map(|()| usize::try_from(random.below(CLASSES as u64)).expect("small"));
        prefixes.insert((address, bits), Prefix { address, bits, classes });
    }
    World {
        own: OWN.into(),
        service_of: PORTS.into(),
        modes: [(); SERVICES].map(|()| mode(random)),
        rules: [(); SERVICES].map(|()| [(); CLASSES].map(|()| rule(random))),
        prefixes: prefixes.into_values().collect(),
        v4_bits: random.pick(&[32, 32, 24, 31]),
        v6_bits: random.pick(&[64, 64, 128, 48]),
        sources: BTreeMap::new(),
        totals: [0; SERVICES],
        unwatched: false,
    }
}

/// Gives a world a state of its own: sources and totals about their limits, debts about now.
pub(crate) fn populate(world: &mut World, random: &mut Random, now_ns: u64) {
    world.sources.clear();
    for _ in 0..40 {
        let service = 1 + usize::try_from(random.below(3)).expect("small");
        let rule = world.rules[service][usize::try_from(random.below(CLASSES as u64)).expect("small")];
        let (limit, burst_ns) = match rule {
            Rule::Limited { connections, burst_ns, .. } => (connections, burst_ns),
            Rule::Exempt | Rule::Denied => (30, 0),
        };
        let open = (limit + u32::try_from(random.below(4)).expect("small")).saturating_sub(2);
        let slack = 3 * SECOND_NS;
        let tat_ns = match random.below(4) {
            0 => 0,
            1 => now_ns + 3_600 * SECOND_NS,
            _ => now_ns + burst_ns + random.below(2 * slack) - slack,
        };
        let key = world.source_key(address(random));
        world.sources.insert((key, service), Source { open, tat_ns });
    }
    for service in 1..SERVICES {
        let ceiling = world.modes[service].ceiling;
        world.totals[service] = (ceiling + u32::try_from(random.below(3)).expect("small")).saturating_sub(1);
    }
    world.unwatched = random.one_in(5);
}

fn socket(address: u128, port: u16, as_v4: bool) -> SocketAddr {
    let v4 = Ipv4Addr::from(u32::try_from(address & 0xffff_ffff).expect("masked"));
    let ip = if as_v4 { IpAddr::V4(v4) } else { IpAddr::V6(Ipv6Addr::from(address)) };
    SocketAddr::new(ip, port)
}

fn tcp(random: &mut Random) -> Tcp {
    let flags = match random.below(10) {
        0..6 => Flags::SYN,
        6 => Flags::ACK,
        7 => Flags::SYN | Flags::ECE | Flags::CWR,
        _ => Flags(u8::try_from(random.below(256)).expect("a byte")),
    };
    let mut tcp = Tcp::new(flags).seq(random.next() as u32).ack(random.next() as u32);
    if random.one_in(2) {
        tcp = tcp.options(&[2, 4, 5, 0xb4, 1, 1, 1, 0][..random.pick(&[4, 8])]);
    }
    if random.one_in(5) {
        tcp = tcp.payload(vec![0x5a; random.pick(&[1, 7, 100])]);
    }
    if random.one_in(40) {
        tcp = tcp.data_offset(u8::try_from(random.below(16)).expect("four bits"));
    }
    tcp
}

fn extension(random: &mut Random) -> Extension {
    match random.below(9) {
        0 => Extension::HopByHop,
        1 | 2 => Extension::DestinationOptions,
        3 => Extension::LongOptions(u8::try_from(random.below(9)).expect("small")),
        4 | 5 => Extension::Routing,
        6 => Extension::Authentication(12),
        7 => Extension::Fragment(Fragment { offset_bytes: 0, more: random.one_in(4) }),
        _ if random.one_in(2) => Extension::Unknown(253),
        _ => Extension::Encapsulated,
    }
}

/// A frame: mostly a SYN to a guarded port of the host, sometimes anything else.
pub(crate) fn frame(random: &mut Random) -> Vec<u8> {
    let source = address(random);
    let is_v4 = source >> 32 == V4_MAPPED >> 32 && !random.one_in(30);
    let own = if is_v4 { random.pick(&OWN[..2]) } else { OWN[2] };
    let destination = if random.one_in(12) { own + 0x100 } else { own };
    let port = if random.one_in(8) { 24 } else { random.pick(&PORTS).0 };
    let from = socket(source, 1_024 + random.next() as u16 % 60_000, is_v4);
    let transport = match random.below(30) {
        0 => Transport::Udp(vec![0; 30]),
        1 => Transport::Echo,
        _ => Transport::Tcp(tcp(random)),
    };
    let mut frame = Frame::new(from, socket(destination, port, is_v4), transport);
    for n in 0..random.pick(&[0, 0, 0, 0, 1, 1, 2, 3]) {
        frame = if random.one_in(3) { frame.tag(TPID_8021AD, n) } else { frame.vlan(n) };
    }
    if is_v4 && random.one_in(4) {
        frame = frame.ihl(5 + u8::try_from(random.below(11)).expect("small"));
    }
    if !is_v4 && random.one_in(4) {
        frame = (0..random.below(6)).fold(frame, |frame, _| frame.extension(extension(random)));
    }
    if random.one_in(25) {
        frame = frame.fragment(random.pick(&[0, 8]), random.one_in(2));
    }
    if random.one_in(3) {
        frame = frame.padded();
    }
    let mut bytes = frame.to_bytes();
    if random.one_in(12) {
        let len = 14 + usize::try_from(random.next()).expect("64 bits") % (bytes.len() - 13);
        bytes.truncate(len);
    }
    if random.one_in(12) {
        let at = usize::try_from(random.next()).expect("64 bits") % bytes.len();
        bytes[at] ^= 1 << random.below(8);
    }
    bytes
}
