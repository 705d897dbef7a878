//! What outlives the daemon: where maps and links are pinned, whether what is
//! found there can be gone on with, and how it is removed.
//!
//! Layout of `[runtime] pin_dir`: one directory per version of the layout,
//! `vN/maps/NAME` and `vN/links/NAME`. Nothing else belongs there, so whatever
//! else is found is somebody's leftover.

use std::{
    fs, io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use aya::{
    Pod,
    maps::{Array, Map, MapData, MapError, MapInfo},
};
use aya_obj::Object;
use limiter_common::names::{ABI_VERSION, IN_PLACE};
use nix::sys::statfs::{FsType, statfs};

use super::{clsact, generation::Generation, load::OBJECT};
use crate::dataplane::{DataplaneError, syscall};

/// `BPF_FS_MAGIC`, `include/uapi/linux/magic.h`.
const BPF_FS: FsType = FsType(0xcafe_4a11);
/// The ending of a directory of pins that are being replaced.
const RETIRED: &str = "-retired";
/// The map that tells what the others mean (`generation.rs`).
pub(super) const GENERATION: &str = "GENERATION";
/// Links in the order in which they are taken off: what refuses first, what releases last.
const DETACH_ORDER: [&str; 3] = ["gate", "charge", "give_back"];

/// The pins of this version of the layout.
#[derive(Clone, Debug)]
pub(super) struct Pins {
    root: PathBuf,
    current: PathBuf,
}

/// What an earlier daemon left.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing of this version.
    Nothing,
    /// Maps that fit, and what they mean.
    Ours(Box<Generation>),
    /// Something else, with the reason why it does not fit.
    Unfit(String),
}

/// Returns a mapper of errors to the file they happened at.
fn at(path: &Path, step: &str) -> impl FnOnce(io::Error) -> DataplaneError {
    let step = format!("{step} {}", path.display());
    move |source| DataplaneError::Setup {
        step,
        remedy: "[runtime] pin_dir has to be on a bpf file system that limiterd may write to",
        source: source.into(),
    }
}

impl Pins {
    /// Returns the pins below a directory.
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), current: root.join(format!("v{ABI_VERSION}")) }
    }

    /// Returns where a map is pinned.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.current.join("maps").join(symbol(name))
    }

    /// Returns where a link is pinned.
    pub(super) fn link(&self, name: &str) -> PathBuf {
        self.links().join(name)
    }

    fn links(&self) -> PathBuf {
        self.current.join("links")
    }

    /// Makes the directory of all pins.
    pub(super) fn make_root(&self) -> Result<(), DataplaneError> {
        fs::create_dir_all(&self.root).map_err(at(&self.root, "making"))?;
        let kind = statfs(&self.root).map_err(io::Error::from).map_err(at(&self.root, "looking at"))?;
        if kind.filesystem_type() == BPF_FS {
            return Ok(());
        }
        // Left as it was found: an empty directory that nobody asked for helps no one.
        drop(fs::remove_dir(&self.root));
        Err(DataplaneError::NoBpfFs { path: self.root.clone() })
    }

    /// Makes the directories of this version.
    pub(super) fn make(&self) -> Result<(), DataplaneError> {
        for directory in [self.current.join("maps"), self.links()] {
            fs::create_dir_all(&directory).map_err(at(&directory, "making"))?;
        }
        Ok(())
    }

    /// Looks at what an earlier daemon left, and changes nothing.
    pub(super) fn find(&self, netns_cookie: u64) -> Result<Found, DataplaneError> {
        if !self.current.exists() {
            return Ok(Found::Nothing);
        }
        let generation = match Generation::read(&self.map(GENERATION)) {
            Ok(generation) => generation,
            Err(error) => return Ok(Found::Unfit(crate::chain::chain(error.as_ref()))),
        };
        if generation.netns_cookie != netns_cookie {
            return Err(DataplaneError::ForeignPins { path: self.root.clone() });
        }
        Ok(match self.misfit()? {
            Some(reason) => Found::Unfit(reason),
            None => Found::Ours(Box::new(generation)),
        })
    }

    /// Returns why the pinned maps are not those that the programs want; nothing if they are.
    fn misfit(&self) -> Result<Option<String>, DataplaneError> {
        for (name, wanted) in wanted_maps()? {
            let Ok(found) = MapInfo::from_pin(self.map(&name)) else {
                return Ok(Some(format!("map {name} is not pinned")));
            };
            let (found, wanted) = (
                (found.map_type().map_or(u32::MAX, |kind| kind as u32), found.key_size(), found.value_size()),
                (wanted.map_type(), wanted.key_size(), wanted.value_size()),
            );
            if found != wanted {
                return Ok(Some(format!(
                    "map {name} has type, key and value {found:?}, wanted are {wanted:?}"
                )));
            }
        }
        Ok(None)
    }

    /// Puts what is pinned aside: it goes on limiting until it is removed.
    pub(super) fn retire(&self) -> Result<(), DataplaneError> {
        if self.current.exists() {
            let aside = self.root.join(format!("v{ABI_VERSION}{RETIRED}"));
            remove_tree(&aside);
            fs::rename(&self.current, &aside).map_err(at(&self.current, "renaming"))?;
        }
        Ok(())
    }

    /// Returns the directories of other generations.
    fn others(&self) -> Vec<PathBuf> {
        entries(&self.root).into_iter().filter(|path| *path != self.current).collect()
    }

    /// Returns every place where a link of this name may be pinned, ours first.
    pub(super) fn candidates(&self, name: &str) -> Vec<PathBuf> {
        let others = self.others().into_iter().map(|directory| directory.join("links").join(name));
        std::iter::once(self.link(name)).chain(others).filter(|path| path.exists()).collect()
    }

    /// Returns the names of pinned links that begin like this.
    pub(super) fn links_named(&self, prefix: &str) -> Vec<String> {
        let names = entries(&self.links()).into_iter().filter_map(|path| name_of(&path));
        names.filter(|name| name.starts_with(prefix)).collect()
    }

    /// Removes what other generations left; returns what that was.
    pub(super) fn remove_others(&self) -> Vec<String> {
        self.others().iter().flat_map(|path| remove_tree(path)).collect()
    }

    /// Removes the pins of this generation, which detaches what is attached.
    pub(super) fn remove(&self) -> Result<(), DataplaneError> {
        remove_tree(&self.current);
        // The directory of all stays: the lock on it is what keeps other daemons away.
        if self.current.exists() {
            return Err(at(&self.current, "removing")(io::Error::other("something is left in it")));
        }
        Ok(())
    }
}

