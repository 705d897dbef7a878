//! Where things are in a checkout. No other file builds these paths.

use std::path::{Path, PathBuf};

/// The checkout this task works on.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// Finds the checkout that `cargo xtask` was called in.
    ///
    /// Cargo names it at run time; the path at compile time serves a binary
    /// that was started by hand.
    pub(crate) fn find() -> Self {
        let manifest_dir = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest_dir.parent().map_or_else(|| manifest_dir.clone(), Path::to_owned);
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .and_then(|dir| std::path::absolute(dir).ok())
            .unwrap_or_else(|| root.join("target"));
        Self { root, target }
    }

    /// Returns the directory of the workspace's `Cargo.toml`.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns cargo's target directory for everything but the BPF object.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Returns the path of a program that `build` made.
    pub(crate) fn release_binary(&self, name: &str) -> PathBuf {
        self.target.join("release").join(name)
    }

    /// Returns the BPF half's own target directory.
    ///
    /// It keeps two compilers apart, and it ignores `CARGO_TARGET_DIR`, because
    /// the build script of `limiter-user` looks for the object beside itself.
    pub(crate) fn bpf_target(&self) -> PathBuf {
        self.root.join("target/bpf")
    }

    /// Returns a BPF object that `limiter-user` embeds.
    pub(crate) fn bpf_object(&self, name: &str) -> PathBuf {
        self.bpf_target().join(name)
    }

    /// Returns where tools live that were installed for this checkout alone.
    pub(crate) fn tools(&self) -> PathBuf {
        self.root.join("target/tools")
    }
}
