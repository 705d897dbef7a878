//! A small file system of its own under a daemon's state directory: to be full, or read-only.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::daemon::Daemon;
use crate::host;

/// A file system of memory; unmounted when dropped.
#[derive(Debug)]
pub struct Disk(PathBuf);

impl Disk {
    /// Puts a disk of so many KiB under the state directory of a daemon that is stopped.
    #[must_use]
    #[track_caller]
    pub fn mount(daemon: &Daemon<'_>, kib: u32) -> Self {
        let path = daemon.config().with_file_name("state");
        fs::create_dir_all(&path).expect("a directory of the test's own");
        let size = format!("size={kib}k");
        host::run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "limiter-test"]).arg(&path));
        Self(path)
    }

    /// Mounts it anew, as `ro` or `rw`.
    #[track_caller]
    pub fn remount(&self, how: &str) {
        host::run(Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.0));
    }

    /// Leaves no room for a byte.
    pub fn fill(&self) {
        let filler = self.filler();
        while fs::write(&filler, vec![0; grown(&filler)]).is_ok() {}
    }

    /// Takes away what [`Disk::fill`] has put there.
    #[track_caller]
    pub fn make_room(&self) {
        fs::remove_file(self.filler()).expect("it is there");
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        host::run(Command::new("umount").arg("--lazy").arg(&self.0));
    }
}

/// The length of a file and a page more.
fn grown(file: &Path) -> usize {
    let length = fs::metadata(file).map_or(0, |metadata| metadata.len());
    usize::try_from(length).expect("a small file") + 4_096
}
