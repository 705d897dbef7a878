//! The control socket: what `limiterctl` and scripts talk to the daemon through.
//!
//! | module | what it owns |
//! | --- | --- |
//! | [`protocol`] | routes, questions and answers, shared by both sides |
//! | [`error`] | why a request was not granted |
//! | [`socket`] | the Unix socket itself |
//! | [`server`] | the daemon's side |
//! | [`client`] | the other side |

pub mod client;
pub mod error;
pub mod protocol;
pub mod server;
pub mod socket;
