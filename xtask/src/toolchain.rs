//! The compiler and linker for the BPF target: found, or installed, or asked for.
//!
//! Debian packages a rustc with `core` prebuilt for that target, and its LLVM;
//! `bpf-linker` is built once against the same LLVM and kept in the checkout.
//! Elsewhere a nightly toolchain with the sources of `core` does the same.

mod nightly;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::debian;
use crate::error::{Error, Result};
use crate::process::{capture, cargo, forget_build_settings, run};
use crate::terminal::Step;
use crate::workspace::Workspace;

/// The target that both halves of the project agree on: little-endian BPF.
pub(crate) const BPF_TARGET: &str = "bpfel-unknown-none";

/// Where Debian's compiler is, whatever else comes first in `PATH`.
pub(crate) const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

const DEBIAN_COMPILER: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];

/// Which releases of bpf-linker are known to accept the flags used here.
const LINKER_VERSION: &str = "~0.13.0";

/// A compiler for the BPF target with the linker that understands its bitcode.
pub(crate) enum Toolchain {
    /// Debian's rustc, which brings `core` for the BPF target.
    Debian { linker: PathBuf },
    /// A rustup nightly, which compiles `core` from its sources.
    Nightly { linker: PathBuf },
}

/// What `rustc -vV` says of a compiler.
#[derive(Debug, PartialEq)]
struct RustcVersion {
    release: String,
    llvm_major: u32,
}

impl RustcVersion {
    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let llvm = field("LLVM version:")?;
        let llvm_major = llvm.split('.').next()?.parse().ok()?;
        Some(Self { release: field("release:")?.to_owned(), llvm_major })
    }
}

impl Toolchain {
    /// Finds a toolchain, and installs Debian's where that is possible.
    ///
    /// # Errors
    ///
    /// Lists in one message all that is missing, each with its command.
    pub(crate) fn provide(workspace: &Workspace) -> Result<Self> {
        if debian_compiler_is_complete() {
            return Self::debian(workspace);
        }
        if debian::can_install() && debian::is_on_offer(workspace, DEBIAN_COMPILER[0])? {
            debian::ensure(workspace, &DEBIAN_COMPILER)?;
            return Self::debian(workspace);
        }
        nightly::find()
    }

    /// Returns a cargo command that compiles for the BPF target.
    pub(crate) fn cargo(&self, workspace: &Workspace, subcommand: &str) -> Command {
        let mut command = match self {
            Self::Debian { .. } => cargo(workspace, subcommand),
            Self::Nightly { .. } => {
                let mut rustup = Command::new("rustup");
                rustup.args(["run", "nightly", "cargo", subcommand, "-Zbuild-std=core"]);
                rustup.current_dir(workspace.root()).env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
                rustup
            }
        };
        forget_build_settings(&mut command);
        if let Self::Debian { .. } = self {
            // Unstable features are on: aya-ebpf needs inline assembly for BPF.
            command.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
        }
        let (Self::Debian { linker } | Self::Nightly { linker }) = self;
        command
            .args(["--target", BPF_TARGET])
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker)
            // v3 brings the compare-and-swap; packets promise no alignment, and the
            // kernels limiter runs on load unaligned; the kernel reads types from BTF.
            .env(
                "CARGO_ENCODED_RUSTFLAGS",
                "-Ctarget-cpu=v3\x1f-Ctarget-feature=+allows-misaligned-mem-access\x1f-Cdebuginfo=2\x1f-Clink-arg=--btf",
            );
        command
    }

    fn debian(workspace: &Workspace) -> Result<Self> {
        let text = capture(Command::new(DEBIAN_RUSTC).arg("-vV").env_remove("LD_LIBRARY_PATH"))?;
        let Some(version) = RustcVersion::parse(&text) else {
            let what = format!("`{DEBIAN_RUSTC} -vV` does not name its release and LLVM version:\n{text}");
            return Err(Error::Missing { what, remedies: Vec::new() });
        };
        let home = workspace.tools().join(format!("bpf-linker-llvm-{}", version.llvm_major));
        let linker = home.join("bin/bpf-linker");
        if !linker_starts(&linker) {
            build_linker(workspace, &version, &home)?;
        }
        Ok(Self::Debian { linker })
    }
}

fn debian_compiler_is_complete() -> bool {
    let mut query = Command::new(DEBIAN_RUSTC);
    query.args(["--print", "target-libdir", "--target", BPF_TARGET]).env_remove("LD_LIBRARY_PATH");
    let Ok(lib_dir) = capture(&mut query) else {
        return false;
    };
    std::fs::read_dir(lib_dir.trim()).is_ok_and(|entries| {
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
    })
}

/// A linker that starts has found the LLVM library it was built against.
fn linker_starts(linker: &Path) -> bool {
    linker.is_file() && capture(Command::new(linker).arg("--version")).is_ok()
}

fn build_linker(workspace: &Workspace, rustc: &RustcVersion, home: &Path) -> Result<()> {
    let llvm = format!("llvm-{}", rustc.llvm_major);
    let llvm_dev = format!("{llvm}-dev");
    debian::ensure(workspace, &[&llvm_dev, "libzstd-dev", "zlib1g-dev", "gcc", "libc6-dev"])?;

    let step = Step::start(format!("building bpf-linker for LLVM {}, once", rustc.llvm_major));
    let mut install = cargo(workspace, "install");
    forget_build_settings(&mut install);
    install
        .args(["bpf-linker", "--version", LINKER_VERSION, "--locked", "--force"])
        .args(["--no-default-features", "--features", &llvm])
        .arg("--root")
        .arg(home)
        .env("LLVM_PREFIX", format!("/usr/lib/{llvm}"))
        // LLVM does the work; an optimised front end would only take longer to build.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0");
    run(&mut install).map_err(|error| {
        error.with_remedy(format!(
            "{DEBIAN_RUSTC} {} uses LLVM {}; if bpf-linker has no feature `{llvm}`, another release of \
             rustc-web is needed: apt-get update && apt-get install {}",
            rustc.release,
            rustc.llvm_major,
            DEBIAN_COMPILER.join(" ")
        ))
    })?;
    step.done();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: &str = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)\nbinary: rustc\n\
        host: x86_64-unknown-linux-gnu\nrelease: 1.96.0\nLLVM version: 22.1.8\n";

    /// The linker follows the compiler's LLVM, so both numbers are read, not assumed.
    #[test]
    fn version_is_read_from_verbose_output() {
        let version = RustcVersion { release: "1.96.0".to_owned(), llvm_major: 22 };
        assert_eq!(RustcVersion::parse(DEBIAN), Some(version));
        assert_eq!(RustcVersion::parse("rustc 1.96.0\nrelease: 1.96.0\n"), None);
        assert_eq!(RustcVersion::parse("release: 1.96.0\nLLVM version: next\n"), None);
    }
}
