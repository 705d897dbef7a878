//! The control socket: what `limiterctl` and scripts talk to the daemon through.
//!
//! | module | what it owns |
//! | --- | --- |
//! | [`access`] | who may read and who may write |
//! | [`peer`] | who is at the other end |
//! | [`protocol`] | routes, questions and answers, shared by both sides |
//! | [`error`] | why a request was not granted |
//! | [`socket`] | the Unix socket itself |
//! | [`server`] | the daemon's side |
//! | [`client`] | the other side |

pub mod access;
pub mod client;
pub mod error;
mod history;
pub mod peer;
mod peer_groups;
pub mod protocol;
pub mod server;
pub mod socket;
