//! Typed access to the maps: the policy, sources, totals. Classes are in `classes.rs`.
//!
//! A source's entry is created by whoever holds proof of a handshake and removed
//! only after its word went from idle to a tombstone by compare-and-swap. Its
//! tag tells an entry from one that was recycled for another key (`word.rs`).

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_map_delete_elem, bpf_map_update_elem};
use limiter_common::{
    addr::Addr,
    local,
    map::{FailOpen, Source, SourceKey, Total},
    names,
    policy::{Policy, UNGUARDED},
    word::Word,
};

use limiter_ebpf::opaque::{self, bounded};

use crate::{account, atomic, clock, facts::Ruling, globals, maps};

/// `BPF_NOEXIST`: create, never overwrite.
const NOEXIST: u64 = 1;
/// What the kernel answers then if the key is there.
const EEXIST: i64 = -17;

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
    let Some(control) = maps::CONTROL.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: a field of the value; no access happens here.
    let fallback_at_ns = atomic::load(unsafe { &raw const (*control).fallback_at_ns });
    // Not the coarse clock: iterators, which do not have it, read policies too.
    u32::from(fallback_at_ns != 0 && clock::precise_ns() >= fallback_at_ns)
}

/// Returns the id of the service that a port may belong to; 0 for a port that nobody guards.
#[inline(always)]
pub fn service_hint(port: u16) -> u32 {
    let slot = 0;
    maps::PORTS.get(slot).map_or(UNGUARDED, |ports| u32::from(ports.service[usize::from(bounded(port))]))
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

#[inline(always)]
fn correct(at: *mut u64, delta: i32) {
    let word = Word(atomic::load(at));
    if i64::from(word.open()) + i64::from(delta) >= 0 {
        // A connection that opens or closes meanwhile moves the word: the next recount tries again.
        atomic::swap(at, word.0, word.0.wrapping_add(i64::from(delta) as u64));
    }
}

/// A source's entry, found under its key.
#[derive(Clone, Copy)]
pub struct SourceRef {
    at: *mut Source,
    hash: u64,
}

/// Returns the entry of a source, unless it is being removed.
#[inline(always)]
pub fn source(key: &SourceKey) -> Option<SourceRef> {
    let hash = key.hash(globals::hash_seed());
    let at = maps::SOURCES.get_ptr_mut(key)?;
    let source = SourceRef { at, hash };
    source.word().belongs_to(hash).then_some(source)
}

/// Creates the entry of a source that has none; returns whether there is one then.
#[inline(always)]
pub fn create_source(key: &SourceKey) -> bool {
    let zero = opaque::zero();
    let fresh = Source {
        word: Word::idle(key.hash(globals::hash_seed())),
        tat_ns: zero,
        accepted: zero as u32,
        refused: zero as u32,
        accepted_at_s: zero as u32,
        over_limit_at_s: zero as u32,
        silent: zero as u32,
        brief: zero as u32,
        class_note: zero,
    };
    // SAFETY: key and value have the layout of the map's.
    let result = unsafe {
        bpf_map_update_elem(sources(), core::ptr::from_ref(key).cast(), (&raw const fresh).cast(), NOEXIST)
    };
    // Whoever comes second finds what the first one created.
    result == 0 || result == EEXIST
}

/// Returns the entry of a source, created if need be; `None` if the map is full
/// or the entry is being removed just now.
#[inline(always)]
pub fn source_or_create(key: &SourceKey) -> Option<SourceRef> {
    if let Some(source) = source(key) {
        return Some(source);
    }
    create_source(key);
    source(key)
}

/// Removes the entry of a source if it holds nothing; returns whether it did.
#[inline(always)]
pub fn remove_if_idle(key: &SourceKey, source: SourceRef) -> bool {
    let word = source.word();
    if !word.is_idle() || !source.swap_word(word, word.tombstone()) {
        return false;
    }
    // SAFETY: the key has the layout of the map's. The tombstone makes this CPU the only one that removes it.
    unsafe { bpf_map_delete_elem(sources(), core::ptr::from_ref(key).cast()) };
    true
}

#[inline(always)]
fn sources() -> *mut c_void {
    (&raw const maps::SOURCES).cast_mut().cast()
}

impl SourceRef {
    /// Returns the word as it is at this moment.
    #[inline(always)]
    pub fn word(&self) -> Word {
        Word(atomic::load(self.at.cast()))
    }

    /// Returns whether the entry still is this source's.
    #[inline(always)]
    pub fn is_alive(&self, word: Word) -> bool {
        word.belongs_to(self.hash)
    }

    /// Replaces the word if it is still `expected`.
    #[inline(always)]
    pub fn swap_word(&self, expected: Word, new: Word) -> bool {
        atomic::swap(self.at.cast(), expected.0, new.0)
    }

    /// Adds to the word. Only for a holder of an open or reserved connection:
    /// while there is one, the entry can't be removed.
    #[inline(always)]
    pub fn add_to_word(&self, delta: u64) {
        atomic::add(self.at.cast(), delta);
    }

    /// Adds `delta` to the open count, unless that would take it below zero.
    #[inline(always)]
    pub fn correct(&self, delta: i32) {
        correct(self.at.cast(), delta);
    }

    /// Returns the cell of the arrival time.
    #[inline(always)]
    pub fn tat(&self) -> *mut u64 {
        // SAFETY: a field of the entry.
        unsafe { &raw mut (*self.at).tat_ns }
    }

    /// Returns the hash of the source.
    #[inline(always)]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Returns the cell of the noted class.
    #[inline(always)]
    pub fn class_note(&self) -> *mut u64 {
        // SAFETY: a field of the entry.
        unsafe { &raw mut (*self.at).class_note }
    }

    /// Returns whether a connection of the source was ever accepted.
    #[inline(always)]
    pub fn is_proven(&self) -> bool {
        // SAFETY: a field of the entry.
        atomic::load_u32(unsafe { &raw const (*self.at).accepted }) != 0
    }

    /// Counts an accepted connection.
    #[inline(always)]
    pub fn note_accepted(&self, second: u32) {
        // SAFETY: a field of the entry.
        atomic::add_u32(unsafe { &raw mut (*self.at).accepted }, 1);
        // SAFETY: a field of the entry. All writers write about the same time.
        atomic::store_u32(unsafe { &raw mut (*self.at).accepted_at_s }, second);
    }

    /// Counts the end of a connection; `silent`: the client sent nothing, `brief`: it did not last.
    #[inline(always)]
    pub fn note_end(&self, silent: bool, brief: bool) {
        // SAFETY: a field of the entry.
        atomic::add_u32(unsafe { &raw mut (*self.at).silent }, u32::from(silent));
        // SAFETY: a field of the entry.
        atomic::add_u32(unsafe { &raw mut (*self.at).brief }, u32::from(brief));
    }

    /// Counts a connection that was refused, or would have been.
    #[inline(always)]
    pub fn note_refused(&self, ruling: Ruling) {
        // SAFETY: a field of the entry.
        atomic::add_u32(unsafe { &raw mut (*self.at).refused }, 1);
        if ruling.verdict.is_over_own_limit() {
            let second = clock::seconds(ruling.at_ns);
            // SAFETY: a field of the entry. All writers write about the same time.
            atomic::store_u32(unsafe { &raw mut (*self.at).over_limit_at_s }, second);
        }
    }
}
