//! Whether entries and open connections tell the same story.
//!
//! A pure function over the table and the connections that are open: a socket
//! whose entry is missing is one whose packets a stateful firewall drops; an
//! entry of an established connection without a socket is one that nobody ends.
//! What two checks in a row agree on is a finding: between any two looks
//! connections come and go. Of a service that connection tracking does not
//! follow nothing is said, nor of addresses that are not this host's.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
};

use limiter_common::addr::Addr;

use super::{
    guard::{Ends, Guard, SERVICES},
    message::State,
    table::{Key, Table},
};

/// How long after its last entry a service still counts as one that is tracked, in seconds. A choice: a flushed table
/// has no entries left, and that is what is to be found.
const TRACKED_S: u64 = 600;

/// One open connection of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// This host's end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// The service id, or [`OUTBOUND`](super::OUTBOUND).
    pub service: u32,
}

/// What a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingKind {
    /// A connection is open, and tracking knows nothing of it.
    SocketWithoutEntry,
    /// Tracking holds a connection as established that nobody has open.
    EntryWithoutSocket,
}

impl FindingKind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::SocketWithoutEntry, Self::EntryWithoutSocket];

    /// Returns the `kind` label of the metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::SocketWithoutEntry => "socket_without_entry",
            Self::EntryWithoutSocket => "entry_without_socket",
        }
    }
}

/// How many findings there are, by service id and kind.
pub type Findings = BTreeMap<(u32, FindingKind), u64>;

/// Something that one check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Suspect {
    Socket(Ends),
    Entry(Key),
}

/// The comparison, and what the check before found.
#[derive(Debug, Default)]
pub struct CrossCheck {
    suspects: HashSet<Suspect>,
    findings: Findings,
    /// When each service last had an entry, in seconds of the monotonic clock, by family: IPv4, IPv6.
    tracked_s: [[Option<u64>; 2]; SERVICES],
}

impl CrossCheck {
    /// Compares the open connections with the entries and returns what was found twice in a row.
    pub fn check(&mut self, table: &Table, guard: &Guard, flows: &[Flow], now_s: u64) -> &Findings {
        let mut open: HashMap<Ends, (u32, bool)> = flows
            .iter()
            .map(|flow| (Ends::new(flow.local, flow.remote), (flow.service, false)))
            .filter(|(ends, _)| is_checked(guard, *ends))
            .collect();
        let before = std::mem::take(&mut self.suspects);
        self.findings.clear();
        for (key, service, state) in table.iter() {
            self.note_tracked(service, key.ends.local, now_s);
            if let Some((_, has_entry)) = open.get_mut(&key.ends) {
                *has_entry = true;
            } else if state == State::Established && is_checked(guard, key.ends) {
                let kind = FindingKind::EntryWithoutSocket;
                self.suspect(&before, Suspect::Entry(key), service, kind);
            }
        }
        for (ends, (service, has_entry)) in open {
            let suspect = Suspect::Socket(ends);
            // Found once, it stays so for as long as it is open: silence of the table is what was found.
            let is_tracked = before.contains(&suspect) || self.is_tracked(service, ends.local, now_s);
            if !has_entry && is_tracked {
                self.suspect(&before, suspect, service, FindingKind::SocketWithoutEntry);
            }
        }
        &self.findings
    }

    /// Returns what the last check found.
    #[must_use]
    pub const fn findings(&self) -> &Findings {
        &self.findings
    }

    fn suspect(&mut self, before: &HashSet<Suspect>, suspect: Suspect, service: u32, kind: FindingKind) {
        if before.contains(&suspect) {
            *self.findings.entry((service, kind)).or_default() += 1;
        }
        self.suspects.insert(suspect);
    }

    fn note_tracked(&mut self, service: u32, local: Addr, now_s: u64) {
        if let Some(families) = self.tracked_s.get_mut(service as usize) {
            families[usize::from(!is_v4(local))] = Some(now_s);
        }
    }

    fn is_tracked(&self, service: u32, local: Addr, now_s: u64) -> bool {
        let families = self.tracked_s.get(service as usize).copied().unwrap_or_default();
        families[usize::from(!is_v4(local))].is_some_and(|at_s| now_s.saturating_sub(at_s) <= TRACKED_S)
    }
}

/// Whether the ends are such that entry and socket must both be here: this host's own, and not both of them.
fn is_checked(guard: &Guard, ends: Ends) -> bool {
    guard.is_local(ends.local) && !guard.is_local(ends.remote)
}

