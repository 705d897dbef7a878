//! Records that cross between the programs and the daemon outside of maps:
//! samples of refusals, sources, explanations, amendments.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    addr::Addr,
    map::{Source, SourceKey},
};

/// At most one sample per source in this time.
pub const SAMPLE_INTERVAL_NS: u64 = 10_000_000_000;

/// One refusal, or one that would have been: at most one per source and [`SAMPLE_INTERVAL_NS`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Sample {
    /// When, in `CLOCK_MONOTONIC` nanoseconds.
    pub at_ns: u64,
    /// The remote address, unmasked.
    pub addr: Addr,
    /// The service id.
    pub service: u32,
    /// The class id.
    pub class: u32,
    /// The counter cell of the verdict: it tells point, verdict and reason.
    pub cell: u32,
    /// The local port.
    pub port: u32,
}

/// One source, as the iterator writes it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SourceRecord {
    /// Who.
    pub key: SourceKey,
    /// Aligns what follows.
    pub pad: u32,
    /// What was known.
    pub source: Source,
}

/// One amendment of the daemon to a source: user space never writes a live entry itself.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Amendment {
    /// Whose entry.
    pub key: SourceKey,
    /// What to add to the open count; 0 asks to remove the entry if it is idle.
    pub delta: i32,
}

impl Amendment {
    /// Amendments in one frame: as many as fit a frame of the usual size.
    pub const PER_FRAME: u32 = 60;
}

/// What `limiterctl check` gets back from the read-only twin of the program.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Explanation {
    /// The counter cell of the verdict: it tells point, verdict and reason.
    pub cell: u32,
    /// The service id; 0 for a port that is not guarded.
    pub service: u32,
    /// The class id.
    pub class: u32,
    /// The revision of the policy that decided.
    pub revision: u32,
    /// Whether the source has an entry.
    pub known: u32,
    /// Open and reserved connections of the source.
    pub held: u32,
    /// Open and reserved connections of the service.
    pub total: u32,
    /// 1 if per-source limits only observe because no daemon was seen.
    pub unwatched: u32,
    /// Arrival time of the source's quota.
    pub tat_ns: u64,
    /// The clock it is on.
    pub now_ns: u64,
}

const _: () = assert!(size_of::<Sample>() == 40);
const _: () = assert!(size_of::<SourceRecord>() == 72);
const _: () = assert!(size_of::<Amendment>() == 24);
const _: () = assert!(size_of::<Explanation>() == 48);
