//! What a daemon takes: its own memory, its maps, its CPU.

use std::fs;
use std::path::PathBuf;

use limiter_common::names;

use crate::daemon::Daemon;

/// Bytes of all maps that the daemon holds by a descriptor, each once.
#[track_caller]
#[must_use]
pub fn map_bytes(daemon: &Daemon<'_>) -> u64 {
    let infos = fs::read_dir(process(daemon).join("fdinfo"))
        .expect("the descriptors of a process of ours can be listed")
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
    let mut maps: Vec<_> = infos
        .filter(|info| info.contains("map_type:"))
        .map(|info| (field(&info, "map_id:"), field(&info, "memlock:")))
        .collect();
    maps.sort_unstable();
    maps.dedup();
    if std::env::var_os("DBGMAPS").is_some() { for (id, b) in &maps { let n = aya::maps::loaded_maps().flatten().find(|m| u64::from(m.id()) == *id); eprintln!("MAP {id} {b} {:?}", n.map(|n| n.name_as_str().map(str::to_owned))); } eprintln!("MAP --"); }
    maps.iter().map(|(_, bytes)| bytes).sum()
}

/// How many sources the daemon's maps know.
#[track_caller]
#[must_use]
pub fn known_sources(daemon: &Daemon<'_>) -> f64 {
    let ratio = daemon.metric("limiter_map_fill_ratio", &[("map", "sources")]);
    (ratio * names::SOURCES as f64).round()
}

fn process(daemon: &Daemon<'_>) -> PathBuf {
    PathBuf::from("/proc").join(daemon.process().pid().to_string())
}

/// The number behind a name, at the beginning of a line.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.unwrap_or_else(|| panic!("{name} is in\n{text}"))
}
