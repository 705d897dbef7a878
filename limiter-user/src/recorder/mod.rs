//! The flight recorder: what happened on this host, kept for whoever asks later.
//!
//! All counters every few seconds, the sources with most of something every
//! minute, and every event, in one `SQLite` file under the state directory
//! (ADR 0010). A thread of its own writes it: a slow disk holds neither the
//! packet path nor a scrape.
//!
//! | module | what it owns |
//! | --- | --- |
//! | [`event`] | what happened, and how the daemon notes it |
//! | [`thread`] | the thread that writes, and the queue before it |
//! | [`database`] | the file: schema, damage, what is put aside |
//! | [`store`] | writing: only what changed, all of it from time to time |
//! | [`prune`] | bounds of age and size |
//! | [`encoding`] | the samples of one record as bytes |
//! | [`minute`] | the sources of a minute |
//! | [`read`] | reading, in the daemon and without one |
//! | [`trend`] | samples of a window made lines of points |
//! | [`history`] | the answer to `limiterctl history` and `report` |

pub mod database;
pub mod encoding;
pub mod event;
pub mod history;
pub mod minute;
pub mod prune;
pub mod read;
pub mod store;
pub mod thread;
pub mod trend;

#[cfg(test)]
mod tests;

pub use event::{Event, EventKind, Events};
pub use history::history;
pub use read::ReadError;
pub use thread::{Figures, Recorder};

/// The file, under the state directory.
pub const FILE: &str = "recorder.db";

/// Returns a number as `SQLite` keeps it; nothing here comes near the end of it.
fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Returns a number that `SQLite` kept.
fn loaded(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
