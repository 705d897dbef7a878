//! Refusals that stand: what a flood is answered by without another look, and what ends it.
//!
//! - counts: `every_refusal_*`; what ends it: `room_*`, `what_the_daemon_says_*`
//! - who is meant: `only_the_very_question_*`, `sources_that_share_*`; what may not stand: `a_ceiling_*`, `resets_*`

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use limiter_common::addr::{Addr, Family};
use limiter_common::event::Amendment;
use limiter_common::gcra::Quota;
use limiter_common::limits::{Limits, Service};
use limiter_common::map::{SourceKey, Standing};
use limiter_common::policy::CLASS_DEFAULT;
use limiter_common::verdict::{PassReason, Point, RefuseReason, Verdict};
use limiter_tests::fixture::{Action, Count, FAMILIES, Fixture, IMAP, KERNEL, LIMIT, Place, Rules, SMTP};
use limiter_tests::frame::Frame;
use limiter_tests::require;

/// Refusals by which the count of a source may lag on each CPU (`standing.rs` of the kernel half).
const BLOCK: u32 = 256;
/// SYNs after which a source stands refused, with all that a tick in between can cost.
const MANY: u32 = 4 * BLOCK;
/// A class that is refused, known or not.
const DENIED: u8 = 5;
/// An address in it.
const DENIED_SOURCE: &str = "203.0.113.9:4000";

fn flags(flags: u32) -> Service {
    Service { flags, ..Service::default() }
}

/// SMTP refuses in silence, IMAP by resets; one source of each family is at its limit in both.
fn rules() -> Rules {
    let limits = Limits::limited(LIMIT, Quota::NONE);
    Rules::default()
        .service(1, &[25], flags(Service::ENFORCE))
        .service(2, &[993], flags(Service::ENFORCE | Service::RESET))
        .limits(1, 0, limits)
        .limits(2, 0, limits)
        .limits(1, DENIED, Limits::DENIED)
        .prefix("203.0.113.0/24", DENIED)
}

fn key(source: &str, service: u32) -> SourceKey {
    let address: IpAddr = source.parse().expect("an address");
    SourceKey { addr: address.into(), service }
}

fn fixture(place: Place) -> Fixture {
    let mut fixture = Fixture::load_at(place);
    fixture.apply(&rules());
    for (local, source) in [("198.51.100.1", "192.0.2.20"), ("2001:db8::1", "2001:db8:20::")] {
        fixture.add_local(local.parse().expect("an address"));
        for service in [SMTP, IMAP] {
            fixture.set_open(source.parse().expect("an address"), service, LIMIT);
        }
    }
    fixture
}

fn refused(family: Family) -> Count {
    let verdict = Verdict::Refuse(RefuseReason::ConnectionsPerSource);
    Count { service: SMTP, class: CLASS_DEFAULT, family, point: Point::Syn, verdict }
}

/// Refuses one frame `count` times, all in silence.
#[track_caller]
fn flood(fixture: &Fixture, frame: &[u8], count: u32) {
    for n in 0..count {
        assert_eq!(fixture.run(frame).action, Action::Drop, "SYN {n}");
    }
}

/// What was noted for frames of this source on each CPU, and has not been given to its entry yet.
fn owed(standing: &[Standing], source: Addr) -> Vec<u32> {
    standing.iter().filter(|standing| standing.source == source).map(|standing| standing.more).collect()
}

/// Every refusal is counted as a verdict, and all but those of a block in the entry of its source.
#[test]
fn every_refusal_is_counted() {
    require!(KERNEL);
    for place in Place::ALL {
        let fixture = fixture(place);
        for ((family, [server, _, client]), source) in
            FAMILIES.into_iter().zip(["192.0.2.20", "2001:db8:20::"])
        {
            let frame = Frame::syn(client, server);
            flood(&fixture, &frame.to_bytes(), MANY);
            assert!(fixture.counted().contains(&(refused(family), MANY.into())), "{place:?}, {family:?}");
            let entry = fixture.source(&key(source, SMTP)).expect("the source is known");
            let owed = owed(&fixture.standing(), frame.source.ip().into());
            assert_eq!(entry.refused + owed.iter().sum::<u32>(), MANY, "{place:?}, {family:?}");
            let is_settled = owed.iter().all(|more| *more <= BLOCK);
            assert!(is_settled && !fixture.standing().is_empty(), "{owed:?} owed, {place:?}, {family:?}");
        }
    }
}

/// An unknown source of a denied class stands refused from the first SYN on, and leaves no entry.
#[test]
fn every_refusal_of_a_denied_source_is_counted() {
    require!(KERNEL);
    for place in Place::ALL {
        let fixture = fixture(place);
        let frame = Frame::syn(DENIED_SOURCE, "198.51.100.1:25");
        flood(&fixture, &frame.to_bytes(), MANY);
        let verdict = Verdict::Refuse(RefuseReason::Deny);
        let count = Count { class: DENIED.into(), verdict, ..refused(Family::V4) };
        assert!(fixture.counted().contains(&(count, MANY.into())), "{place:?}: {:?}", fixture.counted());
        assert!(fixture.source(&key("203.0.113.9", SMTP)).is_none());
        assert!(fixture.standing().iter().any(|standing| standing.source == frame.source.ip().into()));
    }
}

