//! Typed access to the maps: the policy, ports, addresses, totals. Sources are in `source.rs`,
//! classes in `classes.rs`.

use limiter_common::{
    addr::Addr,
    local,
    map::{FailOpen, Total},
    names,
    policy::Policy,
    word::Word,
};
use limiter_ebpf::opaque::bounded;

use crate::{account, atomic, clock, maps};

/// Returns the policy in force.
#[inline(always)]
pub fn policy<'a>() -> Option<&'a Policy> {
    let index = 0;
    let policy = maps::POLICIES.get_value(policy_slot(), &index).map(|[policy]| policy);
    if policy.is_none() {
        account::fail_open(FailOpen::NoPolicy);
    }
    policy
}

/// Returns the slot of the policy in force: a policy that nobody confirmed in time gives way to the
/// one before it, whether or not a daemon is alive.
#[inline(always)]
fn policy_slot() -> u32 {
    // SAFETY: a field of the value; no access happens here.
    let fallback_at_ns = atomic::load(unsafe { &raw const (*maps::CONTROL.at()).fallback_at_ns });
    // Not the coarse clock: iterators, which do not have it, read policies too.
    u32::from(fallback_at_ns != 0 && clock::precise_ns() >= fallback_at_ns)
}

/// Returns the id of the service that a port may belong to; 0 for a port that nobody guards.
#[inline(always)]
pub fn service_hint(port: u16) -> u32 {
    let ports = maps::PORTS.at().cast::<u8>();
    u32::from(atomic::load_u8(ports.wrapping_add(usize::from(bounded(port)))))
}

/// Returns the id of the service that a port belongs to, or [`UNGUARDED`].
#[inline(always)]
pub fn service_of(policy: &Policy, port: u16) -> u32 {
    policy.service_of(bounded(port))
}

/// Returns whether an address is the host's own.
#[inline(always)]
pub fn is_local(addr: &Addr) -> bool {
    let [first, second] = local::buckets_of(*addr);
    let has = |bucket| maps::LOCAL_ADDRESSES.get(bucket).is_some_and(|bucket| bucket.holds(*addr));
    has(first) || has(second)
}

/// Returns the word of a service's total.
#[inline(always)]
pub fn total(service: u32) -> Option<*mut u64> {
    let total: *mut Total = maps::TOTALS.get_ptr_mut(service)?;
    Some(total.cast())
}

/// Adds `delta` to the open count of a service's total, unless that would take it below zero.
#[inline(always)]
pub fn correct_total(service: u32, delta: i32) {
    if let Some(total) = total(service) {
        correct(total, delta);
    }
}

/// Returns the count of a service's connections of one class.
#[inline(always)]
pub fn class_connections(service: u32, class: u32) -> Option<*mut u64> {
    maps::CLASS_CONNECTIONS.get_ptr_mut(names::class_cell(service, class))
}

/// Adds `delta` to the connections of a class, unless that would take them below zero.
#[inline(always)]
pub fn correct_class(service: u32, class: u32, delta: i32) {
    let Some(at) = class_connections(service, class) else { return };
    let count = atomic::load(at);
    if let Some(right) = count.checked_add_signed(i64::from(delta)) {
        // As for a word: one that moves meanwhile is left to the next recount.
        atomic::swap(at, count, right);
    }
}

/// Adds `delta` to the open count of a word, unless that would take it below zero; returns whether it did.
#[inline(always)]
pub fn correct(at: *mut u64, delta: i32) -> bool {
    let word = Word(atomic::load(at));
    // A connection that opens or closes meanwhile moves the word: the next recount tries again.
    i64::from(word.open()) + i64::from(delta) >= 0
        && atomic::swap(at, word.0, word.0.wrapping_add(i64::from(delta) as u64))
}
