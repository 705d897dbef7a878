//! A source's entry, and what its words may become.
//!
//! It is created by whoever holds proof of a handshake and removed only after
//! its word went from idle to a tombstone by compare-and-swap. Its tag tells an
//! entry from one that was recycled for another key (`word.rs`).

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_map_delete_elem, bpf_map_update_elem};
use limiter_common::{
    map::{Living, Source, SourceKey},
    word::{RESERVED_TO_OPEN, Word},
};
use limiter_ebpf::opaque;

use crate::{atomic, bounds, clock, facts::Ruling, globals, known, maps, store};

/// `BPF_NOEXIST`: create, never overwrite.
const NOEXIST: u64 = 1;
/// What the kernel answers then if the key is there.
const EEXIST: i64 = -17;

/// A source's entry, found under its key.
#[derive(Clone, Copy)]
pub struct SourceRef {
    at: *mut Source,
    hash: u64,
}

/// Returns the entry of a source, unless it is being removed.
#[inline(always)]
pub fn find(key: &SourceKey) -> Option<SourceRef> {
    let hash = key.hash(globals::hash_seed());
    if !known::may_be(hash) {
        return None;
    }
    let at = maps::SOURCES.get_ptr_mut(key)?;
    let source = SourceRef { at, hash };
    source.word().belongs_to(hash).then_some(source)
}

/// Creates the entry of a source that has none; returns whether there is one then.
#[inline(always)]
pub fn create(key: &SourceKey) -> bool {
    let zero = opaque::zero();
    let hash = key.hash(globals::hash_seed());
    let fresh = Source {
        word: Word::idle(hash),
        tat_ns: zero,
        accepted: zero as u32,
        refused: zero as u32,
        accepted_at_s: zero as u32,
        over_limit_at_s: zero as u32,
        silent: zero as u32,
        brief: zero as u32,
        living: Living { count: zero as u32, recount: zero as u16, class: zero as u16 },
    };
    known::add(hash);
    // SAFETY: key and value have the layout of the map's.
    let result = unsafe {
        bpf_map_update_elem(sources(), core::ptr::from_ref(key).cast(), (&raw const fresh).cast(), NOEXIST)
    };
    if result != 0 {
        known::remove(hash);
    }
    // Whoever comes second finds what the first one created.
    result == 0 || result == EEXIST
}

/// Returns the entry of a source, created if need be; `None` if the map is full
/// or the entry is being removed just now.
#[inline(always)]
pub fn find_or_create(key: &SourceKey) -> Option<SourceRef> {
    if let Some(source) = find(key) {
        return Some(source);
    }
    create(key);
    find(key)
}

/// Removes the entry of a source if it holds nothing; returns whether it did.
#[inline(always)]
pub fn remove_if_idle(key: &SourceKey, source: SourceRef) -> bool {
    let word = source.word();
    if !word.is_idle() || !source.swap_word(word, word.tombstone()) {
        return false;
    }
    // SAFETY: the key has the layout of the map's. The tombstone makes this CPU the only one that removes it.
    let failed = unsafe { bpf_map_delete_elem(sources(), core::ptr::from_ref(key).cast()) };
    if failed == 0 {
        known::remove(source.hash);
    }
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

    /// Replaces the word if it is still `expected`.
    #[inline(always)]
    fn swap_word(&self, expected: Word, new: Word) -> bool {
        atomic::swap(self.at.cast(), expected.0, new.0)
    }

    /// Reserves one connection if the word is still `expected`, and the entry this source's.
    #[inline(always)]
    pub fn reserve(&self, expected: Word) -> bool {
        if !expected.belongs_to(self.hash) {
            return false;
        }
        bounds::add_held(self.hash);
        let did = self.swap_word(expected, expected.reserve());
        if !did {
            bounds::take_back_held(self.hash);
        }
        did
    }

    /// Makes a reserved connection an open one. Only for its holder: while there is one, the entry
    /// can't be removed.
    #[inline(always)]
    pub fn open_reserved(&self) {
        self.add_to_word(RESERVED_TO_OPEN);
    }

    #[inline(always)]
    fn add_to_word(&self, delta: u64) {
        atomic::add(self.at.cast(), delta);
    }

    /// Takes one connection off the word, open or reserved as `delta` says. Only for its holder.
    #[inline(always)]
    pub fn take_off_word(&self, delta: u64) {
        self.add_to_word(delta.wrapping_neg());
        bounds::take_off_held(self.hash);
    }

    /// Adds `delta` to the open count, unless that would take it below zero.
    #[inline(always)]
    pub fn correct(&self, delta: i32) {
        if store::correct(self.at.cast(), delta) {
            bounds::correct_held(self.hash, delta);
        }
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

    /// Counts one living socket of a class, found by a recount; `is_tighter` says whether the limit of that
    /// class is lower than that of another.
    #[inline(always)]
    pub fn count_living(&self, recount: u16, class: u16, is_tighter: impl FnOnce(u16) -> bool) {
        // SAFETY: a field of the entry; no access happens here.
        let at = unsafe { &raw mut (*self.at).living };
        // SAFETY: a field of a live entry.
        let living = unsafe { at.read_volatile() };
        // SAFETY: as above, and nobody else writes it: there is one recount at a time.
        unsafe { at.write_volatile(living.and_one(recount, class, is_tighter)) };
    }

    /// Returns how many connections were refused, or would have been.
    #[inline(always)]
    pub fn refused(&self) -> u32 {
        // SAFETY: a field of the entry.
        atomic::load_u32(unsafe { &raw const (*self.at).refused })
    }

    /// Counts connections that were refused.
    #[inline(always)]
    pub fn add_refused(&self, count: u32) {
        // SAFETY: a field of the entry.
        atomic::add_u32(unsafe { &raw mut (*self.at).refused }, count);
    }

    /// Counts a connection that was refused, or would have been, and when.
    #[inline(always)]
    pub fn note_refused(&self, ruling: Ruling) {
        self.add_refused(1);
        if ruling.verdict.is_over_own_limit() {
            // SAFETY: a field of the entry; no access happens here.
            let over_limit_at_s = unsafe { &raw mut (*self.at).over_limit_at_s };
            if clock::is_past(atomic::load_u32(over_limit_at_s), ruling.at_ns) {
                // All writers write about the same time.
                atomic::store_u32(over_limit_at_s, clock::seconds(ruling.at_ns));
            }
        }
    }
}
