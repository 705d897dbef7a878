//! Which sources look like probes: they come by the clock, send nothing, and go.
//!
//! All three must hold. Regular alone is many a mail client that polls, silent
//! and brief alone is a port scan.

use super::observed::Source;

/// Variance over mean of connections per window, at most. Connections that come by chance have 1; with ten windows
/// one in a hundred such sources is below this, with twenty one in three thousand.
const DISPERSION_MAX: f64 = 0.25;
/// Windows that a judgement needs.
const WINDOWS_MIN: usize = 10;
/// Connections per window that it needs, in the mean: below, regular and rare look alike.
const MEAN_MIN: f64 = 0.95;
/// Windows that may be taken together, to judge slow probes.
const TOGETHER: [usize; 4] = [1, 2, 3, 6];
/// Connections that must have ended.
const ENDED_MIN: u64 = 10;
/// The share of them that must have been silent, and brief.
const SHARE_MIN: f64 = 0.95;

/// What speaks for a probe.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// Variance over mean of connections per window.
    pub dispersion: f64,
    /// Windows judged.
    pub windows: usize,
    /// Seconds between connections.
    pub interval_s: f64,
    /// The share of silent connections.
    pub silent: f64,
    /// The share of brief ones.
    pub brief: f64,
}

/// Returns the evidence if a source looks like a probe; recounts come every `interval_s`.
#[must_use]
pub fn judge(source: &Source, interval_s: f64) -> Option<Evidence> {
    if source.ended < ENDED_MIN {
        return None;
    }
    let share = |part: u64| real(part) / real(source.ended);
    let (silent, brief) = (share(source.silent), share(source.brief));
    if silent < SHARE_MIN || brief < SHARE_MIN {
        return None;
    }
    let windows: Vec<u16> = source.windows.iter().copied().collect();
    let (together, counts) = TOGETHER.iter().find_map(|together| {
        let counts = sums(&windows, *together);
        (counts.len() >= WINDOWS_MIN && mean(&counts) >= MEAN_MIN).then_some((*together, counts))
    })?;
    let mean = mean(&counts);
    let variance =
        counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / real(counts.len() as u64 - 1);
    let dispersion = variance / mean;
    let evidence = Evidence {
        dispersion,
        windows: counts.len(),
        interval_s: interval_s * real(together as u64) / mean,
        silent: silent.min(1.0),
        brief: brief.min(1.0),
    };
    (dispersion <= DISPERSION_MAX).then_some(evidence)
}

/// Returns the sums of as many windows at a time, the newest whole ones.
fn sums(windows: &[u16], together: usize) -> Vec<f64> {
    windows.rchunks_exact(together).map(|chunk| chunk.iter().map(|new| f64::from(*new)).sum()).collect()
}

fn mean(counts: &[f64]) -> f64 {
    counts.iter().sum::<f64>() / real(counts.len() as u64)
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53, for a ratio that people read")]
const fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(windows: &[u16], ended: u64, silent: u64, brief: u64) -> Source {
        Source::seen(windows, ended, silent, brief)
    }

    /// A probe every second is one, one connection more or less per window included.
    #[test]
    fn a_clock_is_a_probe() {
        let evidence = judge(&source(&[10, 10, 9, 11, 10, 10, 10, 9, 11, 10], 100, 100, 100), 10.0);
        let evidence = evidence.expect("it is a probe");
        assert!((evidence.interval_s - 1.0).abs() < 0.01 && evidence.dispersion < 0.1, "{evidence:?}");
        // Every thirty seconds.
        let slow = [0, 0, 1].repeat(20);
        let evidence = judge(&source(&slow, 20, 20, 20), 10.0).expect("it is a slow probe");
        assert!((evidence.interval_s - 30.0).abs() < 0.1, "{evidence:?}");
    }

    /// Clients are none: they say something, or stay, or come as they please.
    #[test]
    fn clients_are_no_probes() {
        let even = [10; 20];
        let none = |source: &Source| assert_eq!(judge(source, 10.0), None);
        none(&source(&even, 200, 20, 200));
        none(&source(&even, 200, 200, 20));
        none(&source(&[30, 0, 0, 2, 41, 0, 0, 7, 0, 0, 15, 0, 3, 0, 60, 0, 1, 0, 0, 9], 168, 168, 168));
        none(&source(&even[..5], 50, 50, 50));
        none(&source(&[0; 64], 3, 3, 3));
    }

    /// Connections that come by chance are hardly ever taken for a clock.
    ///
    /// Poisson arrivals of many rates, from a fixed sequence of numbers.
    #[test]
    fn chance_is_no_clock() {
        let mut state = 42_u64;
        let mut uniform = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            real(state >> 11) / real(1 << 53)
        };
        let mut poisson = |rate: f64| {
            let (limit, mut product, mut count) = ((-rate).exp(), uniform(), 0);
            while product > limit {
                product *= uniform();
                count += 1;
            }
            count
        };
        let taken = (0..1_000).filter(|n| {
            let rate = 0.5 + f64::from(n % 40) / 4.0;
            let windows: Vec<u16> = (0..20).map(|_| poisson(rate)).collect();
            judge(&source(&windows, 100, 100, 100), 10.0).is_some()
        });
        assert!(taken.count() <= 10);
    }
}
