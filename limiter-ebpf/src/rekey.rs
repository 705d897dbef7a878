//! Charges an open connection to another source or service, when the prefix
//! lengths of sources or the ports of services have changed.
//!
//! The new count grows before the old one shrinks, so that no source is short of
//! a connection meanwhile. A release may come in between: it leaves a mark, and
//! who moves the charge takes it off.

use limiter_common::{
    map::{Charge, FailOpen, SourceKey},
    policy::{Policy, UNGUARDED},
    word::ONE_OPEN,
};

use crate::{account, atomic, classes, release, sockets, source, store};

/// Moves the charge of one socket, if the policy in force says so.
#[inline(always)]
pub fn run(storage: *mut Charge) {
    let state = sockets::state_of(storage);
    let bits = atomic::load(state);
    if bits & Charge::CHARGED == 0 || bits & Charge::MOVING != 0 {
        return;
    }
    let Some(policy) = store::policy() else { return };
    // SAFETY: a live value of the storage map. A charge is written to only by who moves it, and
    // should that be another CPU, the swap below fails.
    let old = unsafe { storage.read_volatile() };
    let service = store::service_of(policy, old.port);
    let key = SourceKey { addr: policy.source_of(old.addr), service };
    if key == old.key || !atomic::swap(state, bits, bits | Charge::MOVING) {
        return;
    }
    let (new, new_bits) = moved(policy, &old, bits, key);
    if new_bits == bits && new.key == old.key {
        return finish(storage, &old, bits, bits);
    }
    // SAFETY: as above; the state says that this CPU alone may write.
    unsafe { (*storage).key = new.key };
    // SAFETY: as above.
    unsafe { (*storage).class = new.class };
    release::take_off(&old, bits, |_| {});
    finish(storage, &new, bits, new_bits);
}

/// Charges a connection to its new key; returns what it is charged with, the old charge if that fails.
#[inline(always)]
fn moved(policy: &Policy, old: &Charge, bits: u64, key: SourceKey) -> (Charge, u64) {
    if key.service == UNGUARDED {
        return (Charge { key, ..*old }, 0);
    }
    let class = if key.service == old.key.service {
        u32::from(old.class)
    } else {
        classes::of(policy, old.addr, key.service)
    };
    if add_open(&raw const key) == 0 {
        return (*old, bits);
    }
    let in_total = policy.counts_in_total(key.service, class);
    if in_total && let Some(total) = store::total(key.service) {
        atomic::add(total, ONE_OPEN);
    }
    sockets::add_to_class(key.service, class, 1);
    let charged = if in_total { Charge::CHARGED | Charge::IN_TOTAL } else { Charge::CHARGED };
    // The connection is as old as it was.
    let new_bits = charged | (bits & !(Charge::CHARGED | Charge::IN_TOTAL));
    (Charge { key, class: class as u16, ..*old }, new_bits)
}

/// Counts one open connection of a source; returns 1 if that could be. A function of its own to the
/// verifier, which otherwise walks its loop once for each way there.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn add_open(key: *const SourceKey) -> u32 {
    if key.is_null() {
        return 0;
    }
    // SAFETY: not null, and the verifier knows that it points to a whole key.
    let key = unsafe { key.read() };
    let mut attempt = 0;
    while attempt < atomic::ATTEMPTS {
        attempt += 1;
        let Some(source) = source::find_or_create(&key) else {
            account::fail_open(FailOpen::SourcesFull);
            return 0;
        };
        // Reserve first: the entry can't be removed under a reservation.
        let word = source.word();
        if source.reserve(word) {
            source.open_reserved();
            return 1;
        }
    }
    account::fail_open(FailOpen::Contention);
    0
}

/// Ends the move; a release that came meanwhile is made up for.
#[inline(always)]
fn finish(storage: *mut Charge, charge: &Charge, bits: u64, new_bits: u64) {
    let state = sockets::state_of(storage);
    if atomic::swap(state, bits | Charge::MOVING, new_bits) {
        return;
    }
    if new_bits & Charge::CHARGED != 0 {
        release::take_off(charge, new_bits, |_| {});
    }
    atomic::store(state, Charge::RELEASED);
}