fn is_v4(address: Addr) -> bool {
    address.octets().starts_with(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conntrack::{OUTBOUND, guard::Guarded, message::Entry};

    const SMTP: u32 = 1;

    fn guard() -> Guard {
        Guard::new([(25, SMTP)], &["10.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()])
    }

    fn flow(n: u16) -> Flow {
        let remote = SocketAddr::new("192.0.2.7".parse().unwrap(), 40_000 + n);
        Flow { local: "10.0.0.1:25".parse().unwrap(), remote, service: SMTP }
    }

    fn track(table: &mut Table, flow: Flow, state: State) {
        let guarded = Guarded { service: flow.service, ends: Ends::new(flow.local, flow.remote) };
        table.update(&Entry { state: Some(state), ..Entry::default() }, guarded);
    }

    fn untrack(table: &mut Table, flow: Flow) {
        let guarded = Guarded { service: flow.service, ends: Ends::new(flow.local, flow.remote) };
        table.remove(&Entry::default(), guarded);
    }

    fn one(service: u32, kind: FindingKind, count: u64) -> Findings {
        Findings::from([((service, kind), count)])
    }

    /// Entry and socket both there: nothing is found, however often one looks.
    #[test]
    fn what_agrees_is_no_finding() {
        let (mut check, mut table) = (CrossCheck::default(), Table::default());
        track(&mut table, flow(0), State::Established);
        for now_s in 0..5 {
            assert_eq!(check.check(&table, &guard(), &[flow(0)], now_s), &Findings::new());
        }
    }

    /// A socket whose entry is gone is a finding at the second look, and for as long as it is open.
    #[test]
    fn a_socket_without_entry_is_found_at_the_second_look() {
        let (mut check, mut table) = (CrossCheck::default(), Table::default());
        track(&mut table, flow(0), State::Established);
        check.check(&table, &guard(), &[flow(0)], 0);
        untrack(&mut table, flow(0));
        assert_eq!(check.check(&table, &guard(), &[flow(0)], 1), &Findings::new());
        let found = one(SMTP, FindingKind::SocketWithoutEntry, 1);
        assert_eq!(check.check(&table, &guard(), &[flow(0)], 2), &found);
        assert_eq!(check.check(&table, &guard(), &[flow(0)], 3 * TRACKED_S), &found);
        assert_eq!(check.check(&table, &guard(), &[], 3 * TRACKED_S + 1), &Findings::new());
    }

    /// An established entry that nobody has open is a finding at the second look; one that is ending is none.
    #[test]
    fn an_entry_without_socket_is_found_at_the_second_look() {
        let (mut check, mut table) = (CrossCheck::default(), Table::default());
        track(&mut table, flow(0), State::Established);
        track(&mut table, flow(1), State::TimeWait);
        assert_eq!(check.check(&table, &guard(), &[], 0), &Findings::new());
        assert_eq!(check.check(&table, &guard(), &[], 1), &one(SMTP, FindingKind::EntryWithoutSocket, 1));
        // It was not closed, after all.
        assert_eq!(check.check(&table, &guard(), &[flow(0)], 2), &Findings::new());
    }

    /// What differs from look to look is connections coming and going.
    #[test]
    fn two_looks_have_to_agree() {
        let (mut check, mut table) = (CrossCheck::default(), Table::default());
        track(&mut table, flow(9), State::Established);
        for n in 0..8 {
            let open = [flow(9), flow(n)];
            assert_eq!(check.check(&table, &guard(), &open, u64::from(n)), &Findings::new());
        }
    }

    /// Where tracking follows nothing of a service, or not its family, there is nothing to compare with.
    #[test]
    fn untracked_services_are_left_alone() {
        let (mut check, mut table) = (CrossCheck::default(), Table::default());
        track(&mut table, flow(0), State::Established);
        let v6 = Flow {
            local: "[2001:db8::1]:25".parse().unwrap(),
            remote: "[2001:db8::7]:40000".parse().unwrap(),
            service: SMTP,
        };
        let outbound = Flow {
            local: "10.0.0.1:50000".parse().unwrap(),
            remote: "198.51.100.9:25".parse().unwrap(),
            service: OUTBOUND,
        };
        for now_s in 0..5 {
            assert_eq!(check.check(&table, &guard(), &[flow(0), v6, outbound], now_s), &Findings::new());
        }
    }

    /// Addresses of others are not compared, nor connections of this host with itself.
    #[test]
    fn only_own_addresses_are_compared() {
        let (mut check, mut table) = (CrossCheck::default(), Table::default());
        track(&mut table, flow(0), State::Established);
        // Translated to a container: no socket of this host.
        let container = Flow { local: "172.17.0.2:25".parse().unwrap(), ..flow(1) };
        track(&mut table, container, State::Established);
        let inside = Flow { remote: "10.0.0.1:51000".parse().unwrap(), ..flow(2) };
        for now_s in 0..5 {
            assert_eq!(check.check(&table, &guard(), &[flow(0), inside], now_s), &Findings::new());
        }
    }

    /// An entry of any zone is an entry.
    #[test]
    fn zones_do_not_hide_entries() {
        let (mut check, mut table) = (CrossCheck::default(), Table::default());
        let guarded = Guarded { service: SMTP, ends: Ends::new(flow(0).local, flow(0).remote) };
        let entry = Entry { zone: 7, state: Some(State::Established), ..Entry::default() };
        table.update(&entry, guarded);
        for now_s in 0..3 {
            assert_eq!(check.check(&table, &guard(), &[flow(0)], now_s), &Findings::new());
        }
    }
}
