//! What a connection claims beside its source's own count: a share of the service's total, and of the
//! source's quota. What is claimed for which connection is up to `admission.rs`.

use limiter_common::{
    gcra::{self, Quota},
    word::{ONE_RESERVED, Word},
};

use crate::{atomic, bounds, source::SourceRef, store, tick};

/// Takes back what was reserved in the words.
#[inline(always)]
pub fn give_up(service: u32, in_total: bool, source: SourceRef) {
    source.take_off_word(ONE_RESERVED);
    if in_total {
        give_up_total(service);
    }
}

/// Takes back what was reserved of the service's total.
#[inline(always)]
pub fn give_up_total(service: u32) {
    if let Some(total) = store::total(service) {
        atomic::add(total, ONE_RESERVED.wrapping_neg());
    }
}

/// Reserves one connection of the service, if its ceiling (0: none) allows.
#[inline(always)]
pub fn reserve_total(service: u32, ceiling: u32) -> bool {
    let Some(total) = store::total(service) else {
        return true;
    };
    if ceiling == 0 {
        atomic::add(total, ONE_RESERVED);
        return true;
    }
    let mut attempt = 0;
    while attempt < atomic::ATTEMPTS {
        attempt += 1;
        let word = Word(atomic::load(total));
        if word.held() >= ceiling {
            return false;
        }
        if atomic::swap(total, word.0, word.reserve().0) {
            return true;
        }
    }
    false
}

/// Charges one connection to the quota of a source; returns whether the quota allowed it.
#[inline(always)]
pub fn charge_quota(source: SourceRef, quota: Quota) -> bool {
    let bound = bounds::tat(source.hash()).unwrap_or_default();
    charge_tat(source.tat(), bound, quota.interval_ns, quota.burst_ns) == 1
}

/// Charges one connection to the quota of an arrival time, and raises the latest of its bucket; returns 1
/// if the quota allowed it. Like [`try_admit`](crate::admission::try_admit) a function of its own to the
/// verifier, which otherwise walks its loop once for each way there.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn charge_tat(tat: *mut u64, bound: *mut u64, interval_ns: u64, burst_ns: u64) -> u32 {
    if tat.is_null() || bound.is_null() {
        return 0;
    }
    let quota = Quota { interval_ns, burst_ns };
    let now_ns = tick::now_ns();
    let mut attempt = 0;
    while attempt < atomic::ATTEMPTS {
        attempt += 1;
        let tat_ns = atomic::load(tat);
        let Some(next) = gcra::charge(tat_ns, now_ns, quota) else {
            return 0;
        };
        let latest_ns = atomic::load(bound);
        if latest_ns < next && !atomic::swap(bound, latest_ns, next) {
            continue;
        }
        if atomic::swap(tat, tat_ns, next) {
            return 1;
        }
    }
    0
}
