//! The class of a source, by whatever way the programs come to it.
//!
//! - notes: `a_noted_class_*`, `one_source_of_two_classes_*`
//! - sources without an entry: `every_source_*`, `prefixes_of_many_pages_*`

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use limiter_common::limits::{Limits, Service};
use limiter_tests::fixture::{Action, Fixture, KERNEL, Place, Rules, SMTP};
use limiter_tests::frame::Frame;
use limiter_tests::require;

const SERVER_V4: &str = "198.51.100.1:25";
const SERVER_V6: &str = "[2001:db8::1]:25";
/// A class that is refused, and one that is not.
const DENIED: u8 = 4;
const EXEMPT: u8 = 5;

fn rules() -> Rules {
    let service = Service { flags: Service::ENFORCE, ..Service::default() };
    let rules = Rules::default().service(1, &[25], service);
    rules.limits(1, DENIED, Limits::DENIED).limits(1, EXEMPT, Limits::EXEMPT)
}

fn fixture(place: Place) -> Fixture {
    let mut fixture = Fixture::load_at(place);
    for address in ["198.51.100.1", "2001:db8::1"] {
        fixture.add_local(address.parse().expect("an address"));
    }
    fixture
}

#[track_caller]
fn expect(fixture: &Fixture, source: &'static str, server: &'static str, action: Action) {
    let frame = Frame::syn(source, server);
    assert_eq!(fixture.run(&frame.to_bytes()).action, action, "{source} at {:?}", fixture.place());
}

/// A switch of policies ends every noted class at once, in both directions.
#[test]
fn a_noted_class_ends_with_its_policy() {
    require!(KERNEL);
    for place in Place::ALL {
        let mut fixture = fixture(place);
        let address: IpAddr = "192.0.2.7".parse().expect("an address");
        fixture.set_open(address, SMTP, 1);
        for round in 0..3 {
            let before = fixture.class_note(address, SMTP);
            fixture.apply(&rules().prefix("192.0.2.8/32", DENIED));
            expect(&fixture, "192.0.2.7:4000", SERVER_V4, Action::Pass);
            let unmatched = fixture.class_note(address, SMTP);
            assert_ne!(unmatched, before, "noted anew in round {round}");
            expect(&fixture, "192.0.2.7:4001", SERVER_V4, Action::Pass);
            assert_eq!(fixture.class_note(address, SMTP), unmatched, "written once");
            fixture.apply(&rules().prefix("192.0.2.0/24", DENIED));
            expect(&fixture, "192.0.2.7:4000", SERVER_V4, Action::Drop);
            expect(&fixture, "192.0.2.7:4000", SERVER_V4, Action::Drop);
            fixture.apply(&rules().prefix("192.0.2.0/24", DENIED).prefix("192.0.2.7/32", EXEMPT));
            expect(&fixture, "192.0.2.7:4000", SERVER_V4, Action::Pass);
        }
    }
}

/// Who never completed a handshake leaves no note, so that made-up addresses push nobody's out.
#[test]
fn a_noted_class_is_of_who_is_known() {
    require!(KERNEL);
    for place in Place::ALL {
        let mut fixture = fixture(place);
        let [known, unknown] = ["192.0.2.7", "192.0.2.9"].map(|it| it.parse().expect("an address"));
        fixture.set_open(known, SMTP, 1);
        fixture.apply(&rules().prefix("192.0.2.0/24", EXEMPT));
        expect(&fixture, "192.0.2.9:4000", SERVER_V4, Action::Pass);
        expect(&fixture, "192.0.2.7:4000", SERVER_V4, Action::Pass);
        assert_eq!(fixture.class_note(unknown, SMTP), 0, "at {place:?}");
        assert_ne!(fixture.class_note(known, SMTP), 0, "at {place:?}");
    }
}

/// Where a prefix is longer than what makes up a source, its addresses keep classes of their own.
#[test]
fn one_source_of_two_classes_is_judged_by_address() {
    require!(KERNEL);
    for place in Place::ALL {
        let mut fixture = fixture(place);
        fixture.apply(&rules().prefix("2001:db8:7::/64", EXEMPT).prefix("2001:db8:7::bad/128", DENIED));
        fixture.set_open("2001:db8:7::".parse().expect("an address"), SMTP, 1);
        for _ in 0..3 {
            expect(&fixture, "[2001:db8:7::900d]:4000", SERVER_V6, Action::Pass);
            expect(&fixture, "[2001:db8:7::bad]:4000", SERVER_V6, Action::Drop);
        }
    }
}

/// A source without an entry has the class of its longest prefix, at both ends of each prefix and beside it.
#[test]
fn every_source_finds_its_prefix() {
    require!(KERNEL);
    let cases = [
        ("0.0.0.0/1", ["0.0.0.1", "127.255.255.255"], "128.0.0.0"),
        ("10.0.0.0/8", ["10.0.0.0", "10.255.255.255"], "11.0.0.0"),
        ("172.16.0.0/20", ["172.16.0.0", "172.16.15.255"], "172.16.16.0"),
        ("172.16.0.0/21", ["172.16.0.0", "172.16.7.255"], "172.16.8.0"),
        ("192.0.2.7/32", ["192.0.2.7", "192.0.2.7"], "192.0.2.8"),
        ("2000::/3", ["2000::", "3fff::ffff"], "4000::"),
        ("2001:db8::/32", ["2001:db8::2", "2001:db8:ffff::"], "2001:db9::"),
    ];
    let mut fixture = fixture(Place::Xdp);
    for (prefix, inside, beside) in cases {
        fixture.apply(&rules().prefix(prefix, DENIED));
        let run = |source: &str| {
            let source: IpAddr = source.parse().expect("an address");
            let server = if source.is_ipv4() { SERVER_V4 } else { SERVER_V6 };
            let frame = Frame::syn(SocketAddr::new(source, 4000), server);
            fixture.run(&frame.to_bytes()).action
        };
        assert_eq!(inside.map(run), [Action::Drop; 2], "in {prefix}");
        assert_eq!(run(beside), Action::Pass, "beside {prefix}");
    }
}

/// The same where prefixes fill many pages, and lie within wider ones.
#[test]
fn prefixes_of_many_pages_are_found() {
    const PREFIXES: u32 = 3_000;
    require!(KERNEL);
    // Each next to an address that has the class of the wider prefix.
    let v4 = |n: u32, next: u32| IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + 7 * n + next));
    let v6 = |n: u32, next: u32| {
        IpAddr::from(Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) + (u128::from(n) << 62) + u128::from(next)))
    };
    for place in Place::ALL {
        let mut fixture = fixture(place);
        let mut rules = rules().prefix("10.0.0.0/8", EXEMPT).prefix("2001:db8::/32", EXEMPT);
        for n in 0..PREFIXES {
            rules = rules
                .prefix(&format!("{}/32", v4(n, 0)), DENIED)
                .prefix(&format!("{}/128", v6(n, 0)), DENIED);
        }
        fixture.apply(&rules);
        let run = |source: IpAddr| {
            let server = if source.is_ipv4() { SERVER_V4 } else { SERVER_V6 };
            fixture.run(&Frame::syn(SocketAddr::new(source, 4000), server).to_bytes()).action
        };
        for n in 0..PREFIXES {
            let [within, beside] = [0, 1].map(|next| [v4(n, next), v6(n, next)]);
            assert_eq!(within.map(run), [Action::Drop; 2], "prefix {n} at {place:?}");
            assert_eq!(beside.map(run), [Action::Pass; 2], "beside prefix {n} at {place:?}");
        }
    }
}
