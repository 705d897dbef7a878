//! The class of an address: as noted a while ago, or by its longest prefix.

use core::ptr::NonNull;

use aya_ebpf::helpers::generated::bpf_map_lookup_elem;
use limiter_common::{
    addr::Addr,
    map::{ClassOf, SourceKey},
    names,
    policy::{CLASS_DEFAULT, Policy},
};
use limiter_ebpf::opaque::{bounded_class, opaque};

use crate::{atomic, globals, known, maps};

/// Bits of an address key in a trie.
const ADDR_BITS: u32 = 128;

/// A trie key, aligned as the verifier wants it on the stack.
#[repr(C)]
struct TrieKey {
    prefix_len: u32,
    addr: Addr,
}

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
        return in_trie(policy, addr, key.service);
    };
    let note = policy.shortcuts.class_note(hash);
    if let Some(class) = note.class_in(atomic::load(noted)) {
        return bounded_class(class);
    }
    let class = in_trie(policy, addr, key.service);
    if known::may_be(key.hash(seed)) {
        atomic::store(noted, note.of(class));
    }
    class
}

/// Returns the class of an address in a service, noted or not.
#[inline(always)]
pub fn of(policy: &Policy, addr: Addr, service: u32) -> u32 {
    if policy.shortcuts.may_match(opaque(addr)) { in_trie(policy, addr, service) } else { CLASS_DEFAULT }
}

/// Returns the class that the longest prefix with an address in it has in a service.
#[inline(always)]
fn in_trie(policy: &Policy, addr: Addr, service: u32) -> u32 {
    let Some(trie) = maps::TRIES.get(policy.trie_slot) else {
        return CLASS_DEFAULT;
    };
    let key = TrieKey { prefix_len: ADDR_BITS, addr };
    // SAFETY: `trie` is an inner map that the outer look-up returned, and `key` has the layout of its keys.
    let found =
        unsafe { bpf_map_lookup_elem(core::ptr::from_ref(trie).cast_mut().cast(), (&raw const key).cast()) };
    let Some(class_of) = NonNull::new(found.cast::<ClassOf>()) else {
        return CLASS_DEFAULT;
    };
    // SAFETY: the value lives until the program ends (RCU), and the daemon does
    // not write to a trie that a policy names.
    let class_of = unsafe { class_of.as_ref() };
    u32::from(class_of.class[service as usize & (names::SERVICES - 1)]) & (names::CLASSES as u32 - 1)
}
