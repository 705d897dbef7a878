//! The file itself: a regular file of bounded size whose bytes are text.
//!
//! A reload reads what an operator, or a tool of theirs, has left at the path:
//! nothing there may keep the daemon waiting, or fill its memory.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use nix::fcntl::OFlag;

use super::ConfigErrors;

/// Bytes of the largest file that is read. A choice: three times what 100,000 IPv6 prefixes take.
const BYTES_MAX: u64 = 16 << 20;

/// Reads a file whole.
pub(super) fn read(path: &Path) -> Result<String, ConfigErrors> {
    let unreadable = |error| ConfigErrors::unreadable(path, &error);
    let file = open(path).map_err(unreadable)?;
    let kind = file.metadata().map_err(unreadable)?.file_type();
    if kind.is_dir() {
        return Err(unreadable(io::ErrorKind::IsADirectory.into()));
    }
    if !kind.is_file() {
        let help =
            "a reload reads the file again, which a pipe or a device does not allow: write it to a file";
        return Err(ConfigErrors::without_place(path, "the configuration is not a regular file", help));
    }
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > BYTES_MAX {
        let help = "100,000 prefixes take some 5 MiB: is this the right file?";
        return Err(ConfigErrors::without_place(path, "the configuration is larger than 16 MiB", help));
    }
    String::from_utf8(bytes).map_err(|error| {
        let utf8 = error.utf8_error();
        ConfigErrors::not_text(path, error.as_bytes(), utf8.valid_up_to())
    })
}

/// Opens without waiting for whoever may write to a pipe.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)
}
