//! What the flight recorder has written.

use prometheus_client::metrics::MetricType;

use super::{Family, Labels, Value};
use crate::daemon::snapshot::Snapshot;

/// Returns the families of the flight recorder.
pub(super) fn recorder(snapshot: &Snapshot) -> Vec<Family> {
    let figures = snapshot.recorder;
    let one = |name, help, kind, value| Family {
        name,
        help,
        kind,
        samples: vec![(Labels::new(), Value::Whole(value))],
    };
    vec![
        one(
            "limiter_recorder_size_bytes",
            "Size of the flight recorder's file and its log, in bytes",
            MetricType::Gauge,
            figures.size_bytes,
        ),
        one(
            "limiter_recorder_records",
            "Records, minutes of sources and events that the flight recorder has written",
            MetricType::Counter,
            figures.written,
        ),
        one(
            "limiter_recorder_lost",
            "Those that it has not, since the disk was full, broken or too slow",
            MetricType::Counter,
            figures.lost,
        ),
    ]
}
