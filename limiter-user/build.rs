//! Tells the daemon where the BPF object is that it embeds, and which commit it is built from.
//!
//! `cargo xtask build` makes the object; nothing is built here.

use std::{env, path::PathBuf, process::Command};

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let default = manifest.join("../target/bpf/limiter.bpf.o");
    let object = env::var_os("LIMITER_BPF_OBJECT").map_or(default, PathBuf::from);
    println!("cargo::rerun-if-env-changed=LIMITER_BPF_OBJECT");
    println!("cargo::rerun-if-changed={}", object.display());
    let Ok(object) = object.canonicalize() else {
        println!(
            "cargo::error=the BPF object {} is not there; make it with `cargo xtask build`",
            object.display()
        );
        return;
    };
    println!("cargo::rustc-env=LIMITER_BPF_OBJECT={}", object.display());
    println!("cargo::rustc-env=LIMITER_COMMIT={}", commit().unwrap_or_else(|| "unknown".to_owned()));
}

fn commit() -> Option<String> {
    // Cargo takes a file that is missing for one that changed, at every build.
    if std::path::Path::new("../.git/HEAD").is_file() {
        println!("cargo::rerun-if-changed=../.git/HEAD");
    }
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    let commit = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !commit.is_empty()).then_some(commit)
}
