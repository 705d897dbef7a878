//! Alerts on what real runs produce: recorded from the daemon, judged by `promtool`.
//!
//! | module | law |
//! | --- | --- |
//! | [`healthy`] | 10,000 good sessions with Postfix, and nobody is paged |
//! | [`pages`] | pages about limiter itself fire in time, and end |
//!
//! Hand-made series are in the suite `alerts`; the replays have alerts of their own. Tests have hosts
//! of their own and mostly wait.
//!
//! Runs in parallel.
#![forbid(unsafe_code)]

mod healthy;
mod pages;
