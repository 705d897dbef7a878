//! How connections end: what tells a probe from a client, counted per source.
//!
//! Evidence for people, read by `limiterctl suggest`; no verdict looks at it.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_skc_to_tcp_sock;
use limiter_common::{ending::BRIEF_S, map::Charge};

use crate::{clock, globals, store::SourceRef};

/// Bytes received of a client that sent none: `tcp_sock.bytes_received` counts the FIN as one (`tcp_rcv_nxt_update`).
const BYTES_OF_A_FIN: u64 = 1;

/// Notes the end of a charged connection; `bits` is the state of its charge.
///
/// While it is charged: an idle entry may be removed at any moment.
#[inline(always)]
pub fn note(sk: *mut c_void, source: &SourceRef, bits: u64) {
    let now_s = clock::seconds(clock::precise_ns());
    let brief = Charge::age_s(bits, now_s).is_some_and(|age_s| age_s <= BRIEF_S);
    source.note_end(is_silent(sk), brief);
}

/// Returns whether the client never sent anything; false where the kernel does not tell.
#[inline(always)]
fn is_silent(sk: *mut c_void) -> bool {
    let offset = globals::bytes_received_offset();
    if offset == 0 {
        return false;
    }
    // SAFETY: the tracepoint hands over a live socket; the helper returns null for anything but a full TCP socket.
    let tcp = unsafe { bpf_skc_to_tcp_sock(sk) };
    if tcp.is_null() {
        return false;
    }
    let received = tcp.cast::<u8>().wrapping_add(offset as usize).cast::<u64>();
    // SAFETY: the verifier checks the offset against the type's member by name.
    let received = unsafe { received.read_volatile() };
    received <= BYTES_OF_A_FIN
}
