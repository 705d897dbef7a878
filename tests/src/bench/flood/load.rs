//! What is sent: from how many sources, and who of them is at its limit.

use std::net::{IpAddr, Ipv4Addr};

use crate::generator::Sources;

/// Connections that a source may have, and each flooding source has; of all of them together where the ceiling is
/// what refuses. The example of limiter's own configuration.
pub(super) const LIMIT: u32 = 20;
/// The first of a few flooding sources (RFC 5737).
const FIRST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// A source that floods nobody.
pub(super) const INNOCENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 250);

/// Where the SYNs come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    One,
    Many,
    Random,
}

impl Load {
    pub(super) const ALL: [Self; 3] = [Self::One, Self::Many, Self::Random];

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::One => "one source",
            Self::Many => "200 sources",
            Self::Random => "16 million random sources",
        }
    }

    pub(super) const fn sources(self) -> Sources {
        match self {
            Self::One => Sources { first: FIRST, count: 1 },
            Self::Many => Sources { first: FIRST, count: 200 },
            Self::Random => Sources { first: Ipv4Addr::new(10, 0, 0, 0), count: 1 << 24 },
        }
    }

    pub(super) fn source(self, n: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.sources().first.to_bits() + n)
    }

    /// Who has connections open before the flood: every flooding source, or one where they are random.
    pub(super) fn holders(self) -> Vec<IpAddr> {
        match self {
            Self::Random => vec![FIRST.into()],
            Self::One | Self::Many => (0..self.sources().count).map(|n| self.source(n).into()).collect(),
        }
    }
}
