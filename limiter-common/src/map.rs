//! Keys and values of the maps, as both sides see them.
//!
//! The derives refuse padding, so that no uninitialised byte reaches a map.
//! Changing a size here changes the layout on bpffs: raise
//! [`ABI_VERSION`](crate::names::ABI_VERSION).
#![cfg_attr(
    feature = "user",
    expect(unsafe_code, reason = "aya asks for `unsafe impl Pod` on every map type")
)]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{addr::Addr, cell::CELLS, names, word::Word};

pub use crate::{
    doubt::FailOpen,
    living::{Living, LivingSums},
    source_key::{Holder, SourceKey},
    tick::{Standing, Tick},
};

/// What is known of a source that has completed a handshake; value of `SOURCES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Source {
    /// Open and reserved connections.
    pub word: Word,
    /// Arrival time of the new-connection quota, in `CLOCK_MONOTONIC` nanoseconds.
    pub tat_ns: u64,
    /// Connections accepted since the entry was created; wraps.
    pub accepted: u32,
    /// Connections refused, or that would have been, since the entry was created; wraps.
    pub refused: u32,
    /// When the last connection was accepted, in `CLOCK_MONOTONIC` seconds.
    pub accepted_at_s: u32,
    /// When the source was last over a limit of its own, refused or not, in
    /// `CLOCK_MONOTONIC` seconds: what the circuit breaker counts. Denials and
    /// ceilings leave it alone.
    pub over_limit_at_s: u32,
    /// Connections that ended without the client having sent anything; wraps.
    pub silent: u32,
    /// Connections that ended within [`BRIEF_S`](crate::ending::BRIEF_S); wraps.
    pub brief: u32,
    /// Its sockets, as the last recount that met one of them found them.
    pub living: Living,
}

/// Upper bounds on each of the sources of a bucket; value of the array `BOUNDS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Bounds {
    /// What they hold together ([`held`](crate::held)).
    pub held: u64,
    /// The latest arrival time that any of their quotas ever had.
    pub tat_ns: u64,
}

/// What a socket was charged with; value of the socket storage `CHARGES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Charge {
    /// Whom it was charged to: the release undoes exactly this.
    pub key: SourceKey,
    /// The class it was counted under.
    pub class: u16,
    /// The local port.
    pub port: u16,
    /// The remote address, unmasked.
    pub addr: Addr,
    /// Sum of the bits below, and in the upper half when the connection began; 0 before the charge.
    pub state: u64,
}

impl Charge {
    /// The socket is charged to its source and class.
    pub const CHARGED: u64 = 1;
    /// It is charged to the service's total too.
    pub const IN_TOTAL: u64 = 2;
    /// It was charged and released.
    pub const RELEASED: u64 = 4;
    /// It is being charged to another source or service, and only who does that may write to it.
    pub const MOVING: u64 = 8;

    /// Returns whether it stands for an open connection.
    #[inline(always)]
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.state & Self::CHARGED != 0 && self.state & Self::RELEASED == 0
    }
}

/// The reservation that a CPU's current segment holds; value of `RESERVATIONS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Reservation {
    /// Whom it was reserved for.
    pub key: SourceKey,
    /// The class of the source.
    pub class: u32,
    /// The remote address, unmasked: with the port it tells whose connection this is for,
    /// whatever policy is in force by the time of the charge.
    pub addr: Addr,
    /// The local port.
    pub port: u32,
    /// Aligns what follows.
    pub pad: u32,
    /// What to take off the arrival time if it is given back.
    pub quota_interval_ns: u64,
    /// 0 for none; else a sum of [`Charge::CHARGED`] and [`Charge::IN_TOTAL`].
    pub state: u64,
}

/// What the daemon tells the kernel half from second to second; value of `CONTROL`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Control {
    /// When the daemon was last alive, in `CLOCK_MONOTONIC` nanoseconds. It moves with every change
    /// of the policy: no refusal from before it stands.
    pub heartbeat_ns: u64,
    /// When the policy in the second slot takes the place of the one in the first; 0 for never.
    pub fallback_at_ns: u64,
    /// The number of the recount that is under way, or was the last.
    pub recount: u64,
}

/// Service id by port, 0 for none; value of `PORTS`.
///
/// A hint that spares unguarded ports and data of open connections the look at
/// the policy: around a switch it names the ports of both policies.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct PortHints {
    /// Service id by port.
    pub service: [u8; 1 << 16],
}

/// The class of a prefix in every service.
///
/// Classes that hold for some services only are resolved by the compiler of the
/// policy, so that one look-up answers for all of them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ClassOf {
    /// Class id by service id.
    pub class: [u8; names::SERVICES],
}

/// Verdicts of one (service, class, family) by [`Verdict::cell`](crate::verdict::Verdict::cell).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Counters {
    /// One count per cell.
    pub cells: [u64; CELLS],
}

/// A shared count on a cache line of its own: the total of a service.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Total {
    /// Open and reserved connections, without a tag.
    pub word: Word,
    /// Fills the cache line.
    pub pad: [u64; 7],
}

/// Resets that a CPU may still send in this second; value of `RESET_BUDGETS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ResetBudget {
    /// The end of the second, on `CLOCK_MONOTONIC`.
    pub ends_at_ns: u64,
    /// Resets sent in it.
    pub sent: u64,
}

const _: () = assert!(size_of::<SourceKey>() == 20);
const _: () = assert!(size_of::<Source>() == 48);
const _: () = assert!(size_of::<Bounds>() == 16);
const _: () = assert!(size_of::<Charge>() == 48);
const _: () = assert!(size_of::<Reservation>() == 64);
const _: () = assert!(size_of::<Total>() == 64);
const _: () = assert!(size_of::<Counters>() == 8 * CELLS);

#[cfg(feature = "user")]
macro_rules! pod {
    ($($name:ty),+ $(,)?) => {
        $(
            // SAFETY: `IntoBytes` rules out padding and `FromBytes` accepts any
            // bytes, which together are what `Pod` asks for.
            unsafe impl aya::Pod for $name {}
        )+
    };
}
#[cfg(feature = "user")]
pod!(
    Addr,
    SourceKey,
    Source,
    Bounds,
    Charge,
    Reservation,
    Control,
    PortHints,
    Counters,
    Total,
    ResetBudget,
    Standing,
    crate::living::LivingSums,
    crate::local::LocalBucket,
    crate::policy::Policy,
    crate::ranges::RangePage,
    crate::witness::DropKey,
    crate::witness::Endpoint,
    crate::witness::FirstBytes,
    crate::witness::RetransmitKey,
);
