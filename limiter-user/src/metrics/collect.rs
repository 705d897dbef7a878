//! Families in `OpenMetrics` text.

use std::{fmt, time::Duration};

use limiter_common::witness::{FIRST_BYTE_BOUNDS_MS, FirstBytes};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text::encode},
    metrics::MetricType,
    registry::Registry,
};

use super::families::{Family, Labels, Value, families};
use crate::daemon::snapshot::Snapshot;

/// Returns everything a scrape gets.
///
/// # Errors
///
/// When a value cannot be written as text.
pub fn text(snapshot: &Snapshot) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Families(families(snapshot))));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

/// Families that were read for one scrape.
#[derive(Debug)]
struct Families(Vec<Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in self.0.iter().filter(|family| !family.samples.is_empty()) {
            let help = format!("{}.", family.help);
            let mut metric = encoder.encode_descriptor(family.name, &help, None, family.kind)?;
            for (labels, value) in &family.samples {
                sample(&mut metric, family.kind, labels, *value)?;
            }
        }
        Ok(())
    }
}

fn sample(
    metric: &mut MetricEncoder<'_>,
    kind: MetricType,
    labels: &Labels,
    value: Value,
) -> Result<(), fmt::Error> {
    if matches!(kind, MetricType::Info) {
        return metric.encode_info(labels);
    }
    if labels.is_empty() {
        return number(metric, kind, value);
    }
    number(&mut metric.encode_family(labels)?, kind, value)
}

fn number(metric: &mut MetricEncoder<'_>, kind: MetricType, value: Value) -> Result<(), fmt::Error> {
    match (kind, value) {
        (MetricType::Counter, Value::Whole(count)) => {
            metric.encode_counter::<NoLabelSet, u64, u64>(&count, None)
        }
        (MetricType::Counter, Value::Ratio(count)) => {
            metric.encode_counter::<NoLabelSet, f64, u64>(&count, None)
        }
        (_, Value::Times(times)) => histogram(metric, &times),
        (_, Value::Whole(value)) => metric.encode_gauge(&value),
        (_, Value::Ratio(value)) => metric.encode_gauge(&value),
    }
}

/// Writes times in buckets, in seconds.
fn histogram(metric: &mut MetricEncoder<'_>, times: &FirstBytes) -> Result<(), fmt::Error> {
    let bounds = FIRST_BYTE_BOUNDS_MS.iter().map(|bound_ms| Duration::from_millis(*bound_ms).as_secs_f64());
    let buckets: Vec<(f64, u64)> = bounds.chain([f64::MAX]).zip(times.buckets).collect();
    let count = times.buckets.iter().sum();
    let sum_s = Duration::from_micros(times.sum_us).as_secs_f64();
    metric.encode_histogram::<NoLabelSet>(sum_s, count, &buckets, None)
}
