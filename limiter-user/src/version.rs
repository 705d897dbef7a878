//! What this build is.

/// The version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit it was built from; `unknown` outside a repository.
pub const COMMIT: &str = match option_env!("LIMITER_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};
