//! The recount: living sockets, counted where their sources are. The daemon compares that with what the
//! sources hold.
//!
//! Its reader gets nothing but sockets whose source has no entry: whenever the buffer of a reader is full,
//! the kernel walks its lists again from the head. There is one recount at a time, that of the daemon.

use limiter_common::{
    map::{Charge, Living},
    names,
};
use limiter_ebpf::{
    opaque::{bounded_cell, bounded_class},
    seq::{self, Meta},
};

use crate::{atomic, maps, source, store};

/// Counts one socket, if it is charged; returns 1 to be called with it again.
#[inline(always)]
pub fn run(meta: *mut Meta, storage: *mut Charge) -> i32 {
    // SAFETY: a live value of the storage map, as large as the map says.
    let charge = unsafe { storage.read_volatile() };
    if !charge.is_open() {
        return 0;
    }
    let class = bounded_class(u32::from(charge.class));
    match source::find(&charge.key) {
        Some(source) => source.count_living(number(), class as u16, |other| {
            store::policy()
                .is_some_and(|policy| policy.is_tighter(charge.key.service, class, u32::from(other)))
        }),
        None if seq::write(meta, &charge.key) != 0 => return 1,
        None => {}
    }
    let sums = maps::LIVING.at();
    // SAFETY: a field of the value; no access happens here.
    let by_class = unsafe { &raw mut (*sums).by_class };
    count(by_class.cast(), bounded_cell(names::class_cell(charge.key.service, class)));
    if charge.state & Charge::IN_TOTAL != 0 {
        // SAFETY: as above.
        let in_total = unsafe { &raw mut (*sums).in_total };
        count(in_total.cast(), charge.key.service & (names::SERVICES as u32 - 1));
    }
    0
}

/// The number of the recount, as entries have it.
#[inline(always)]
fn number() -> u16 {
    // SAFETY: a field of the value; no access happens here.
    Living::number(atomic::load(unsafe { &raw const (*maps::CONTROL.at()).recount }))
}

#[inline(always)]
fn count(cells: *mut u32, cell: u32) {
    atomic::add_u32(cells.wrapping_add(cell as usize), 1);
}
