//! Every decision of limiter that can be made without a kernel, and the layout
//! of everything the kernel half and the daemon exchange.
//!
//! No map, helper or system call is used here: the kernel half and the daemon
//! fetch facts and call these functions, and so do the unit tests, the property
//! tests and the reference model.
//!
//! | module | what it owns |
//! | --- | --- |
//! | [`addr`] | addresses in one key space of 16 bytes, masks, hashes |
//! | [`verdict`] | verdicts, reasons, points |
//! | [`cell`] | the counter cell of each verdict |
//! | [`doubt`] | why a packet passed that could not be judged |
//! | [`limits`] | limits of a class in a service, and how a service enforces them |
//! | [`local`] | the host's own addresses, in buckets |
//! | [`gcra`] | the arithmetic of the new-connection quota |
//! | [`decide`] | the decision itself |
//! | [`word`] | open and reserved connections of a source in one atomic word |
//! | [`held`] | what the sources of a bucket hold together |
//! | [`packet`] | from frame to TCP segment, without a pointer in sight |
//! | [`reply`] | the reset that answers a refused SYN |
//! | [`source_key`] | whom a count is of |
//! | [`living`] | what a recount finds |
//! | [`tick`] | what a CPU keeps until the timer ticks |
//! | [`map`] | keys and values of the maps |
//! | [`policy`] | a compiled policy: what one map update switches |
//! | [`ranges`] | prefixes as the packet path looks them up |
//! | [`note`] | classes of addresses, noted |
//! | [`shortcuts`] | what spares most sources the look-up of their prefix |
//! | [`ending`] | how long a connection lasted |
//! | [`event`] | records that leave the kernel through a ring buffer or an iterator |
//! | [`witness`] | what the witness counts and keeps in the kernel |
//! | [`names`] | capacities and the version of the layout |
#![no_std]
#![deny(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod addr;
pub mod cell;
pub mod decide;
pub mod doubt;
pub mod ending;
pub mod event;
pub mod gcra;
pub mod held;
pub mod limits;
pub mod living;
pub mod local;
pub mod map;
pub mod names;
pub mod note;
pub mod packet;
pub mod policy;
pub mod ranges;
pub mod reply;
pub mod shortcuts;
pub mod source_key;
pub mod tick;
pub mod verdict;
pub mod witness;
pub mod word;
