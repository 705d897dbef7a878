//! What the daemon takes: its own memory, and its maps.

use std::time::Duration;

use limiter_tests::daemon::Daemon;
use limiter_tests::usage::{self, field};
use limiter_tests::wait;

/// What the heap may grow by between the two looks: it keeps some of what was freed. A policy
/// that stayed with every reload would be some 250 KiB each.
const RSS_SLACK_KIB: u64 = 2_048;
/// `BPF_MAP_TYPE_HASH`: its memory is that of its entries, and connections may be live at one look and not at the other.
const HASH: u64 = 1;
/// How many more maps of this kind other daemons on this machine may have made meanwhile.
const MAPS_SLACK: usize = 40;
/// How long is looked for the fewest descriptors: a request, a scrape or a recount has some of its own
/// for milliseconds.
const LOOK_FOR: Duration = Duration::from_millis(300);

/// What is taken at one time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Resident memory of the daemon.
    rss_kib: u64,
    /// Descriptors that it has open.
    descriptors: usize,
    /// Memory of the maps that it holds by a descriptor, other than those that grow with traffic.
    held_maps_bytes: u64,
    /// Maps in the kernel that were made one at a time: policies and ranges, also those that no descriptor holds.
    single_maps: usize,
}

impl Memory {
    /// Looks at a daemon.
    pub(crate) fn of(daemon: &Daemon<'_>) -> Self {
        let mut infos = usage::descriptors(daemon.process());
        wait::until_some(LOOK_FOR, || {
            let now = usage::descriptors(daemon.process());
            if now.len() < infos.len() {
                infos = now;
            }
            None::<()>
        });
        let maps = infos.iter().filter(|info| info.contains("map_type:") && field(info, "map_type:") != HASH);
        let single =
            |info: &aya::maps::MapInfo| info.name_as_str().is_some_and(|n| n.starts_with("standalone"));
        Self {
            rss_kib: usage::resident_kib(daemon.process()),
            descriptors: infos.len(),
            held_maps_bytes: maps.map(|info| field(info, "memlock:")).sum(),
            single_maps: aya::maps::loaded_maps().flatten().filter(single).count(),
        }
    }

    /// Panics if the daemon has more resident than this.
    pub(crate) fn assert_resident_below(&self, kib: u64) {
        assert!(self.rss_kib < kib, "{} KiB resident", self.rss_kib);
    }

    /// Panics if more is taken than at an earlier time.
    pub(crate) fn assert_flat_since(&self, before: &Self) {
        assert!(
            self.rss_kib <= before.rss_kib + RSS_SLACK_KIB,
            "the daemon has grown: {before:?} to {self:?}"
        );
        assert_eq!(self.descriptors, before.descriptors, "descriptors");
        assert_eq!(self.held_maps_bytes, before.held_maps_bytes, "bytes of maps");
        assert!(
            self.single_maps <= before.single_maps + MAPS_SLACK,
            "maps stay behind: {before:?} to {self:?}"
        );
    }
}
