//! Lines of points as text.

/// From nothing to the highest; nothing has a bar of its own, so that one event in an hour shows.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Bars above nothing.
const STEPS: f64 = 7.0;

/// Returns points as bars, up to the highest of them; a gap where nothing was recorded.
pub(super) fn line(points: &[Option<f64>]) -> String {
    let max = points.iter().flatten().copied().fold(0.0, f64::max);
    let bar = |point: &Option<f64>| match point {
        None => ' ',
        Some(value) if *value <= 0.0 => BARS[0],
        Some(value) => {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1 to 7")]
            let height = (value / max * STEPS).ceil().clamp(1.0, STEPS) as usize;
            BARS[height]
        }
    };
    points.iter().map(bar).collect()
}

/// Returns a number in as many digits as people look at.
pub(super) fn number(value: f64) -> String {
    if value.abs() >= 100.0 || value.fract().abs() < 1e-9 {
        format!("{value:.0}")
    } else if value.abs() >= 0.095 {
        format!("{value:.1}")
    } else {
        format!("{value:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The highest is full, nothing is low, little is more than nothing, and a gap is a gap.
    #[test]
    fn bars_tell_nothing_little_and_much_apart() {
        let points = [Some(0.0), Some(0.001), Some(50.0), Some(100.0), None, Some(0.0)];
        assert_eq!(line(&points), "▁▂▅█ ▁");
        assert_eq!(line(&[Some(0.0), None]), "▁ ");
    }

    /// Numbers are short.
    #[test]
    fn numbers_are_short() {
        for (value, text) in [(0.0, "0"), (7.0, "7"), (1234.5, "1234"), (3.25, "3.2"), (0.0123, "0.012")] {
            assert_eq!(number(value), text);
        }
    }
}
