//! What of the host is not as somebody acknowledged it.

use std::collections::BTreeSet;

use prometheus_client::metrics::MetricType;

use super::{Family, Value};
use crate::host::What;

pub(super) fn families(changed: &BTreeSet<What>) -> Vec<Family> {
    let samples = changed.iter().map(|what| (vec![("what", what.label().to_owned())], Value::Whole(1)));
    vec![Family {
        name: "limiter_host_change",
        help: "What of the host is not as it was acknowledged; no sample while all is",
        kind: MetricType::Info,
        samples: samples.collect(),
    }]
}
