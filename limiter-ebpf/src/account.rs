//! The one place that counts verdicts and doubts, and samples refusals.

use limiter_common::{
    addr::{Addr, Family},
    cell::CELLS,
    event::{SAMPLE_INTERVAL_NS, Sample},
    map::FailOpen,
    names,
    policy::{CLASS_DEFAULT, UNGUARDED},
    verdict::{PassReason, Point, Verdict},
};

use crate::{atomic, facts::Ruling, globals, maps, tick};

/// To whom a verdict is attributed.
#[derive(Clone, Copy)]
pub struct Subject {
    /// The service id.
    pub service: u32,
    /// The class id.
    pub class: u32,
    /// The remote address.
    pub addr: Addr,
    /// The local port.
    pub port: u16,
    /// The IP version of the packet.
    pub family: Family,
}

/// Counts a verdict, and samples it if it is, or would be, a refusal.
#[inline(always)]
pub fn record(point: Point, ruling: Ruling, subject: &Subject) {
    let cell = ruling.verdict.cell(point);
    count(cell, subject.service, subject.class, subject.family);
    match ruling.verdict {
        Verdict::Pass(_) => {}
        Verdict::Refuse(_) | Verdict::WouldRefuse(_) => sample(cell, ruling.at_ns, subject),
    }
}

/// Counts a packet that passes before its service is known.
#[inline(always)]
pub fn pass_unattributed(reason: PassReason, family: Family) {
    count(Verdict::Pass(reason).cell(Point::Syn), UNGUARDED, CLASS_DEFAULT, family);
}

/// Counts a doubt.
#[inline(always)]
pub fn fail_open(why: FailOpen) {
    if let Some(count) = maps::FAIL_OPENS.get_ptr_mut(why as u32) {
        // Tracing programs may be interrupted by the packet path on the same CPU.
        atomic::add(count, 1);
    }
}

#[inline(always)]
fn count(cell: usize, service: u32, class: u32, family: Family) {
    count_in(names::counter_row(service, class, family as u32), cell);
}

/// Counts a verdict that falls again, in the row and cell where it was counted before.
#[inline(always)]
pub fn count_in(row: u32, cell: usize) {
    let Some(row) = maps::COUNTERS.get_ptr_mut(row) else {
        return;
    };
    if cell >= CELLS {
        return;
    }
    // SAFETY: `row` points to this CPU's value of a live map.
    let cells = unsafe { &raw mut (*row).cells };
    let at = cells.cast::<u64>().wrapping_add(cell);
    // SAFETY: `cell` is less than the number of cells. Only softirq code counts verdicts, and a softirq does
    // not interrupt another one on its CPU: a plain addition loses nothing.
    unsafe { *at += 1 };
}

/// Samples a refusal: the first of a source at once, then at most one per interval; in a flood, not each is looked at.
#[inline(always)]
fn sample(cell: usize, now_ns: u64, subject: &Subject) {
    if !tick::may_look() {
        return;
    }
    let hash = subject.addr.hash(globals::hash_seed());
    let Some(last) = maps::SAMPLED_AT.get_ptr_mut(hash as u32 & (names::SAMPLE_BUCKETS as u32 - 1)) else {
        return;
    };
    let last_ns = atomic::load(last);
    if last_ns != 0 && now_ns.wrapping_sub(last_ns) < SAMPLE_INTERVAL_NS {
        return;
    }
    if !atomic::swap(last, last_ns, now_ns) {
        return;
    }
    let Some(mut entry) = maps::SAMPLES.reserve(0) else {
        fail_open(FailOpen::SamplesLost);
        return;
    };
    entry.write(Sample {
        at_ns: now_ns,
        addr: subject.addr,
        service: subject.service,
        class: subject.class,
        cell: cell as u32,
        port: u32::from(subject.port),
    });
    entry.submit(0);
}
