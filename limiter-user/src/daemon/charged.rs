//! What living sockets are charged with, summed up as a recount compares it.

use std::collections::HashMap;

use limiter_common::{event::ChargeRecord, map::SourceKey, names};

/// Charges of living sockets, summed up.
pub(super) struct Charged {
    /// By source.
    pub(super) by_source: HashMap<SourceKey, u32>,
    /// By service id.
    pub(super) in_total: [u32; names::SERVICES],
    /// By [`class_cell`](names::class_cell).
    pub(super) by_class: Vec<u32>,
}

impl Charged {
    pub(super) fn of(charges: &[ChargeRecord]) -> Self {
        let mut sums = Self {
            by_source: HashMap::new(),
            in_total: [0; names::SERVICES],
            by_class: vec![0; names::SERVICES * names::CLASSES],
        };
        for charge in charges {
            let service = charge.key.service;
            *sums.by_source.entry(charge.key).or_default() += 1;
            sums.by_class[names::class_cell(service, u32::from(charge.class)) as usize] += 1;
            if charge.in_total != 0 {
                sums.in_total[service as usize % names::SERVICES] += 1;
            }
        }
        sums
    }
}
