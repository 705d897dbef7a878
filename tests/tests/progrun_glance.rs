//! SYNs that are judged by what their bucket holds, and those that need a look at their source.
//!
//! - neighbours in a bucket: `who_shares_a_bucket_*`
//! - what the sums follow: `sums_follow_*`

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use limiter_common::event::Amendment;
use limiter_common::gcra::Quota;
use limiter_common::held;
use limiter_common::limits::{Limits, Service};
use limiter_common::map::SourceKey;
use limiter_common::names;
use limiter_tests::fixture::{Action, Fixture, KERNEL, LIMIT, Place, Rules, SEED, SMTP, now_ns};
use limiter_tests::frame::Frame;
use limiter_tests::require;

const MINUTE_NS: u64 = 60_000_000_000;
/// Ten connections at once, then one a second.
const QUOTA: Quota = Quota::per(60, MINUTE_NS, 10);

fn fixture(place: Place, quota: Quota) -> Fixture {
    let mut fixture = Fixture::load_at(place);
    fixture.add_local("198.51.100.1".parse().expect("an address"));
    let service = Service { flags: Service::ENFORCE, ..Service::default() };
    let rules = Rules::default().service(1, &[25], service);
    fixture.apply(&rules.limits(1, 0, Limits::limited(LIMIT, quota)));
    fixture
}

fn key(address: IpAddr) -> SourceKey {
    SourceKey { addr: address.into(), service: SMTP }
}

fn bucket(address: IpAddr) -> u32 {
    names::bounds_bucket(key(address).hash(SEED))
}

/// Addresses whose connections are summed in one bucket.
fn neighbours() -> [IpAddr; 3] {
    let all = (0_u32..).map(|n| IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + n)));
    let first = IpAddr::from(Ipv4Addr::new(10, 0, 0, 0));
    let mut others = all.filter(|address| *address != first && bucket(*address) == bucket(first));
    [first, others.next().expect("a neighbour"), others.next().expect("another")]
}

fn held_at_most(fixture: &Fixture, key: &SourceKey) -> u32 {
    held::at_most(fixture.bounds_on(key).held)
}

fn run(fixture: &Fixture, source: IpAddr) -> Action {
    let frame = Frame::syn(SocketAddr::new(source, 4000), "198.51.100.1:25");
    fixture.run(&frame.to_bytes()).action
}

/// A bucket over the limit says nothing of who is in it: each is judged by what it holds itself, and
/// so is who is not known at all.
#[test]
fn who_shares_a_bucket_is_judged_for_itself() {
    require!(KERNEL);
    for place in Place::ALL {
        let mut fixture = fixture(place, Quota::NONE);
        let [full, half, unknown] = neighbours();
        fixture.set_open(full, SMTP, LIMIT);
        fixture.set_open(half, SMTP, LIMIT / 2);
        assert_eq!(held_at_most(&fixture, &key(half)), LIMIT + LIMIT / 2, "they share a bucket");
        let run = |source| run(&fixture, source);
        assert_eq!([full, half, unknown].map(run), [Action::Drop, Action::Pass, Action::Pass], "{place:?}");
        fixture.set_open(full, SMTP, LIMIT - 1);
        assert_eq!(self::run(&fixture, full), Action::Pass, "one less is below the limit, {place:?}");
    }
}

/// The same for arrival times: who owes too much is over its quota, and nobody beside it is.
#[test]
fn who_shares_a_bucket_owes_what_it_owes_itself() {
    require!(KERNEL);
    for place in Place::ALL {
        let mut fixture = fixture(place, QUOTA);
        let [in_debt, known, unknown] = neighbours();
        fixture.set_source(key(in_debt), 0, now_ns() + QUOTA.burst_ns + 60 * QUOTA.interval_ns);
        fixture.set_source(key(known), 0, 0);
        let later_ns = fixture.bounds_on(&key(known)).tat_ns - now_ns();
        assert!(later_ns > QUOTA.burst_ns, "the bound alone is over the quota by now");
        let run = |source| run(&fixture, source);
        assert_eq!(
            [in_debt, known, unknown].map(run),
            [Action::Drop, Action::Pass, Action::Pass],
            "{place:?}"
        );
    }
}

/// What a recount corrects is corrected in the sum as well, and what it cannot is not.
#[test]
fn sums_follow_recounts() {
    require!(KERNEL);
    let mut fixture = fixture(Place::Xdp, Quota::NONE);
    let [source, neighbour, _] = neighbours();
    fixture.set_open(source, SMTP, LIMIT - 1);
    fixture.set_open(neighbour, SMTP, 3);
    let amend = |delta| fixture.amend(&[Amendment { key: key(source), delta }]);
    amend(1);
    assert_eq!(held_at_most(&fixture, &key(source)), LIMIT + 3);
    assert_eq!(run(&fixture, source), Action::Drop, "at the limit");
    amend(-2);
    assert_eq!(held_at_most(&fixture, &key(source)), LIMIT + 1);
    assert_eq!(run(&fixture, source), Action::Pass, "below it");
    amend(-20);
    assert_eq!(held_at_most(&fixture, &key(source)), LIMIT + 1, "no count goes below zero");
    assert_eq!(fixture.source(&key(source)).expect("the source is known").word.held(), LIMIT - 2);
}
