//! `limiterctl`: asks the daemon and shows what it answers.
//!
//! | module | what it owns |
//! | --- | --- |
//! | [`args`] | what can be typed |
//! | [`commands`] | one request per command, and exit codes |
//! | `history`, `report` | what the flight recorder holds, for people and as a page |
//! | `when`, `spark` | times as people type them, and lines of points |
//! | `host` | what of the host changed, for people |
//! | `panic` | panic and resume, without a daemon too |
//! | `follow` | what is shown again and again, until somebody ends it |
//! | [`render`], `status` | answers for people |
//! | `selftest` | what a selftest talks to |
//! | [`table`] | aligned columns, and colours |

pub mod args;
pub mod commands;
mod follow;
mod history;
mod host;
mod panic;
pub mod render;
mod report;
mod selftest;
mod spark;
mod status;
pub mod table;
mod when;

#[cfg(test)]
mod tests;

pub use args::Args;
pub use commands::{Exit, Screen, run};
