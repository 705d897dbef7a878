//! Memory of the process: what its start took and nobody needs any more.
#![expect(unsafe_code, reason = "the C library's allocator has no safe interface")]

/// Hands free memory back to the kernel. The kernel's type information is tens of megabytes
/// once it is read, and the allocator would keep them for a daemon that never needs so much again.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer; it locks the allocator's arenas itself.
    let _gave_something = unsafe { libc::malloc_trim(0) };
}
