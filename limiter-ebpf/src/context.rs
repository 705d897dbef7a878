//! Fields of program contexts and of sockets, each one access to the verifier,
//! which turns it into the right load for the kernel it runs on.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::bpf_sock,
    helpers::generated::bpf_skc_to_tcp_sock,
    programs::{SkBuffContext, SockOpsContext},
};
use limiter_common::addr::Addr;

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

/// Returns the remote address of a TCP event; it is v4-mapped for IPv4, on dual-stack listeners too.
#[inline(always)]
pub fn remote_addr(ctx: &SockOpsContext) -> Addr {
    // SAFETY: a field of the context.
    addr_at(unsafe { (&raw const (*ctx.ops).remote_ip6).cast() })
}

/// Returns the local address of a TCP event, as [`remote_addr`] does the other.
#[inline(always)]
pub fn local_addr(ctx: &SockOpsContext) -> Addr {
    // SAFETY: a field of the context.
    addr_at(unsafe { (&raw const (*ctx.ops).local_ip6).cast() })
}

/// Reads an address: the verifier admits four loads of one word.
#[inline(always)]
fn addr_at(words: *const u32) -> Addr {
    let word = |n: usize| read(words.wrapping_add(n));
    Addr { words_be: [word(0), word(1), word(2), word(3)] }
}

/// Reads a member of a TCP socket; `None` of any other socket, and where the kernel has no such
/// member: its offset is 0 then.
#[inline(always)]
pub fn tcp_member<T: Copy>(sk: *mut c_void, offset: u32) -> Option<T> {
    if offset == 0 {
        return None;
    }
    // SAFETY: the kernel holds the socket; the helper returns null for anything but a full TCP socket.
    let tcp = unsafe { bpf_skc_to_tcp_sock(sk) };
    if tcp.is_null() {
        return None;
    }
    // The verifier checks the offset against the type's member by name.
    Some(read(tcp.cast::<u8>().wrapping_add(offset as usize).cast()))
}

/// Reads a field of an iterator's context, or of what it hands over.
#[inline(always)]
pub fn read<T: Copy>(field: *const T) -> T {
    // SAFETY: the verifier knows the type behind the pointer and checks the access;
    // volatile keeps the compiler from repeating it.
    unsafe { field.read_volatile() }
}
