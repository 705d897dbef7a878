//! Rules from every origin, merged into one table and compiled for the packet path.
//!
//! | module | what it owns |
//! | --- | --- |
//! | [`runtime`] | rules that an operator adds while the daemon runs |
//! | [`table`] | the one table of rules, and which of them wins |
//! | [`ids`] | the numbers of services and classes, stable for the life of the pins |
//! | [`compile`] | the table as one look-up per packet |
//! | [`ranges`] | prefixes as ranges of addresses, for the packet path and for questions about many sources |

pub mod compile;
pub mod ids;
pub mod ranges;
pub mod runtime;
pub mod table;

mod error;
#[cfg(test)]
mod law;
mod lookup;
#[cfg(test)]
mod tests;

pub use compile::{Compiled, CompiledPrefix, Inputs, compile};
pub use error::CompileError;
pub use ids::{Ids, Names};
pub use ranges::Ranges;
pub use runtime::{RuntimeRule, RuntimeRules, Verb};
pub use table::{Origin, Rule, ServiceSet, Table};
