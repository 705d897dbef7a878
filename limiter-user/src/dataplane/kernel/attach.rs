//! Attaches what every packet and socket of the host meets: charge, release and
//! the gate, in the order that keeps counts right. Interfaces are `xdp.rs`'s.
//!
//! Links are pinned, and the daemon keeps no descriptor of them: what is
//! attached stays so until its pin is removed.

use std::{
    fs::{self, File},
    os::fd::{AsFd as _, BorrowedFd},
    path::{Path, PathBuf},
};

use aya::programs::{
    BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, ProgramError, SockOps,
    links::{FdLink, LinkError},
    loaded_programs,
};

use super::{
    load::{Loaded, failed},
    pins::{Pins, remove_link},
};
use crate::{
    config::Cgroup,
    dataplane::{DataplaneError, syscall},
};

/// The ending of the name of a link that is about to take another one's place.
const NEXT: &str = "-next";

/// Attaches release and charge, or gives what is attached these programs.
pub(super) fn attach_counting(loaded: &mut Loaded, pins: &Pins, cgroup: &Path) -> Result<(), DataplaneError> {
    for name in ["release", "give_back"] {
        let program: &mut BtfTracePoint = loaded.program_mut(name)?;
        let link = program.attach().and_then(|id| program.take_link(id));
        let link = link.map_err(failed(format!("attaching the program `{name}`")))?;
        // Tracing links cannot be given another program. Two generations at once do no harm: the
        // storage of a socket is released once, a reservation is taken once.
        pin_over(link.into(), &pins.link(name))?;
    }
    let open = open_cgroup(cgroup)?;
    let program: &mut SockOps = loaded.program_mut("charge")?;
    let path = pins.link("charge");
    if !update(&path, program_fd(program.fd())?.as_fd()) {
        let link = program.attach(&open, CgroupAttachMode::Single).and_then(|id| program.take_link(id));
        let link = link.and_then(into_fd_link);
        pin_over(link.map_err(|error| explain_sock_ops(error, cgroup, &open))?, &path)?;
    }
    Ok(())
}

/// Attaches the gate, or gives the one that is attached this program.
pub(super) fn attach_gate(loaded: &mut Loaded, pins: &Pins, cgroup: &Path) -> Result<(), DataplaneError> {
    let open = open_cgroup(cgroup)?;
    let program: &mut CgroupSkb = loaded.program_mut("gate")?;
    let path = pins.link("gate");
    if !update(&path, program_fd(program.fd())?.as_fd()) {
        let link = program
            .attach(&open, CgroupSkbAttachType::Ingress, CgroupAttachMode::Single)
            .and_then(|id| program.take_link(id));
        let link = link.and_then(into_fd_link);
        pin_over(link.map_err(failed("attaching the gate"))?, &path)?;
    }
    Ok(())
}

/// Removes the links on a cgroup: they belong to another one than is wanted.
pub(super) fn leave_cgroup(pins: &Pins) {
    for name in ["gate", "charge"] {
        if pins.link(name).exists()
            && let Err(error) = remove_link(&pins.link(name))
        {
            tracing::warn!(name, %error, "a link on the former cgroup stays behind");
        }
    }
}

/// Gives a pinned link another program, if it is there and takes one.
pub(super) fn update(path: &Path, program: BorrowedFd<'_>) -> bool {
    if !path.exists() {
        return false;
    }
    let updated = syscall::open_pinned(path).and_then(|link| syscall::update_link(link.as_fd(), program));
    if let Err(error) = &updated {
        tracing::info!(path = %path.display(), %error, "a pinned link is of no use any more; attaching anew");
    }
    updated.is_ok()
}

/// Pins a link, in the place of whatever is pinned there.
pub(super) fn pin_over(link: FdLink, path: &Path) -> Result<(), DataplaneError> {
    let step = || format!("pinning {}", path.display());
    let mut next = path.as_os_str().to_owned();
    next.push(NEXT);
    let next = PathBuf::from(next);
    // Left behind by a daemon that died just here.
    drop(fs::remove_file(&next));
    link.pin(&next).map_err(failed(step()))?;
    fs::rename(&next, path).map_err(failed(step()))
}

/// Returns a link as one that can be pinned.
pub(super) fn into_fd_link<L>(link: L) -> Result<FdLink, ProgramError>
where
    FdLink: TryFrom<L, Error = LinkError>,
{
    FdLink::try_from(link).map_err(|error| ProgramError::IOError(std::io::Error::other(error)))
}

/// Returns the descriptor of a loaded program.
pub(super) fn program_fd(
    fd: Result<&aya::programs::ProgramFd, ProgramError>,
) -> Result<&aya::programs::ProgramFd, DataplaneError> {
    fd.map_err(failed("opening a program"))
}

fn open_cgroup(path: &Path) -> Result<File, DataplaneError> {
    File::open(path).map_err(|source| DataplaneError::Host { path: path.to_owned(), source })
}

/// Finds the cgroup to attach to: the root of the version 2 hierarchy unless one is configured.
pub(crate) fn cgroup_path(configured: &Cgroup) -> Result<PathBuf, DataplaneError> {
    const MOUNTS: &str = "/proc/mounts";
    if let Cgroup::Path(path) = configured {
        return Ok(path.clone());
    }
    let mounts =
        fs::read_to_string(MOUNTS).map_err(|source| DataplaneError::Host { path: MOUNTS.into(), source })?;
    mounts.lines().find_map(cgroup2_mount).ok_or_else(|| DataplaneError::Setup {
        step: "finding a cgroup v2 mount".to_owned(),
        remedy: "mount one (`mount -t cgroup2 none /sys/fs/cgroup`) or name it in `[runtime] cgroup`",
        source: anyhow::anyhow!("{MOUNTS} lists none"),
    })
}

fn cgroup2_mount(line: &str) -> Option<PathBuf> {
    let mut columns = line.split(' ');
    let (_, path, kind) = (columns.next()?, columns.next()?, columns.next()?);
    (kind == "cgroup2").then(|| path.into())
}

/// Names the program that holds the hook exclusively, if that is what happened.
fn explain_sock_ops(error: ProgramError, path: &Path, cgroup: &File) -> DataplaneError {
    let found = syscall::sock_ops_programs(cgroup.as_fd()).ok().filter(|found| !found.allow_others);
    match found.and_then(|found| found.ids.first().copied()) {
        Some(id) => DataplaneError::ForeignSockOps { cgroup: path.to_owned(), program: program_name(id), id },
        None => failed("attaching the charge")(error),
    }
}

/// Returns the name of a loaded program.
pub(super) fn program_name(id: u32) -> String {
    loaded_programs()
        .filter_map(Result::ok)
        .find(|program| program.id() == id)
        .and_then(|program| program.name_as_str().map(ToOwned::to_owned))
        .unwrap_or_else(|| "unnamed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The version 2 hierarchy is found beside version 1 controllers.
    #[test]
    fn the_cgroup2_mount_is_found() {
        let mounts =
            "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(mounts.lines().find_map(cgroup2_mount), Some(PathBuf::from("/sys/fs/cgroup/unified")));
    }
}
