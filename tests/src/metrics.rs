//! Metrics as a test reads them: samples, and sums of those with given labels.

/// One sample of the metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The whole name, with `_total` where there is one.
    pub name: String,
    /// Labels and their values, in the order they are written.
    pub labels: Vec<(String, String)>,
    /// Its value.
    pub value: f64,
}

impl Sample {
    /// The value of a label, or `None` if the sample lacks it.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| label == name).map(|(_, value)| value.as_str())
    }

    /// Its value as a count; panics if it is none.
    #[must_use]
    #[track_caller]
    pub fn count(&self) -> u64 {
        count(&self.name, self.value)
    }
}

/// A value as a count; panics, naming it, if it is none.
#[must_use]
#[track_caller]
pub fn count(name: &str, value: f64) -> u64 {
    // Exact: formatted without a fraction, or the parse fails.
    value.to_string().parse().unwrap_or_else(|e| panic!("{name} is {value}: {e}"))
}

/// Reads the text of a scrape; panics at a line that is no sample.
#[must_use]
#[track_caller]
pub fn parse(text: &str) -> Vec<Sample> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| sample(line).unwrap_or_else(|| panic!("not a sample: {line}"))).collect()
}

/// The sum of the samples of `name` that carry all of `labels`; 0 if there are none.
#[must_use]
pub fn sum(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> f64 {
    let carries = |s: &&Sample| labels.iter().all(|(label, value)| s.label(label) == Some(*value));
    // Not `sum()` alone: that of nothing is a negative zero.
    samples.iter().filter(|s| s.name == name).filter(carries).fold(0.0, |sum, s| sum + s.value)
}

/// `name{label="value",...} 1.0`; no value of ours holds a quote or a comma.
fn sample(line: &str) -> Option<Sample> {
    let (head, value) = line.rsplit_once(' ')?;
    let (name, inside) = head.split_once('{').unwrap_or((head, "}"));
    let inside = inside.strip_suffix('}')?;
    let label = |text: &str| {
        let (label, value) = text.split_once("=\"")?;
        Some((label.to_owned(), value.strip_suffix('"')?.to_owned()))
    };
    let labels = inside.split_terminator(',').map(label).collect::<Option<_>>()?;
    Some(Sample { name: name.to_owned(), labels, value: value.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples are read with and without labels, and summed over the labels that are not asked for.
    #[test]
    fn samples_are_read_and_summed() {
        let samples =
            parse("# HELP a text\na_total{x=\"1\",y=\"2\"} 3\na_total{x=\"1\",y=\"4\"} 5\nb 0.5\n# EOF\n");
        assert_eq!(samples.len(), 3);
        assert!((sum(&samples, "a_total", &[("x", "1")]) - 8.0).abs() < f64::EPSILON);
        assert!((sum(&samples, "a_total", &[("y", "4"), ("x", "1")]) - 5.0).abs() < f64::EPSILON);
        assert!((sum(&samples, "b", &[]) - 0.5).abs() < f64::EPSILON);
        assert_eq!(sum(&samples, "c", &[]).to_bits(), 0);
    }
}
