//! Fields of program contexts, each one access to the verifier, which turns it
//! into the right load for the kernel it runs on.

use aya_ebpf::{
    bindings::bpf_sock,
    programs::{SkBuffContext, SockOpsContext},
};

/// Returns the socket that a segment is for, or null.
#[inline(always)]
pub fn socket_of_segment(ctx: &SkBuffContext) -> *mut bpf_sock {
    // SAFETY: the context is that of the running program.
    let socket = unsafe { &raw const (*ctx.skb.skb).__bindgen_anon_2 };
    // SAFETY: as above; the union holds nothing but that pointer.
    unsafe { socket.cast::<*mut bpf_sock>().read() }
}

/// Returns the socket of a TCP event, or null.
#[inline(always)]
pub fn socket_of_event(ctx: &SockOpsContext) -> *mut bpf_sock {
    // SAFETY: the context is that of the running program.
    let socket = unsafe { &raw const (*ctx.ops).__bindgen_anon_2 };
    // SAFETY: as above; the union holds nothing but that pointer.
    unsafe { socket.cast::<*mut bpf_sock>().read() }
}

/// Reads a field of an iterator's context, or of what it hands over.
#[inline(always)]
pub fn read<T: Copy>(field: *const T) -> T {
    // SAFETY: the verifier knows the type behind the pointer and checks the access;
    // volatile keeps the compiler from repeating it.
    unsafe { field.read_volatile() }
}
