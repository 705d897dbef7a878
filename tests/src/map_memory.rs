//! What the maps of a daemon take of the kernel's memory, and how many sources they know.

use std::collections::HashMap;

use limiter_common::names;

use crate::daemon::Daemon;
use crate::usage;

/// Sources that fit in their map.
const SOURCES: u32 = names::SOURCES as u32;

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
