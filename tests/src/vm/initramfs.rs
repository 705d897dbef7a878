//! The archive that a kernel unpacks as its first file system: cpio in the format `newc`
//! (`Documentation/driver-api/early-userspace/buffer-format.rst`).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// File types and permissions.
const DIRECTORY: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;
/// The name that ends an archive.
const END: &str = "TRAILER!!!";

/// An archive that grows; every file in it may be run.
#[derive(Debug, Default)]
pub(super) struct Initramfs {
    bytes: Vec<u8>,
    names: BTreeSet<String>,
    entries: u32,
}

impl Initramfs {
    /// Adds a file of this machine; one that is there already is left as it is.
    #[track_caller]
    pub(super) fn add_file(&mut self, name: &str, file: &Path) {
        if self.names.contains(name.trim_start_matches('/')) {
            return;
        }
        let content = fs::read(file).unwrap_or_else(|e| panic!("reading {}: {e}", file.display()));
        self.add(name, &content);
    }

    /// Adds a file with this content, and the directories that lead to it.
    pub(super) fn add(&mut self, name: &str, content: &[u8]) {
        let name = name.trim_start_matches('/');
        for (end, _) in name.match_indices('/') {
            if self.names.insert(name[..end].to_owned()) {
                self.entry(&name[..end], DIRECTORY, &[]);
            }
        }
        if self.names.insert(name.to_owned()) {
            self.entry(name, EXECUTABLE, content);
        }
    }

    /// Returns the archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry(END, 0, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(content.len()).expect("a file of less than 4 GiB");
        let name_size = u32::try_from(name.len() + 1).expect("a short name");
        // Number, mode, user, group, links, time, size, four of devices, size of the name, checksum.
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend(b"070701");
        self.bytes.extend(fields.iter().flat_map(|field| format!("{field:08x}").into_bytes()));
        self.bytes.extend(name.bytes().chain([0]));
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    /// Header with name, and content, each end at a multiple of four.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}
