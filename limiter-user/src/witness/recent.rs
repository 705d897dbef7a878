//! What grew within the last minute: what status speaks of, where a total since
//! the start would speak of last week.

use std::collections::{BTreeMap, VecDeque};

use limiter_common::witness::DropKey;

use super::{listeners::Listener, reasons::Reasons, sight::direction};
use crate::clock::Now;

/// How long something is recent.
const RECENT_S: u64 = 60;

/// Drops of live connections, and of listeners, by the second.
#[derive(Clone, Debug, Default)]
pub(super) struct Recent {
    drops: BTreeMap<(u8, u8, u32), u64>,
    /// What each listener had dropped at the last look, by inode; none before the first.
    listening: Option<BTreeMap<u32, u32>>,
    dropped: BTreeMap<u16, u64>,
    grown: VecDeque<(u64, Growth)>,
}

#[derive(Clone, Copy, Debug)]
enum Growth {
    /// Of a tag, in a direction, for a reason.
    Established { tag: u8, direction: u8, reason: u32, packets: u64 },
    /// Of a port.
    Listener { port: u16, packets: u64 },
}

/// What a service's packets met within the last minute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Minute {
    /// Dropped packets of live connections: direction, reason, count.
    pub established: Vec<(&'static str, String, u64)>,
    /// Packets that listeners of the service dropped.
    pub listener_drops: u64,
}

impl Recent {
    /// Takes in what was counted so far.
    pub(super) fn take(&mut self, drops: Vec<(DropKey, u64)>, now: Now) {
        let now_s = now.monotonic_s();
        for (key, count) in drops.into_iter().filter(|(key, _)| key.established != 0) {
            let before = self.drops.insert((key.tag, key.direction, key.reason), count).unwrap_or(0);
            if let Some(packets) = count.checked_sub(before).filter(|packets| *packets > 0) {
                let (tag, direction, reason) = (key.tag, key.direction, key.reason);
                self.grown.push_back((now_s, Growth::Established { tag, direction, reason, packets }));
            }
        }
        while self.grown.front().is_some_and(|(at_s, _)| at_s + RECENT_S < now_s) {
            self.grown.pop_front();
        }
    }

    /// Takes in what listeners dropped so far.
    pub(super) fn listen(&mut self, listeners: &[Listener], now: Now) {
        let drops = listeners.iter().map(|listener| (listener.inode, listener.drops)).collect();
        let known = self.listening.replace(drops);
        for listener in listeners {
            // What the first look finds is from before the witness; who comes later began with nothing.
            let before = known
                .as_ref()
                .map_or(listener.drops, |known| known.get(&listener.inode).copied().unwrap_or_default());
            let packets = u64::from(listener.drops.saturating_sub(before));
            if packets > 0 {
                *self.dropped.entry(listener.port).or_default() += packets;
                self.grown.push_back((now.monotonic_s(), Growth::Listener { port: listener.port, packets }));
            }
        }
    }

    /// Returns how many packets the listeners of these ports dropped since the witness began.
    pub(super) fn dropped_by(&self, ports: &[u16]) -> u64 {
        ports.iter().filter_map(|port| self.dropped.get(port)).sum()
    }

    /// Returns what the packets of a tag and of the listeners of its ports met.
    pub(super) fn minute(&self, wanted: u8, ports: &[u16], reasons: &Reasons) -> Minute {
        let mut sums: BTreeMap<(u8, u32), u64> = BTreeMap::new();
        for (_, growth) in &self.grown {
            if let Growth::Established { tag, direction, reason, packets } = *growth
                && tag == wanted
            {
                *sums.entry((direction, reason)).or_default() += packets;
            }
        }
        let named = |((way, reason), packets)| (direction(way), reasons.name(reason), packets);
        let of_ports = |(_, growth): &(u64, Growth)| match growth {
            Growth::Listener { port, packets } if ports.contains(port) => Some(*packets),
            Growth::Listener { .. } | Growth::Established { .. } => None,
        };
        Minute {
            established: sums.into_iter().map(named).collect(),
            listener_drops: self.grown.iter().filter_map(of_ports).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Now = Now { monotonic_ns: 100_000_000_000, unix_ms: 1_700_000_000_000 };

    fn established(count: u64) -> Vec<(DropKey, u64)> {
        vec![(DropKey { reason: 12, tag: 1, established: 1, ..DropKey::default() }, count)]
    }

    /// A drop is recent for a minute, and none of what was counted before is.
    #[test]
    fn drops_are_recent_for_a_minute() {
        let (mut recent, reasons) = (Recent::default(), Reasons::default());
        recent.take(established(3), START);
        recent.take(established(5), START.plus_s(30));
        let minute = |recent: &Recent| recent.minute(1, &[25], &reasons).established;
        assert_eq!(minute(&recent), [("in", "REASON_12".to_owned(), 5)]);
        recent.take(established(5), START.plus_s(61));
        assert_eq!(minute(&recent), [("in", "REASON_12".to_owned(), 2)]);
        recent.take(established(5), START.plus_s(91));
        assert_eq!(minute(&recent), []);
    }

    /// What a listener dropped before the witness began is not held against it; what one dropped
    /// that came later is, also if that was before anybody looked.
    #[test]
    fn listeners_begin_with_their_past() {
        let mut recent = Recent::default();
        let of =
            |inode, port, drops| Listener { port, inode, accept_queue: 0, syn_queue: 0, backlog: 8, drops };
        let listener = |drops| of(7, 25, drops);
        recent.listen(&[listener(100)], START);
        assert_eq!(recent.dropped_by(&[25]), 0);
        recent.listen(&[listener(104)], START.plus_s(5));
        assert_eq!((recent.dropped_by(&[25, 465]), recent.dropped_by(&[465])), (4, 0));
        assert_eq!(recent.minute(1, &[25], &Reasons::default()).listener_drops, 4);
        recent.listen(&[listener(104), of(8, 587, 11)], START.plus_s(10));
        assert_eq!((recent.dropped_by(&[25]), recent.dropped_by(&[587])), (4, 11));
    }
}
