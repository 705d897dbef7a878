//! How connections end: what tells a probe from a client, counted per source.
//!
//! Evidence for people, read by `limiterctl suggest`; no verdict looks at it.

use core::ffi::c_void;

use limiter_common::{ending::BRIEF_S, map::Charge};

use crate::{clock, context, globals, source::SourceRef};

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
    context::tcp_member::<u64>(sk, globals::bytes_received_offset())
        .is_some_and(|received| received <= BYTES_OF_A_FIN)
}
