//! What living sockets are charged with, summed up as a recount compares it.

use std::collections::HashMap;

use limiter_common::{
    map::{Charge, SourceKey},
    names,
};

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
    pub(super) fn of(charges: &[Charge]) -> Self {
        let mut sums = Self {
            by_source: HashMap::new(),
            in_total: [0; names::SERVICES],
            by_class: vec![0; names::SERVICES * names::CLASSES],
        };
        for charge in charges.iter().filter(|charge| is_open(charge)) {
            let service = charge.key.service;
            *sums.by_source.entry(charge.key).or_default() += 1;
            sums.by_class[names::class_cell(service, u32::from(charge.class)) as usize] += 1;
            if charge.state & Charge::IN_TOTAL != 0 {
                sums.in_total[service as usize % names::SERVICES] += 1;
            }
        }
        sums
    }
}

/// Returns whether a charge stands for an open connection.
pub(super) const fn is_open(charge: &Charge) -> bool {
    charge.state & Charge::CHARGED != 0 && charge.state & Charge::RELEASED == 0
}
