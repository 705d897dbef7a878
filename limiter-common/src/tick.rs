//! What a CPU finds out and keeps until the timer ticks; values of maps that each CPU has for itself.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addr::Addr;

/// What a CPU has found out in this timer tick; value of `TICKS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Tick {
    /// The tick that `now_ns` was read in (`jiffies`).
    pub read_in: u64,
    /// The coarse `CLOCK_MONOTONIC`, which stands still within a tick.
    pub now_ns: u64,
    /// The last tick in which a refusal was noted that stands (`STANDING`).
    pub noted_in: u64,
    /// Refusals that were looked at for a sample since `read_in` changed.
    pub looks: u64,
}

/// A refusal in silence that stands for the rest of a timer tick: a flood's next SYN gets the same
/// answer without another look at anything it rests on. Value of `STANDING`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Standing {
    /// The remote address, unmasked.
    pub source: Addr,
    /// The local address.
    pub destination: Addr,
    /// The timer tick it fell in (`jiffies`); 0 for one that does not stand.
    pub tick: u64,
    /// What the daemon had said last ([`Control::heartbeat_ns`](crate::map::Control::heartbeat_ns)).
    pub heartbeat_ns: u64,
    /// How often sources of its bucket had come to hold less.
    pub room: u32,
    /// The bucket of `BOUNDS`.
    pub bounds_bucket: u16,
    /// The local port.
    pub port: u16,
    /// The counter row of its service, class and family.
    pub row: u16,
    /// The counter cell of the verdict.
    pub cell: u16,
    /// Refusals since, which the source's entry does not have yet.
    pub more: u32,
}

const _: () = assert!(size_of::<Standing>() == 64);
