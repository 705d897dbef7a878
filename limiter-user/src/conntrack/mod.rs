//! What the kernel's connection tracking knows of guarded connections.
//!
//! A witness, never the source of a count that refuses: entries by service and
//! state, statistics, how full the table is, and whether entries and open
//! connections tell the same story. It hears of every change over ctnetlink
//! and looks at the whole table again whenever it cannot have heard of all.
//! Without connection tracking in the kernel it says so and does nothing.
//!
//! | module | what it owns |
//! | --- | --- |
//! | [`message`] | what the kernel says, parsed |
//! | [`filter`] | what it is not to say: a socket filter |
//! | [`socket`] | the sockets, requests and what was lost |
//! | [`guard`] | which entries matter, and to which service |
//! | [`table`] | those entries, by service and state |
//! | [`cross`] | the comparison with open connections |
//! | [`stats`] | statistics per CPU, and how full the table is |
//! | [`watcher`] | the thread |
//! | [`view`] | what others see of all that |

pub mod cross;
pub mod filter;
pub mod guard;
pub mod message;
pub mod socket;
pub mod stats;
pub mod table;
pub mod view;
pub mod watcher;

pub use cross::{Findings, Flow};
pub use guard::{Guard, OUTBOUND};
pub use view::View;
pub use watcher::Watcher;
