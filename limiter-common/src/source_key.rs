//! Whom a count of connections is of: a source, and in recounts and amendments
//! also a service as a whole or one of its classes.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::addr::Addr;

/// Whom a connection is charged to: a source in a service.
#[repr(C)]
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
pub struct SourceKey {
    /// The address, masked to the source's prefix length.
    pub addr: Addr,
    /// The service id.
    pub service: u32,
}

impl SourceKey {
    /// Set in `service` of a key that stands for a service as a whole; no entry has such a key.
    const WHOLE: u32 = 1 << 16;
    /// Set in `service` of a key that stands for one class of a service; no entry has such a key.
    const CLASS: u32 = 1 << 17;

    /// Returns the key that stands for all sources of a service, in recounts and amendments.
    #[must_use]
    pub const fn whole(service: u32) -> Self {
        Self { addr: Addr { words_be: [0; 4] }, service: service | Self::WHOLE }
    }

    /// Returns the key that stands for the connections of one class of a service, in recounts and amendments.
    #[must_use]
    pub const fn class(service: u32, class: u32) -> Self {
        Self { addr: Addr { words_be: [class, 0, 0, 0] }, service: service | Self::CLASS }
    }

    /// Returns whose count this key stands for.
    #[inline(always)]
    #[must_use]
    pub const fn holder(&self) -> Holder {
        let service = self.service & !(Self::WHOLE | Self::CLASS);
        if self.service & Self::WHOLE != 0 {
            Holder::Service(service)
        } else if self.service & Self::CLASS != 0 {
            Holder::Class(service, self.addr.words_be[0])
        } else {
            Holder::Source(service)
        }
    }

    /// Returns the hash that tags the source's word.
    #[inline(always)]
    #[must_use]
    pub const fn hash(&self, seed: u64) -> u64 {
        self.addr.hash(seed ^ ((self.service as u64) << 32))
    }
}

/// Whose count of connections a key stands for, each with its service id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// One source.
    Source(u32),
    /// All sources of a service that count in its total.
    Service(u32),
    /// One class of a service, by its id.
    Class(u32, u32),
}
