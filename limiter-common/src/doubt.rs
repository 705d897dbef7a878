//! Doubts: why a packet passed that could not be judged, or a count could not be kept.
//!
//! Labels go into metrics and values index a pinned map: append, never renumber.

/// Why limiter passed a packet that it could not judge, or a count it could not keep; index of `FAIL_OPENS`.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailOpen {
    /// `SOURCES` is full: the connection passes uncounted.
    SourcesFull = 0,
    /// A socket got no storage: the connection is not counted.
    NoStorage = 1,
    /// No policy is loaded, or not all of it.
    NoPolicy = 2,
    /// A connection was established without passing the gate: it is counted, but was not limited.
    Ungated = 3,
    /// Too many CPUs fought for one word: the segment is dropped, and comes again.
    Contention = 4,
    /// A packet could not be turned into a reset: it is dropped in silence.
    NoReset = 5,
    /// The ring buffer of samples is full.
    SamplesLost = 6,
}

impl FailOpen {
    /// Every doubt, in the order of its values.
    pub const ALL: [Self; 7] = [
        Self::SourcesFull,
        Self::NoStorage,
        Self::NoPolicy,
        Self::Ungated,
        Self::Contention,
        Self::NoReset,
        Self::SamplesLost,
    ];

    /// Returns the `why` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::SourcesFull => "sources_full",
            Self::NoStorage => "no_storage",
            Self::NoPolicy => "no_policy",
            Self::Ungated => "ungated",
            Self::Contention => "contention",
            Self::NoReset => "no_reset",
            Self::SamplesLost => "samples_lost",
        }
    }
}
