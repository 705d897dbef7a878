//! Messages made by hand, read back; and anything at all, which must not panic.

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;

use super::*;

/// One attribute, padded.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(ATTRIBUTE_BYTES + value.len()).unwrap();
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(ATTRIBUTE_BYTES), 0);
    bytes
}

/// A nested attribute, flagged as the kernel flags it.
fn nested(kind: u16, parts: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | 0x8000, &parts.concat())
}

fn tuple_of(kind: u16, protocol: u8, from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let address = |v4, v6, ip: IpAddr| match ip {
        IpAddr::V4(ip) => attribute(v4, &ip.octets()),
        IpAddr::V6(ip) => attribute(v6, &ip.octets()),
    };
    let addresses =
        [address(V4_SOURCE, V6_SOURCE, from.ip()), address(V4_DESTINATION, V6_DESTINATION, to.ip())];
    let protocol = [
        attribute(PROTOCOL_NUMBER, &[protocol]),
        attribute(SOURCE_PORT, &from.port().to_be_bytes()),
        attribute(DESTINATION_PORT, &to.port().to_be_bytes()),
    ];
    nested(kind, &[nested(TUPLE_ADDRESSES, &addresses), nested(TUPLE_PROTOCOL, &protocol)])
}

/// An event as the kernel sends it.
pub(in super::super) fn event(
    kind: Kind,
    protocol: u8,
    from: SocketAddr,
    to: SocketAddr,
    zone: u16,
    id: u32,
    state: State,
) -> Vec<u8> {
    let (number, flags) = match kind {
        Kind::New => (NEW, CREATE),
        Kind::Destroy => (DELETE, 0),
        _ => (NEW, 0),
    };
    let attributes = [
        tuple_of(ORIGINAL, protocol, from, to),
        tuple_of(REPLY, protocol, to, from),
        attribute(ZONE, &zone.to_be_bytes()),
        attribute(ID, &id.to_be_bytes()),
        attribute(STATUS, &0x18a_u32.to_be_bytes()),
        attribute(7, &60_u32.to_be_bytes()),
        nested(PROTOCOL_INFO, &[nested(INFO_TCP, &[attribute(INFO_TCP_STATE, &[state as u8])])]),
    ]
    .concat();
    let length = u32::try_from(HEADER_BYTES + GENERIC_BYTES + attributes.len()).unwrap();
    let family = if from.is_ipv4() { 2 } else { 10 };
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend([number.to_ne_bytes(), flags.to_ne_bytes()].concat());
    bytes.extend([0; 8]);
    bytes.extend([family, 0, 0, 0]);
    bytes.extend(attributes);
    bytes
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// An event is read whole, in both families.
#[test]
fn events_are_read() {
    for (client, server) in [("192.0.2.7:40000", "10.0.0.1:25"), ("[2001:db8::7]:40000", "[2001:db8::1]:25")]
    {
        let (client, server) = (at(client), at(server));
        let bytes = event(Kind::New, TCP, client, server, 7, 99, State::SynSent);
        let message = Messages(&bytes).next().unwrap();
        assert_eq!(message.kind, Kind::New);
        let entry = message.entry(|port| port == 25).unwrap();
        assert_eq!(
            (entry.original.source, entry.original.source_port),
            (Addr::from(client.ip()), client.port())
        );
        assert_eq!((entry.reply.source, entry.reply.source_port), (Addr::from(server.ip()), server.port()));
        assert_eq!((entry.zone, entry.id, entry.state), (7, 99, Some(State::SynSent)));
        assert!(!entry.is_dying);
    }
}

/// What nobody asked for is not read: another port, another protocol.
#[test]
fn other_entries_are_given_up() {
    let (client, server) = (at("192.0.2.7:40000"), at("10.0.0.1:53"));
    let read = |protocol, port| {
        let bytes = event(Kind::Update, protocol, client, server, 0, 1, State::None);
        Messages(&bytes).next().unwrap().entry(|wanted| wanted == port)
    };
    assert!(read(TCP, 53).is_some());
    assert!(read(TCP, 25).is_none());
    assert!(read(17, 53).is_none());
}

/// A datagram of several messages gives each of them, and ends at one that is cut.
#[test]
fn messages_come_in_a_row() {
    let (client, server) = (at("192.0.2.7:40000"), at("10.0.0.1:25"));
    let kinds = [Kind::New, Kind::Update, Kind::Destroy];
    let bytes: Vec<u8> =
        kinds.iter().flat_map(|kind| event(*kind, TCP, client, server, 0, 1, State::None)).collect();
    let seen: Vec<Kind> = Messages(&bytes).map(|message| message.kind).collect();
    assert_eq!(seen, kinds);
    assert_eq!(Messages(&bytes[..bytes.len() - 1]).count(), 2);
}

/// A request is what the kernel expects: its length, everything of a kind.
#[test]
fn requests_are_dumps() {
    let bytes = request(GET);
    assert_eq!(Messages(&bytes).next().unwrap().kind, Kind::Other);
    assert_eq!(
        (u32_ne(&bytes), u16_ne(&bytes[4..]), u16_ne(&bytes[6..])),
        (Some(20), Some(0x101), Some(0x301))
    );
}

proptest! {
    /// Nothing that a socket could hand out makes the parser panic or loop.
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        for message in Messages(&bytes) {
            let _entry = message.entry(|_| true);
            prop_assert!(message.numbers().count() <= bytes.len());
        }
    }

    /// Nor does a real event with a few bytes changed or its end cut off.
    #[test]
    fn damaged_events_are_survived(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = event(Kind::New, TCP, at("192.0.2.7:4000"), at("10.0.0.1:25"), 1, 2, State::Close);
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        for message in Messages(&bytes) {
            let _entry = message.entry(|_| true);
        }
    }
}
