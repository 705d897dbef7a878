//! The statistics of connection tracking, and how full its table is.
//!
//! The kernel counts per CPU and in 32 bits; here the counts are summed and
//! go on when one of them starts over. They are those of the network namespace.

use std::{collections::BTreeMap, fs, path::Path};

use super::message::Message;

/// Where the kernel says how many entries there are, and how many there may be.
const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";
const MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
/// Whether it tells of changes: 0 never, 1 always, 2 of entries made while somebody listens.
const EVENTS: &str = "/proc/sys/net/netfilter/nf_conntrack_events";

/// Attribute types of `enum ctattr_stats_cpu` that modern kernels count, and the `stat` labels of the metrics.
const STATISTICS: [(u16, &str); 10] = [
    (2, "found"),
    (4, "invalid"),
    (8, "insert"),
    (9, "insert_failed"),
    (10, "drop"),
    (11, "early_drop"),
    (12, "error"),
    (13, "search_restart"),
    (14, "clash_resolve"),
    (15, "chain_toolong"),
];

/// The statistics, summed over all CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    last: BTreeMap<(u16, u16), u32>,
    totals: [u64; STATISTICS.len()],
}

impl Statistics {
    /// Takes in what the kernel says of one CPU.
    pub fn take(&mut self, message: &Message<'_>) {
        for (kind, value) in message.numbers() {
            let Some(at) = STATISTICS.iter().position(|(known, _)| *known == kind) else {
                continue;
            };
            let last = self.last.insert((message.cpu, kind), value).unwrap_or(0);
            self.totals[at] += u64::from(value.wrapping_sub(last));
        }
    }

    /// Returns every statistic by label.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        STATISTICS.iter().zip(self.totals).map(|((_, label), total)| (*label, total))
    }
}

/// How full the table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Entries there are, of everything.
    pub count: u32,
    /// Entries there may be.
    pub max: u32,
}

impl Fill {
    /// Asks the kernel; none where it has no connection tracking.
    #[must_use]
    pub fn read() -> Option<Self> {
        Some(Self { count: number(COUNT)?, max: number(MAX)? })
    }

    /// Returns the share that is used; 1 is full.
    #[must_use]
    pub fn ratio(self) -> f64 {
        // No limit at all is never full.
        if self.max == 0 { 0.0 } else { f64::from(self.count) / f64::from(self.max) }
    }
}

/// Returns whether the kernel has connection tracking at all.
#[must_use]
pub fn is_in_kernel() -> bool {
    Path::new(COUNT).exists()
}

/// Returns whether the kernel was told to tell of no changes.
#[must_use]
pub fn is_mute() -> bool {
    number(EVENTS) == Some(0)
}

fn number(path: &str) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conntrack::message::{GET_STATS_CPU, Messages};

    /// A message about one CPU, with one number.
    fn take(statistics: &mut Statistics, cpu: u16, kind: u16, value: u32) {
        let mut bytes = 28_u32.to_ne_bytes().to_vec();
        bytes.extend(GET_STATS_CPU.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend([0, 0]);
        bytes.extend(cpu.to_be_bytes());
        bytes.extend([8_u16.to_ne_bytes(), kind.to_ne_bytes()].concat());
        bytes.extend(value.to_be_bytes());
        statistics.take(&Messages(&bytes).next().unwrap());
    }

    fn invalid(statistics: &Statistics) -> u64 {
        statistics.iter().find(|(label, _)| *label == "invalid").unwrap().1
    }

    /// CPUs are summed, and a count that starts over at 2^32 goes on.
    #[test]
    fn counts_are_summed_and_go_on() {
        let mut statistics = Statistics::default();
        take(&mut statistics, 0, 4, u32::MAX - 1);
        take(&mut statistics, 1, 4, 5);
        assert_eq!(invalid(&statistics), u64::from(u32::MAX) + 4);
        take(&mut statistics, 0, 4, 3);
        take(&mut statistics, 0, 4, 3);
        assert_eq!(invalid(&statistics), u64::from(u32::MAX) + 9);
    }

    /// A table without a limit is never full.
    #[test]
    fn fill_is_a_share() {
        assert!((Fill { count: 9, max: 10 }.ratio() - 0.9).abs() < f64::EPSILON);
        assert!(Fill { count: 9, max: 0 }.ratio() < f64::EPSILON);
    }
}
