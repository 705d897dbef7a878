//! Address ranges of known load balancers, as their operators publish them.
//!
//! Ranges change without asking, so every preset is dated and its age is a
//! metric. Balancers that probe from addresses of their own (AWS NLB, Hetzner,
//! `DigitalOcean`) have no range to list.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    time::{Duration, SystemTime},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// What a preset begins with in a list of prefixes.
pub const MARK: &str = "preset:";

/// A named list of prefixes, and when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// Its name, which follows [`MARK`].
    pub name: &'static str,
    /// Whose addresses they are.
    pub about: &'static str,
    /// Year, month and day since which it may have changed.
    pub dated: (u16, u8, u8),
    /// The prefixes.
    pub prefixes: &'static [IpNet],
}

/// Every preset.
pub const ALL: &[Preset] = &[
    Preset {
        name: "gcp-lb",
        about: "health checks and proxies of Google Cloud load balancers",
        dated: (2026, 8, 1),
        prefixes: &[
            v4([35, 191, 0, 0], 16),
            v4([130, 211, 0, 0], 22),
            v4([209, 85, 152, 0], 22),
            v4([209, 85, 204, 0], 22),
            v6_64(0x2600_2d00_0001_b029),
            v6_64(0x2600_2d00_0001_0001),
        ],
    },
    Preset {
        name: "azure-lb",
        about: "health probes of Azure load balancers",
        dated: (2026, 8, 1),
        prefixes: &[v4([168, 63, 129, 16], 32)],
    },
];

impl Preset {
    /// Returns the preset of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|preset| preset.name == name)
    }

    /// Returns how long ago it was dated; zero for a clock that is behind.
    #[must_use]
    pub fn age(&self, now: SystemTime) -> Duration {
        let dated = SystemTime::UNIX_EPOCH + Duration::from_hours(24 * days_since_epoch(self.dated));
        now.duration_since(dated).unwrap_or_default()
    }
}

/// Returns the days from 1970-01-01 to a later date, by counting leap days.
fn days_since_epoch((year, month, day): (u16, u8, u8)) -> u64 {
    /// Days of a common year before the first of each month.
    const BEFORE_MONTH: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leap_years_before = |year: u64| (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400;
    let year = u64::from(year);
    let is_leap = leap_years_before(year + 1) > leap_years_before(year);
    let before_month = BEFORE_MONTH.get(usize::from(month.saturating_sub(1))).copied().unwrap_or_default();
    (year - 1970) * 365
        + (leap_years_before(year) - leap_years_before(1970))
        + before_month
        + u64::from(is_leap && month > 2)
        + u64::from(day.saturating_sub(1))
}

const fn v4(octets: [u8; 4], prefix_len: u8) -> IpNet {
    let [a, b, c, d] = octets;
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix_len))
}

/// Returns the prefix whose first 64 bits these are.
const fn v6_64(high: u64) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from_bits((high as u128) << 64), 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Days agree with `date -d 2026-08-01 +%s` and its like, before and after a leap day.
    #[test]
    fn days_are_counted_over_leap_years() {
        for (date, unix_s) in [
            ((1970, 1, 1), 0),
            ((2000, 2, 29), 951_782_400),
            ((2000, 3, 1), 951_868_800),
            ((2026, 8, 1), 1_785_542_400),
            ((2100, 3, 1), 4_107_542_400),
        ] {
            assert_eq!(days_since_epoch(date) * 86_400, unix_s, "{date:?}");
        }
    }

    /// No prefix of a preset has host bits, and no two presets share a name or a prefix.
    #[test]
    fn presets_are_well_formed() {
        let mut seen = std::collections::HashSet::new();
        for preset in ALL {
            assert!(seen.insert(preset.name.to_owned()), "{} twice", preset.name);
            for prefix in preset.prefixes {
                assert_eq!(*prefix, prefix.trunc(), "{}", preset.name);
                assert!(seen.insert(prefix.to_string()), "{prefix} twice");
            }
        }
    }

    /// The age grows with the clock, and a clock that is behind shows none.
    #[test]
    fn age_counts_from_the_date() {
        let preset = Preset::named("gcp-lb").unwrap();
        let day = Duration::from_hours(24);
        let dated = SystemTime::UNIX_EPOCH + day * 20_666;
        assert_eq!(preset.age(dated + day), day);
        assert_eq!(preset.age(SystemTime::UNIX_EPOCH), Duration::ZERO);
    }
}
