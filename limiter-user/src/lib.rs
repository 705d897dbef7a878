//! The userland half of limiter: the daemon `limiterd` and the command line
//! `limiterctl`, as a library with two thin binaries.
//!
//! | module | what it owns |
//! | --- | --- |
//! | [`config`] | what an operator writes, and what is wrong with it |
//! | [`state`] | what outlives the daemon, on disk |
//! | [`policy`] | rules from every origin merged and compiled for the packet path |
//! | [`dataplane`] | the packet path, in the kernel or in memory |
//! | [`host`] | facts of the host, and what of it changed |
//! | [`daemon`] | the state, the thread that owns it, start and stop |
//! | [`conntrack`] | what connection tracking knows of guarded connections |
//! | [`control`] | the socket that clients ask the daemon through |
//! | [`recorder`] | what happened, kept for whoever asks later |
//! | [`metrics`] | metrics and health for machines |
//! | [`ctl`] | the command line |
//! | [`kernel_types`] | where members of the kernel's structures are, what its enumerations say |
//! | `memory` | what the process gives back |
//! | [`selftest`] | whole dialogues through the host's own ruleset |
//! | [`clock`], [`chain`], [`version`] | the time, errors in one line, what this build is |
#![deny(unsafe_code)]

pub mod chain;
pub mod clock;
pub mod config;
pub mod conntrack;
pub mod control;
pub mod ctl;
pub mod daemon;
pub mod dataplane;
pub mod host;
pub mod kernel_types;
mod memory;
pub mod metrics;
pub mod policy;
pub mod recorder;
pub mod selftest;
pub mod state;
pub mod version;
pub mod witness;
