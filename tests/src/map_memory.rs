//! What the maps of a daemon take of the kernel's memory, and how many sources they know.

use std::collections::HashMap;
use std::time::Duration;

use aya::maps::{Array, Map, MapData};
use limiter_common::map::{Source, SourceKey};
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

/// Panics unless every source is counted in the bucket that says whether it may be known, and no other is: one
/// that is not would have no entry to XDP and the gate.
#[track_caller]
pub fn assert_known_counted(daemon: &Daemon<'_>) {
    let maps = daemon.pins().join(format!("v{}/maps", names::ABI_VERSION));
    let open = |name: &str| MapData::from_pin(maps.join(name)).expect("the map is pinned");
    let counts = Array::<_, u32>::try_from(Map::Array(open("KNOWN"))).expect("an array");
    let sources = aya::maps::HashMap::<_, SourceKey, Source>::try_from(Map::HashMap(open("SOURCES")));
    let sources = sources.expect("a hash table");
    let both = || {
        let words = counts.iter().map(|word| word.expect("reading a count"));
        let counted: u32 = words.flat_map(u32::to_ne_bytes).map(u32::from).sum();
        (counted, u32::try_from(sources.keys().flatten().count()).expect("a capacity fits"))
    };
    // Sources come and go between the two readings.
    wait::until("every source is counted as known, once", SETTLE_TIME, || {
        let (counted, known) = both();
        counted == known
    });
}
