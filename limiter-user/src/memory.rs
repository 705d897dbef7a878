//! Memory of the process: what it took for a moment goes back to the kernel.
#![expect(unsafe_code, reason = "the C library's allocator has no safe interface")]

/// Bytes from which an allocation is a mapping of its own. The C library's first choice, which it
/// raises up to 32 MiB as such mappings are freed.
#[cfg(target_env = "gnu")]
const APART: libc::c_int = 128 << 10;

/// Keeps large buffers out of the heap for good: those of a recount of 100,000 connections would
/// stay in it, with holes between them.
pub(crate) fn keep_large_apart() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer; a number that the allocator does not like changes nothing.
    let _accepted = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, APART) };
}

/// Hands free memory back to the kernel: that of the kernel's type information, once it is read, and
/// that of a configuration, of which there is the text, what it says, what it means and what it is made
/// into, of the old one and the new.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer; it locks the allocator's arenas itself.
    let _gave_something = unsafe { libc::malloc_trim(0) };
}
