//! Amendments: what the daemon changes in live entries, by way of a program.
//!
//! - the counts of a source, a service and a class: `counts_are_corrected`
#![forbid(unsafe_code)]

use limiter_common::event::Amendment;
use limiter_common::limits::Service;
use limiter_common::map::SourceKey;
use limiter_common::policy::CLASS_DEFAULT;
use limiter_tests::fixture::{Fixture, KERNEL, Rules};
use limiter_tests::frame::Frame;
use limiter_tests::require;

const SMTP: u32 = 1;

/// A source, a whole service and a class are corrected by what is added, and never below zero.
#[test]
fn counts_are_corrected() {
    require!(KERNEL);
    let mut fixture = Fixture::load();
    fixture.apply(&Rules::default().service(1, &[25], Service { ceiling: 9, ..Service::default() }));
    let address = "192.0.2.7".parse().expect("an address");
    fixture.set_open(address, SMTP, 4);
    fixture.set_total(SMTP, 7);
    let source = SourceKey { addr: address.into(), service: SMTP };
    let counts = |fixture: &Fixture| {
        let frame = Frame::syn("192.0.2.7:4000", "198.51.100.1:25").to_bytes();
        fixture.explain(&frame).map(|said| (said.held, said.total))
    };
    assert_eq!(counts(&fixture), Some((4, 7)));
    let whole = SourceKey::whole(SMTP);
    fixture.amend(&[Amendment { key: source, delta: -1 }, Amendment { key: whole, delta: -5 }]);
    assert_eq!(counts(&fixture), Some((3, 2)), "each is corrected, and not the other");
    fixture.amend(&[Amendment { key: whole, delta: -3 }, Amendment { key: source, delta: -4 }]);
    assert_eq!(counts(&fixture), Some((3, 2)), "no count goes below zero");
    fixture.amend(&[Amendment { key: whole, delta: 1 }, Amendment { key: source, delta: 1 }]);
    assert_eq!(counts(&fixture), Some((4, 3)));
    let class = SourceKey::class(SMTP, CLASS_DEFAULT);
    for (delta, left) in [(6, 6), (-2, 4), (-5, 4)] {
        fixture.amend(&[Amendment { key: class, delta }]);
        assert_eq!(fixture.connections_of(SMTP, CLASS_DEFAULT), left, "corrected by {delta}");
    }
    assert_eq!(counts(&fixture), Some((4, 3)), "and nothing else");
}
