//! Events and looks, in every order in which they can come.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn ends(n: u16) -> Ends {
    let client = format!("192.0.2.7:{}", 40_000 + n);
    Ends::new("10.0.0.1:25".parse().unwrap(), client.parse().unwrap())
}

fn guarded(n: u16) -> Guarded {
    Guarded { service: 1, ends: ends(n) }
}

fn entry(id: u32, state: Option<State>) -> Entry {
    Entry { id, state, ..Entry::default() }
}

fn established(table: &Table) -> u32 {
    table.counts().of(1, State::Established)
}

/// An entry is counted in the state it is in, and nowhere when it is gone.
#[test]
fn entries_are_counted_by_state() {
    let mut table = Table::default();
    table.update(&entry(1, Some(State::SynSent)), guarded(0));
    assert_eq!(table.counts().of(1, State::SynSent), 1);
    table.update(&entry(1, Some(State::Established)), guarded(0));
    // An event that tells of something else changes no state.
    table.update(&entry(1, None), guarded(0));
    assert_eq!((table.counts().service(1), established(&table)), (1, 1));
    table.remove(&entry(1, None), guarded(0));
    assert_eq!((table.len(), table.counts()), (0, &Counts::default()));
}

/// Zones are worlds of their own: the same addresses and ports are another connection there.
#[test]
fn zones_are_kept_apart() {
    let mut table = Table::default();
    table.update(&entry(1, Some(State::Established)), guarded(0));
    table.update(&Entry { zone: 7, ..entry(2, Some(State::SynSent)) }, guarded(0));
    assert_eq!((established(&table), table.counts().of(1, State::SynSent)), (1, 1));
    table.remove(&Entry { zone: 7, ..entry(2, None) }, guarded(0));
    assert_eq!((established(&table), table.len()), (1, 1));
}

/// The end of an earlier entry of the same tuples does not end the one that is there.
#[test]
fn an_end_is_that_of_its_own_entry() {
    let mut table = Table::default();
    table.update(&entry(2, Some(State::Established)), guarded(0));
    table.remove(&entry(1, None), guarded(0));
    assert_eq!(established(&table), 1);
}

/// A look finds what events have not told of and forgets what is not there.
#[test]
fn a_look_puts_the_table_right() {
    let mut table = Table::default();
    table.update(&entry(1, Some(State::Established)), guarded(1));
    table.update(&entry(2, Some(State::SynSent)), guarded(2));
    table.begin_look();
    assert!(!table.found(&entry(2, Some(State::Established)), guarded(2)));
    assert!(table.found(&entry(3, Some(State::Established)), guarded(3)));
    assert!(!table.found(&Entry { is_dying: true, ..entry(4, None) }, guarded(4)));
    assert_eq!((table.end_look(), table.len(), established(&table)), (1, 2, 2));
    assert_eq!(table.unheard(), 1);
    // Once an event tells of it, its end will be told too.
    table.update(&entry(3, Some(State::FinWait)), guarded(3));
    assert_eq!(table.unheard(), 0);
}

/// What an event says during a look is newer than what the look says.
#[test]
fn events_during_a_look_win() {
    let mut table = Table::default();
    table.update(&entry(1, Some(State::Established)), guarded(1));
    table.begin_look();
    table.remove(&entry(1, None), guarded(1));
    table.update(&entry(2, Some(State::FinWait)), guarded(2));
    table.found(&entry(1, Some(State::Established)), guarded(1));
    table.found(&entry(2, Some(State::Established)), guarded(2));
    assert_eq!((table.end_look(), table.len()), (0, 1));
    assert_eq!(table.counts().of(1, State::FinWait), 1);
}

/// A table that is full says so and keeps what it has.
#[test]
fn the_table_is_bounded() {
    let mut table = Table::default();
    let all = (0..u32::try_from(ENTRIES_MAX).unwrap() + 5).map(|n| {
        let remote = Ends { remote: limiter_common::addr::Addr::from_v4_be(n), ..ends(0) };
        Guarded { service: 1, ends: remote }
    });
    for guarded in all {
        table.update(&entry(1, Some(State::Established)), guarded);
    }
    assert_eq!((table.len(), table.overflow()), (ENTRIES_MAX, 5));
    // No growth beyond the size that the bound was made for.
    assert!(table.entries.capacity() <= ENTRIES_MAX);
}

#[derive(Clone, Debug)]
enum Step {
    Update(u16, u32, u8),
    Remove(u16, u32),
    Look(Vec<(u16, u32, u8)>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let one = (0_u16..6, 0_u32..3, 0_u8..10);
    let step = prop_oneof![
        one.clone().prop_map(|(n, id, state)| Step::Update(n, id, state)),
        (0_u16..6, 0_u32..3).prop_map(|(n, id)| Step::Remove(n, id)),
        proptest::collection::vec(one, 0..6).prop_map(Step::Look),
    ];
    proptest::collection::vec(step, 0..60)
}

proptest! {
    /// Whatever comes, the counts are those of the entries.
    #[test]
    fn counts_are_those_of_the_entries(steps in steps()) {
        let mut table = Table::default();
        for step in steps {
            match step {
                Step::Update(n, id, state) => {
                    table.update(&entry(id, Some(State::ALL[usize::from(state)])), guarded(n));
                }
                Step::Remove(n, id) => table.remove(&entry(id, None), guarded(n)),
                Step::Look(seen) => {
                    table.begin_look();
                    for (n, id, state) in seen {
                        table.found(&entry(id, Some(State::ALL[usize::from(state)])), guarded(n));
                    }
                    table.end_look();
                }
            }
            let mut counted: BTreeMap<State, u32> = BTreeMap::new();
            for (_, _, state) in table.iter() {
                *counted.entry(state).or_default() += 1;
            }
            for state in State::ALL {
                prop_assert_eq!(table.counts().of(1, state), counted.get(&state).copied().unwrap_or(0));
            }
            let unheard = table.entries.values().filter(|known| !known.is_heard).count();
            prop_assert_eq!(table.unheard(), unheard);
        }
    }
}
