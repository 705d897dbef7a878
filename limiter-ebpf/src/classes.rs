//! The class of an address: as noted in the entry of its source, or by its longest prefix.

use core::ptr::NonNull;

use aya_ebpf::helpers::generated::bpf_map_lookup_elem;
use limiter_common::{
    addr::Addr,
    map::ClassOf,
    names,
    policy::{CLASS_DEFAULT, Policy},
};
use limiter_ebpf::opaque::opaque;

use crate::{atomic, maps, source::SourceRef};

/// Bits of an address key in a trie.
const ADDR_BITS: u32 = 128;

/// A trie key, aligned as the verifier wants it on the stack.
#[repr(C)]
struct TrieKey {
    prefix_len: u32,
    addr: Addr,
}

/// Returns the class of an address in a service.
#[inline(always)]
pub fn of(policy: &Policy, addr: Addr, service: u32) -> u32 {
    if !policy.shortcuts.may_match(opaque(addr)) {
        return CLASS_DEFAULT;
    }
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

/// Returns the class of an address in a service, as noted in the entry of its source if it is.
/// `NOTE` notes it there if it is not.
#[inline(always)]
pub fn of_source<const NOTE: bool>(
    policy: &Policy,
    addr: Addr,
    service: u32,
    source: Option<SourceRef>,
) -> u32 {
    let Some(source) = source else {
        return of(policy, addr, service);
    };
    let Some(note) = policy.shortcuts.class_note(policy.source_of(opaque(addr)), source.hash()) else {
        return of(policy, addr, service);
    };
    if let Some(class) = note.class_in(atomic::load(source.class_note())) {
        return class;
    }
    let class = of(policy, addr, service);
    if NOTE {
        atomic::store(source.class_note(), note.of(class));
    }
    class
}
