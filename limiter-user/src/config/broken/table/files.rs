//! What is no file, or one that no configuration is in.

use super::{Broken, Content, FILE_BYTES_MAX};

const FILES: &[(Content, &[&str])] = &[
    (Content::Absent, &["cannot read the configuration", "name an existing file"]),
    (Content::Directory, &["cannot read the configuration", "directory", "name a file"]),
    (Content::Pipe, &["not a regular file", "write it to a file"]),
    (Content::Link("/dev/zero"), &["not a regular file", "write it to a file"]),
    (Content::Link("/proc/self/mem"), &["cannot read the configuration", "the disk"]),
    (Content::Link("limiter.toml"), &["cannot read the configuration", "symbolic link"]),
    (Content::Link("/nowhere/limiter.toml"), &["cannot read the configuration", "name an existing file"]),
];

/// Returns the files.
pub(super) fn all() -> impl Iterator<Item = Broken> {
    let files =
        FILES.iter().map(|(content, says)| Broken { content: content.clone(), place: None, errors: 1, says });
    let huge = vec![b'\n'; FILE_BYTES_MAX + 1];
    files.chain([Broken {
        content: Content::Bytes(huge),
        place: None,
        errors: 1,
        says: &["larger than 16 MiB", "100,000 prefixes"],
    }])
}
