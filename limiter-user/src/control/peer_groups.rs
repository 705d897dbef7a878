//! The supplementary groups of a peer: the one socket option that neither tokio
//! nor nix wraps.
//!
//! The kernel's word is preferred to the group database: it also knows the
//! groups that a unit's `SupplementaryGroups=` or `setpriv` gave, and asking it
//! waits for no directory server.
#![expect(unsafe_code, reason = "getsockopt(2) takes a pointer; see the function")]

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _},
};

/// `SO_PEERGROUPS`, since 4.13 (`include/uapi/asm-generic/socket.h`).
const SO_PEERGROUPS: i32 = 59;
/// Groups that a first try has room for; nearly every process has fewer.
const ROOM: usize = 64;

/// Returns the supplementary groups that the peer had when it connected.
pub(super) fn supplementary_groups(socket: &impl AsFd) -> io::Result<Vec<u32>> {
    match read(socket, ROOM) {
        Err((error, needed)) if error.raw_os_error() == Some(libc::ERANGE) => {
            read(socket, needed).map_err(|(error, _)| error)
        }
        outcome => outcome.map_err(|(error, _)| error),
    }
}

/// Reads up to `room` groups; an error comes with how many there are, if there was too little room.
fn read(socket: &impl AsFd, room: usize) -> Result<Vec<u32>, (io::Error, usize)> {
    let mut groups = vec![0_u32; room];
    let bytes = room.saturating_mul(size_of::<u32>());
    let mut len = libc::socklen_t::try_from(bytes).map_err(|error| (io::Error::other(error), 0))?;
    // SAFETY: `groups` is `len` bytes that the kernel may write, and `len` is written back to a live variable.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    let count = len as usize / size_of::<u32>();
    if result != 0 {
        return Err((io::Error::last_os_error(), count));
    }
    groups.truncate(count);
    Ok(groups)
}
