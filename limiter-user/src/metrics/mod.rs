//! Metrics and health, served on loopback.
//!
//! Counters are the packet path's own: they are read at each scrape, never
//! kept here, so that they go on where they were after a restart. No label is
//! ever an address.
//!
//! | module | what it owns |
//! | --- | --- |
//! | [`families`] | names, help and samples of every metric |
//! | [`collect`] | families in OpenMetrics text |
//! | [`serve`](mod@serve) | the HTTP routes |

pub mod collect;
pub mod families;
pub mod serve;

#[cfg(test)]
mod tests;

pub use serve::serve;
