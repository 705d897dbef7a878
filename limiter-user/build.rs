//! Tells the daemon where the BPF objects are that it embeds, and which commit it is built from.
//!
//! `cargo xtask build` makes the objects; nothing is built here.

use std::{env, path::PathBuf, process::Command};

/// The objects, by the variable that tells where each is.
const OBJECTS: [(&str, &str); 2] =
    [("LIMITER_BPF_OBJECT", "limiter.bpf.o"), ("LIMITER_WITNESS_OBJECT", "witness.bpf.o")];

fn main() {
    for (variable, name) in OBJECTS {
        embed(variable, name);
    }
    println!("cargo::rustc-env=LIMITER_COMMIT={}", commit().unwrap_or_else(|| "unknown".to_owned()));
}

/// Tells the daemon where an object is.
fn embed(variable: &str, name: &str) {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let default = manifest.join("../target/bpf").join(name);
    let object = env::var_os(variable).map_or(default, PathBuf::from);
    println!("cargo::rerun-if-env-changed={variable}");
    println!("cargo::rerun-if-changed={}", object.display());
    match object.canonicalize() {
        Ok(object) => println!("cargo::rustc-env={variable}={}", object.display()),
        Err(_) => println!(
            "cargo::error=the BPF object {} is not there; make it with `cargo xtask build`",
            object.display()
        ),
    }
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
