//! What the witness counts and keeps in the kernel: drops by reason, live
//! connections, retransmissions, time to the first byte of a server.
//!
//! These maps are not pinned: they live as long as the daemon that reads them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addr::Addr;

/// Live connections that can be known at once. An entry takes some 110 bytes, only while it exists.
pub const FLOWS: usize = 1 << 18;
/// Rows of drops: services, directions, and the reasons that ever occur.
pub const DROP_ROWS: usize = 4_096;
/// Rows of retransmissions.
pub const RETRANSMIT_ROWS: usize = 512;
/// Addresses of declared upstreams.
pub const UPSTREAM_ADDRESSES: usize = 256;
/// Bytes of the ring buffer of dropped packets.
pub const DROP_EVENTS_BYTES: usize = 1 << 17;
/// Numbers of [`Tag`], all of them.
pub const TAGS: usize = 128;
/// Reasons that can be policy, by number. The kernel's own reasons end at 128 (Linux 6.18).
pub const REASONS: usize = 256;

/// Whose packet it is: a service by its id, outbound mail, or an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag(pub u8);

impl Tag {
    /// Nobody's that the witness looks at.
    pub const NONE: Self = Self(0);
    /// Mail that this host sends.
    pub const OUTBOUND: Self = Self(63);
    /// The first upstream; services are below [`Tag::OUTBOUND`].
    const UPSTREAM: u8 = 64;
    /// Upstreams that can be told apart.
    pub const UPSTREAMS: usize = TAGS - Self::UPSTREAM as usize;

    /// Returns the tag of an upstream.
    #[must_use]
    pub const fn upstream(index: u8) -> Self {
        Self(Self::UPSTREAM + index)
    }

    /// Returns which upstream this is, if it is one.
    #[must_use]
    pub const fn as_upstream(self) -> Option<u8> {
        self.0.checked_sub(Self::UPSTREAM)
    }
}

/// Towards this host.
pub const IN: u8 = 0;
/// Away from this host.
pub const OUT: u8 = 1;

/// The two ends of a connection, as this host sees them; key of `FLOWS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FlowKey {
    /// The address of this host.
    pub local: Addr,
    /// The other one.
    pub remote: Addr,
    /// The port of this host.
    pub local_port: u16,
    /// The other one.
    pub remote_port: u16,
}

/// A connection that the kernel holds; value of `FLOWS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Flow {
    /// When its handshake completed, in `CLOCK_MONOTONIC` nanoseconds; 0 for one from before the witness.
    pub established_ns: u64,
    /// Whose it is, a [`Tag`].
    pub tag: u8,
    /// [`IN`] for one that a client opened, [`OUT`] for one that this host opened.
    pub direction: u8,
    /// 1 once the other side has acknowledged data of this host.
    pub spoken: u8,
    /// Fills the word.
    pub pad: [u8; 5],
}

/// One live connection, as the iterator writes it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FlowRecord {
    /// Between whom.
    pub key: FlowKey,
    /// Aligns what follows.
    pub pad: u32,
    /// What is known of it.
    pub flow: Flow,
}

/// What drops are counted by; key of `DROPS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct DropKey {
    /// The kernel's reason, by number.
    pub reason: u32,
    /// Whose packet it was, a [`Tag`].
    pub tag: u8,
    /// [`IN`] or [`OUT`].
    pub direction: u8,
    /// 1 for a packet of a live connection that a policy dropped.
    pub established: u8,
    /// Fills the word.
    pub pad: u8,
}

/// One dropped packet: at most one per remote address, reason and
/// [`SAMPLE_INTERVAL_NS`](crate::event::SAMPLE_INTERVAL_NS).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct DropSample {
    /// When, in `CLOCK_MONOTONIC` nanoseconds.
    pub at_ns: u64,
    /// Between whom.
    pub key: FlowKey,
    /// What it was counted as.
    pub drop: DropKey,
    /// Fills the word.
    pub pad: u32,
}

/// What retransmissions are counted by; key of `RETRANSMITS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RetransmitKey {
    /// Whose, a [`Tag`].
    pub tag: u8,
    /// [`IN`] for a connection that a client opened, [`OUT`] for one that this host opened.
    pub direction: u8,
    /// 1 for a SYN.
    pub syn: u8,
    /// 1 if the timer had run out.
    pub timeout: u8,
}

/// Where an upstream is; key of `UPSTREAMS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Endpoint {
    /// Its address.
    pub addr: Addr,
    /// Its port.
    pub port: u32,
}

/// Upper bounds of the buckets of time to the first byte, in milliseconds; the last bucket has none.
/// A choice: banners take milliseconds, greet delays seconds, and clients give up after minutes.
pub const FIRST_BYTE_BOUNDS_MS: [u64; 14] =
    [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000];
/// Buckets, the one without a bound included.
pub const FIRST_BYTE_BUCKETS: usize = FIRST_BYTE_BOUNDS_MS.len() + 1;

/// How long servers took to speak; value of `FIRST_BYTES` by service.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FirstBytes {
    /// Connections by bucket.
    pub buckets: [u64; FIRST_BYTE_BUCKETS],
    /// Sum of all times, in microseconds.
    pub sum_us: u64,
}

/// Returns the bucket that a time belongs to.
#[inline(always)]
#[must_use]
pub const fn first_byte_bucket(elapsed_us: u64) -> usize {
    let mut bucket = 0;
    while bucket < FIRST_BYTE_BOUNDS_MS.len() && elapsed_us > FIRST_BYTE_BOUNDS_MS[bucket] * 1_000 {
        bucket += 1;
    }
    bucket
}

/// What the witness itself lost, in events; index of `LOST`.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// `FLOWS` is full: drops of that connection do not count as drops of a live one.
    Flows = 0,
    /// `DROPS` is full: a drop is not counted.
    Drops = 1,
    /// The ring buffer is full: a drop is counted, and not shown by `limiterctl drops`.
    Samples = 2,
}

impl Lost {
    /// Every loss, in the order of its values.
    pub const ALL: [Self; 3] = [Self::Flows, Self::Drops, Self::Samples];

    /// Returns the `what` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Flows => "flows",
            Self::Drops => "drops",
            Self::Samples => "samples",
        }
    }
}

const _: () = assert!(size_of::<FlowKey>() == 36);
const _: () = assert!(size_of::<Flow>() == 16);
const _: () = assert!(size_of::<FlowRecord>() == 56);
const _: () = assert!(size_of::<DropKey>() == 8);
const _: () = assert!(size_of::<DropSample>() == 56);

#[cfg(test)]
mod tests {
    use super::*;

    /// A time belongs to the first bucket whose bound it does not exceed.
    #[test]
    fn times_fall_into_their_buckets() {
        assert_eq!(first_byte_bucket(0), 0);
        assert_eq!(first_byte_bucket(1_000), 0);
        assert_eq!(first_byte_bucket(1_001), 1);
        assert_eq!(first_byte_bucket(30_000_000), FIRST_BYTE_BUCKETS - 2);
        assert_eq!(first_byte_bucket(30_000_001), FIRST_BYTE_BUCKETS - 1);
    }

    /// Services, outbound mail and upstreams do not share a tag.
    #[test]
    fn tags_are_apart() {
        const { assert!(crate::names::SERVICES <= Tag::OUTBOUND.0 as usize) };
        assert_eq!(Tag::upstream(0).as_upstream(), Some(0));
        assert_eq!(Tag::OUTBOUND.as_upstream(), None);
        assert_eq!(Tag(1).as_upstream(), None);
    }
}
