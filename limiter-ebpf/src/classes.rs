//! The class of an address: as noted a while ago, or by its longest prefix.

use limiter_common::{
    addr::Addr,
    map::{FailOpen, SourceKey},
    names,
    policy::{CLASS_ALLOW, CLASS_DEFAULT, Policy},
};
use limiter_ebpf::opaque::{bounded_class, opaque};

use crate::{account, atomic, globals, known, maps};

/// Returns the class of an address in the service of its source's key, as noted if it is. If it is not, and
/// the source may be known, it is then: addresses that are made up push nobody's note out.
#[inline(always)]
pub fn noted(policy: &Policy, addr: Addr, key: &SourceKey) -> u32 {
    if !policy.shortcuts.may_match(opaque(addr)) {
        return CLASS_DEFAULT;
    }
    let seed = globals::hash_seed();
    let hash = names::class_hash(addr.hash(seed), key.service);
    let Some(noted) = maps::CLASS_NOTES.get_ptr_mut(names::class_note(hash)) else {
        return by_range(policy, addr, key.service);
    };
    let note = policy.shortcuts.class_note(hash);
    if let Some(class) = note.class_in(atomic::load(noted)) {
        return bounded_class(class);
    }
    let class = by_range(policy, addr, key.service);
    if known::may_be(key.hash(seed)) {
        atomic::store(noted, note.of(class));
    }
    class
}

/// Returns the class of an address in a service, noted or not.
#[inline(always)]
pub fn of(policy: &Policy, addr: Addr, service: u32) -> u32 {
    if policy.shortcuts.may_match(opaque(addr)) { by_range(policy, addr, service) } else { CLASS_DEFAULT }
}

/// Counts that a policy has no prefixes where it should, and returns a class that passes. It never happens, and
/// as a function of its own takes nothing of its callers. Not marked as cold: the compiler would put it into
/// a section of its own, and aya leads calls there astray.
#[inline(never)]
fn in_doubt() -> u32 {
    account::fail_open(FailOpen::NoPolicy);
    CLASS_ALLOW
}

/// Returns the class that the longest prefix with an address in it has in a service.
#[inline(always)]
fn by_range(policy: &Policy, addr: Addr, service: u32) -> u32 {
    let Some(search) = policy.ranges.search(addr) else {
        return CLASS_DEFAULT;
    };
    let Some([page]) = maps::RANGES.get_value(policy.range_slot, &search.page) else {
        return in_doubt();
    };
    let class_of = page.class_of(&search);
    u32::from(class_of.class[service as usize & (names::SERVICES - 1)]) & (names::CLASSES as u32 - 1)
}
