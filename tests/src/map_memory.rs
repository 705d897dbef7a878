//! What the maps of a daemon take of the kernel's memory, and how many sources they know.

use std::collections::HashMap;
use std::time::Duration;

use aya::maps::{Array, Map, MapData};
use limiter_common::held;
use limiter_common::map::{Bounds, Source, SourceKey};
use limiter_common::names;

use crate::daemon::Daemon;
use crate::usage;
use crate::wait;

/// Sources that fit in their map.
const SOURCES: u32 = names::SOURCES as u32;
/// How long sources may come and go.
const SETTLE_TIME: Duration = Duration::from_secs(5);

/// The maps that the daemon holds by a descriptor, each once: name and bytes.
#[track_caller]
#[must_use]
pub fn maps(daemon: &Daemon<'_>) -> Vec<(String, u64)> {
    let names: HashMap<u64, String> = aya::maps::loaded_maps()
        .flatten()
        .map(|map| (map.id().into(), map.name_as_str().unwrap_or_default().to_owned()))
        .collect();
    let mut maps: Vec<_> = usage::descriptors(daemon.process())
        .into_iter()
        .filter(|info| info.contains("map_type:"))
        .map(|info| (usage::field(&info, "map_id:"), usage::field(&info, "memlock:")))
        .collect();
    maps.sort_unstable();
    maps.dedup();
    maps.into_iter().map(|(id, bytes)| (names.get(&id).cloned().unwrap_or_default(), bytes)).collect()
}

/// Bytes of all maps.
#[track_caller]
#[must_use]
pub fn map_bytes(daemon: &Daemon<'_>) -> u64 {
    maps(daemon).iter().map(|(_, bytes)| bytes).sum()
}

/// Bytes of the map of sources.
#[track_caller]
#[must_use]
pub fn source_bytes(daemon: &Daemon<'_>) -> u64 {
    let sources = maps(daemon).into_iter().find(|(name, _)| name == "SOURCES");
    sources.expect("the daemon has a map of sources").1
}

/// How many sources the daemon's maps know.
#[track_caller]
#[must_use]
pub fn known_sources(daemon: &Daemon<'_>) -> f64 {
    let ratio = daemon.metric("limiter_map_fill_ratio", &[("map", "sources")]);
    (ratio * f64::from(SOURCES)).round()
}

/// The map of sources.
#[track_caller]
#[must_use]
pub fn sources(daemon: &Daemon<'_>) -> aya::maps::HashMap<MapData, SourceKey, Source> {
    Map::HashMap(pinned(daemon, "SOURCES")).try_into().expect("a hash table")
}

#[track_caller]
fn pinned(daemon: &Daemon<'_>, name: &str) -> MapData {
    MapData::from_pin(daemon.layout().join("maps").join(name)).expect("the map is pinned")
}

/// Panics unless the buckets in front of the map of sources say what is in it: how many sources there are
/// (one that is not counted would have no entry to XDP and the gate), what they hold together (who holds
/// more than that would pass XDP at its limit), and how late their arrival times are at most.
#[track_caller]
pub fn assert_buckets_agree(daemon: &Daemon<'_>) {
    let known = Array::<_, u32>::try_from(Map::Array(pinned(daemon, "KNOWN"))).expect("an array");
    let bounds = Array::<_, Bounds>::try_from(Map::Array(pinned(daemon, "BOUNDS"))).expect("an array");
    let sources = sources(daemon);
    let by_bucket = || {
        let counts = known.iter().flat_map(|word| word.expect("reading a count").to_ne_bytes());
        let bounds: Vec<_> = bounds.iter().map(|bounds| bounds.expect("reading bounds")).collect();
        let held = bounds.iter().map(|bounds| held::at_most(bounds.held)).sum::<u32>();
        ((counts.map(u32::from).sum::<u32>(), held), bounds.iter().map(|bounds| bounds.tat_ns).max())
    };
    let by_source = || {
        let sources: Vec<_> = sources.iter().flatten().map(|(_, source)| source).collect();
        let held = sources.iter().map(|source| source.word.held()).sum::<u32>();
        let count = u32::try_from(sources.len()).expect("a capacity fits");
        ((count, held), sources.iter().map(|source| source.tat_ns).max())
    };
    // Connections come and go between the two readings.
    wait::until("sources and what they hold are as their buckets say", SETTLE_TIME, || {
        let ((bound, latest_bound), (there, latest)) = (by_bucket(), by_source());
        bound == there && latest_bound >= latest
    });
}