/// Removes everything that limiter pinned below a directory, and so detaches it; returns what was
/// removed.
///
/// It does not ask whether a daemon is alive: a panic must work beside one that hangs. The directory
/// stays, and with it the lock that keeps a second daemon away from the one that hangs.
///
/// # Errors
///
/// When something stays behind.
pub fn clear(pin_dir: &Path) -> Result<Vec<String>, DataplaneError> {
    let removed: Vec<String> = entries(pin_dir).iter().flat_map(|path| remove_tree(path)).collect();
    if entries(pin_dir).is_empty() {
        return Ok(removed);
    }
    Err(at(pin_dir, "removing")(io::Error::other("something is left in it")))
}

/// Does the same, and removes the directory.
///
/// # Errors
///
/// As [`clear`].
pub fn cleanup(pin_dir: &Path) -> Result<Vec<String>, DataplaneError> {
    let removed = clear(pin_dir)?;
    if pin_dir.exists() {
        fs::remove_dir(pin_dir).map_err(at(pin_dir, "removing"))?;
    }
    Ok(removed)
}

/// Returns what is pinned below a directory and belongs to no daemon of this version, a sentence each.
#[must_use]
pub fn orphans(pin_dir: &Path) -> Vec<String> {
    let others = Pins::new(pin_dir).others();
    others
        .iter()
        .map(|path| format!("{} is left over; `limiterd --cleanup` removes it", path.display()))
        .collect()
}

/// Returns the name of a map in the programs: of one in place the symbol in its section.
pub(super) fn symbol(map: &str) -> &str {
    map.strip_prefix(IN_PLACE).unwrap_or(map)
}

/// Reads a pinned array of one element.
pub(super) fn read_single<T: Pod>(path: &Path) -> Result<T, MapError> {
    Array::<_, T>::try_from(Map::Array(MapData::from_pin(path)?))?.get(&0, 0)
}

/// Detaches a pinned link and removes its pin.
pub(super) fn remove_link(path: &Path) -> io::Result<()> {
    clsact::withdraw(path)?;
    let link = syscall::open_pinned(path)?;
    fs::remove_file(path)?;
    // Tracing links answer that they cannot; closing the last descriptor detaches those.
    drop(syscall::detach_link(link.as_fd()));
    Ok(())
}

/// Removes a directory of pins: links in their order, then whatever else; returns what was removed.
fn remove_tree(directory: &Path) -> Vec<String> {
    let links = directory.join("links");
    let mut order: Vec<PathBuf> = entries(&links);
    let rank = |path: &PathBuf| {
        let name = name_of(path).unwrap_or_default();
        // Interfaces come first, what is not in the order last.
        let named = DETACH_ORDER.iter().position(|other| *other == name).map(|at| at + 1);
        if name.contains('-') { 0 } else { named.unwrap_or(usize::MAX) }
    };
    order.sort_by_key(rank);
    let mut removed = Vec::new();
    for link in order {
        match remove_link(&link) {
            Ok(()) => removed.push(link.display().to_string()),
            Err(error) => tracing::warn!(path = %link.display(), %error, "a pinned link stays behind"),
        }
    }
    for map in entries(&directory.join("maps")) {
        match fs::remove_file(&map) {
            Ok(()) => removed.push(map.display().to_string()),
            Err(error) => tracing::warn!(path = %map.display(), %error, "a pinned map stays behind"),
        }
    }
    if let Err(error) = fs::remove_dir_all(directory)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %directory.display(), %error, "pins stay behind");
    }
    removed
}

/// Returns the maps of the object that are shared between generations of the programs.
pub(super) fn wanted_maps() -> Result<Vec<(String, aya_obj::Map)>, DataplaneError> {
    let object = Object::parse(OBJECT).map_err(super::load::failed("reading the BPF object"))?;
    // Sections of constants belong to the programs of one daemon.
    let is_shared = |name: &str| name.starts_with(IN_PLACE) || !name.starts_with('.');
    Ok(object.maps.into_iter().filter(|(name, _)| is_shared(name)).collect())
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries.flatten().map(|entry| entry.path()).collect()
}

fn name_of(path: &Path) -> Option<String> {
    path.file_name().and_then(|name| name.to_str()).map(ToOwned::to_owned)
}
