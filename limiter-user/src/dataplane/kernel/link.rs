//! Pinned links of interfaces: which program they attach, whether that is still
//! where they put it, and how one program takes the place of another.

use std::{
    fs,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
};

use aya::programs::links::{FdLink, PinnedLink};

use super::{
    attach::update,
    load::failed,
    pins::{Pins, remove_link},
};
use crate::dataplane::DataplaneError;

/// How an interface came to be guarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// It was so before.
    Kept,
    /// Nothing of ours was there.
    Attached,
    /// What we had put there was not there any more.
    Again,
}

/// A program that takes the place of others.
pub(super) struct Successor<'a> {
    pub(super) id: u32,
    pub(super) fd: BorrowedFd<'a>,
}

/// Gives a pinned link this program, if what it attaches is among the programs `present` on its
/// interface; links that attach nothing any more are removed.
pub(super) fn take_over(
    pins: &Pins,
    pin: &str,
    present: &[u32],
    program: &Successor<'_>,
) -> Result<How, DataplaneError> {
    let candidates = pins.candidates(pin);
    let attached = |path: &&PathBuf| program_of(path).is_some_and(|id| present.contains(&id));
    let Some(path) = candidates.iter().find(attached) else {
        // Taken off by somebody, or of an interface that is gone and whose index came back.
        for path in &candidates {
            discard(path);
        }
        return Ok(if candidates.is_empty() { How::Attached } else { How::Again });
    };
    if program_of(path) != Some(program.id) && !update(path, program.fd) {
        // The gate limits meanwhile, as exactly.
        discard(path);
        return Ok(How::Attached);
    }
    let ours = pins.link(pin);
    if *path != ours {
        fs::rename(path, &ours).map_err(failed(format!("pinning {}", ours.display())))?;
    }
    Ok(How::Kept)
}

/// Returns the id of the program that a pinned link attaches.
pub(super) fn program_of(path: &Path) -> Option<u32> {
    let link = FdLink::from(PinnedLink::from_pin(path).ok()?);
    Some(link.info().ok()?.program_id())
}

/// Detaches what is pinned there.
pub(super) fn discard(path: &Path) {
    if let Err(error) = remove_link(path) {
        tracing::warn!(path = %path.display(), %error, "a pinned link stays behind");
    }
}