/// One connection less, and the very next SYN passes; at the limit again, and it is refused.
#[test]
fn room_ends_what_stands() {
    require!(KERNEL);
    for place in Place::ALL {
        let fixture = fixture(place);
        for ((family, [server, _, client]), source) in
            FAMILIES.into_iter().zip(["192.0.2.20", "2001:db8:20::"])
        {
            let frame = Frame::syn(client, server).to_bytes();
            flood(&fixture, &frame, MANY);
            for round in 0..50 {
                flood(&fixture, &frame, 3);
                let key = key(source, SMTP);
                fixture.amend(&[Amendment { key, delta: -1 }]);
                let passed = fixture.run(&frame).action;
                assert_eq!(passed, Action::Pass, "round {round}, {place:?}, {family:?}");
                fixture.amend(&[Amendment { key, delta: 1 }]);
            }
        }
    }
}

/// Whatever has changed, once the daemon has spoken the very next SYN meets it: counts that nobody saw move, and
/// policies that observe.
#[test]
fn what_the_daemon_says_ends_what_stands() {
    require!(KERNEL);
    for place in Place::ALL {
        let mut fixture = fixture(place);
        let source: IpAddr = "192.0.2.20".parse().expect("an address");
        let frame = Frame::syn("192.0.2.20:4000", "198.51.100.1:25").to_bytes();
        flood(&fixture, &frame, MANY);
        for round in 0..50 {
            fixture.set_open(source, SMTP, LIMIT);
            flood(&fixture, &frame, BLOCK + 3);
            // Written behind the programs' back, and then the heartbeat: within a tick, mostly.
            fixture.set_open(source, SMTP, LIMIT - 1);
            assert_eq!(fixture.run(&frame).action, Action::Pass, "round {round}, {place:?}");
        }
        fixture.set_open(source, SMTP, LIMIT);
        flood(&fixture, &frame, BLOCK + 3);
        fixture.apply(&rules().service(1, &[25], flags(0)));
        assert_eq!(fixture.run(&frame).action, Action::Pass, "{place:?}");
    }
}

/// Another address at either end or another port is another question.
#[test]
fn only_the_very_question_is_answered() {
    require!(KERNEL);
    for place in Place::ALL {
        let fixture = fixture(place);
        let frame = Frame::syn("192.0.2.20:4000", "198.51.100.1:25");
        flood(&fixture, &frame.to_bytes(), MANY);
        let others = [
            ("another source", "192.0.2.21:4000", "198.51.100.1:25", Action::Pass),
            ("not for us", "192.0.2.20:4000", "198.51.100.2:25", Action::Pass),
            ("a port that nobody guards", "192.0.2.20:4000", "198.51.100.1:80", Action::Pass),
            ("a service with resets", "192.0.2.20:4000", "198.51.100.1:993", Action::Tx),
            ("another local port of the client", "192.0.2.20:4001", "198.51.100.1:25", Action::Drop),
        ];
        for (what, source, server, action) in others {
            // Each time right after a SYN that the standing refusal answers.
            flood(&fixture, &frame.to_bytes(), 2);
            assert_eq!(
                fixture.run(&Frame::syn(source, server).to_bytes()).action,
                action,
                "{what}, {place:?}"
            );
        }
    }
}

/// Of so many sources some share a place in the table: each is refused and counted as itself.
#[test]
fn sources_that_share_a_place_are_counted_apart() {
    require!(KERNEL);
    for place in Place::ALL {
        let mut fixture = fixture(place);
        let server = ([198, 51, 100, 1], 25);
        let sources: Vec<_> = (0..400).map(|n| Ipv4Addr::from_bits(0x0a01_0000 + n)).collect();
        for source in &sources {
            fixture.set_open((*source).into(), SMTP, LIMIT);
        }
        let each = BLOCK + 8;
        for source in &sources {
            flood(
                &fixture,
                &Frame::syn(SocketAddr::from((*source, 4000)), SocketAddr::from(server)).to_bytes(),
                each,
            );
        }
        let all = u64::from(each) * u64::try_from(sources.len()).expect("a count fits");
        assert!(fixture.counted().contains(&(refused(Family::V4), all)), "{place:?}");
        let standing = fixture.standing();
        assert!(standing.len() < sources.len(), "some share a place");
        for source in sources {
            let key = SourceKey { addr: IpAddr::from(source).into(), service: SMTP };
            let entry = fixture.source(&key).expect("the source is known");
            assert_eq!(
                entry.refused + owed(&standing, key.addr).iter().sum::<u32>(),
                each,
                "{source}, {place:?}"
            );
        }
    }
}

/// What is not of one source may change with anybody's connection: it is looked up each time.
#[test]
fn a_ceiling_does_not_stand() {
    require!(KERNEL);
    for place in Place::ALL {
        let mut fixture = fixture(place);
        fixture.apply(&rules().service(1, &[25], Service { ceiling: 9, ..flags(Service::ENFORCE) }));
        let frame = Frame::syn("192.0.2.21:4000", "198.51.100.1:25").to_bytes();
        fixture.set_open("192.0.2.21".parse().expect("an address"), SMTP, 1);
        fixture.set_total(SMTP, 9);
        flood(&fixture, &frame, MANY);
        fixture.set_total(SMTP, 8);
        assert_eq!(fixture.run(&frame).action, Action::Pass, "{place:?}");
        let passed = Count { verdict: Verdict::Pass(PassReason::WithinLimits), ..refused(Family::V4) };
        assert!(fixture.counted().contains(&(passed, 1)) && fixture.standing().is_empty(), "{place:?}");
    }
}

/// As long as resets are within their budget each SYN gets its own.
#[test]
fn resets_do_not_stand() {
    require!(KERNEL);
    for place in Place::ALL {
        let fixture = fixture(place);
        let frame = Frame::syn("192.0.2.20:4000", "198.51.100.1:993").to_bytes();
        for n in 0..MANY {
            assert_eq!(fixture.run(&frame).action, Action::Tx, "SYN {n}, {place:?}");
        }
        assert!(fixture.standing().is_empty(), "{place:?}");
    }
}
