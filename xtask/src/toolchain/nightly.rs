//! The other way to compile for BPF: a rustup nightly that the user installed.
//!
//! Nothing is installed here. What is missing is listed, all of it at once.

use std::path::PathBuf;
use std::process::Command;

use super::{DEBIAN_COMPILER, DEBIAN_RUSTC, Toolchain};
use crate::debian;
use crate::error::{Error, Remedy, Result};
use crate::process::{capture, find_program};
use crate::terminal::note;

/// Finds a nightly with the sources of `core`, and a linker.
pub(super) fn find() -> Result<Toolchain> {
    let linker = find_program("bpf-linker");
    let mut sysroot = Command::new("rustup");
    sysroot.args(["run", "nightly", "rustc", "--print", "sysroot"]).env_remove("RUSTUP_TOOLCHAIN");
    let sysroot = capture(&mut sysroot).ok().map(|path| PathBuf::from(path.trim()));
    let has_sources = sysroot
        .as_ref()
        .is_some_and(|path| path.join("lib/rustlib/src/rust/library/core/src/lib.rs").is_file());
    match linker {
        Some(linker) if has_sources => {
            note(format!("BPF compiler: rustup's nightly, linker {}", linker.display()));
            Ok(Toolchain::Nightly { linker })
        }
        linker => Err(nothing_found(sysroot.is_some(), has_sources, linker.is_some())),
    }
}

fn nothing_found(has_nightly: bool, has_sources: bool, has_linker: bool) -> Error {
    let mut remedies = Vec::new();
    if debian::is_debian() {
        remedies
            .push(Remedy::new("either Debian's compiler: as root, this installs it", "cargo xtask build"));
        remedies.push(Remedy::new("or, by hand, its packages", debian::install_command(&DEBIAN_COMPILER)));
        remedies.push(Remedy::new(
            "and after them what its linker is built with",
            format!(
                "sudo apt-get install libzstd-dev zlib1g-dev llvm-$({DEBIAN_RUSTC} -vV | \
                 sed -n 's/^LLVM version: \\([0-9]*\\).*/\\1/p')-dev"
            ),
        ));
    }
    if !has_nightly {
        remedies.push(Remedy::new(
            "for rustup's nightly: the toolchain, with the sources of `core`",
            "rustup toolchain install nightly --component rust-src",
        ));
    } else if !has_sources {
        remedies.push(Remedy::new(
            "for rustup's nightly: the sources of `core`",
            "rustup component add rust-src --toolchain nightly",
        ));
    }
    if !has_linker {
        remedies.push(Remedy::new("for rustup's nightly: bpf-linker in PATH", "cargo install bpf-linker"));
    }
    let what = "no compiler for the BPF target is complete on this machine".to_owned();
    Error::Missing { what, remedies }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One message tells a user everything that is missing.
    #[test]
    fn message_names_each_missing_part_once() {
        let all = nothing_found(false, false, false).to_string();
        assert!(all.contains("rustup toolchain install nightly"), "{all}");
        assert!(all.contains("cargo install bpf-linker"), "{all}");
        let sources = nothing_found(true, false, true).to_string();
        assert!(sources.contains("rustup component add rust-src"), "{sources}");
        assert!(!sources.contains("cargo install bpf-linker"), "{sources}");
    }
}
