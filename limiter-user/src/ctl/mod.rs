//! `limiterctl`: asks the daemon and shows what it answers.
//!
//! | module | what it owns |
//! | --- | --- |
//! | [`args`] | what can be typed |
//! | [`commands`] | one request per command, and exit codes |
//! | `panic` | panic and resume, without a daemon too |
//! | [`render`] | answers for people |
//! | [`table`] | aligned columns, and colours |

pub mod args;
pub mod commands;
mod panic;
pub mod render;
pub mod table;

#[cfg(test)]
mod tests;

pub use args::Args;
pub use commands::{Exit, run};
