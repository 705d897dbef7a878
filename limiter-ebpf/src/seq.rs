//! What an iterator writes for its reader: one record after the other.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_seq_write;

use crate::context;

/// `struct bpf_iter_meta`, its first member.
#[repr(C)]
pub struct Meta {
    seq: *mut c_void,
}

/// Writes one record; a full buffer makes the kernel call again with the same element.
#[inline(always)]
pub fn write<T>(meta: *mut Meta, record: &T) -> i32 {
    // SAFETY: the first member of the iterator's metadata.
    let seq = context::read(unsafe { &raw const (*meta).seq });
    // SAFETY: `record` is that many bytes of our stack.
    let failed = unsafe {
        bpf_seq_write(seq.cast(), core::ptr::from_ref(record).cast_mut().cast(), size_of::<T>() as u32)
    };
    i32::from(failed != 0)
}
