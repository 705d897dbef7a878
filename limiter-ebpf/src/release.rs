//! The end of a connection: release when the kernel destroys its socket.
//!
//! Two tell of it, and who comes first releases. `tcp_destroy_sock` tells of
//! every socket; but a kernel does not run a tracing program wherever the
//! tracepoint is met (not on top of the same program, and one was seen that does
//! not in interrupts of process 1). TCP itself tells, through `sock_ops`, when a
//! connection is closed whose process has let go of it: its socket is destroyed
//! in the same breath.

use core::{ffi::c_void, ptr};

use aya_ebpf::{helpers::generated::bpf_sk_storage_get, programs::SockOpsContext};
use limiter_common::{map::Charge, word::ONE_OPEN};

use crate::{atomic, context, endings, globals, sockets, source, source::SourceRef, store, tcp_events};

/// Bit of `sock.sk_flags`: no process has the socket any more (`SOCK_DEAD`, `include/net/sock.h`).
const DEAD: u64 = 1;
/// Compare-and-swaps on a socket's storage before giving up: a release and a move can meet, no more.
const ATTEMPTS: u32 = 4;

/// Releases a connection that is closed and that no process holds. One that a process holds stays
/// charged: its socket lives on.
#[inline(always)]
pub fn follow(ctx: &SockOpsContext) {
    if !tcp_events::is_close(ctx) {
        return;
    }
    let sk = context::socket_of_event(ctx);
    if !sk.is_null() && is_dead(sk.cast()) {
        run(sk.cast());
    }
}

/// Releases the connection of a socket, whatever the policy says by now.
#[inline(always)]
pub fn run(sk: *mut c_void) {
    // SAFETY: the caller's socket is alive; without the create flag nothing is made.
    let storage = unsafe { bpf_sk_storage_get(sockets::charges(), sk, ptr::null_mut(), 0) }.cast::<Charge>();
    if storage.is_null() {
        return;
    }
    let state = sockets::state_of(storage);
    let mut attempt = 0;
    while attempt < ATTEMPTS {
        attempt += 1;
        let bits = atomic::load(state);
        if bits & Charge::CHARGED == 0 {
            return;
        }
        // Who moves a charge takes it off itself once it finds this (`rekey.rs`).
        let moving = bits & Charge::MOVING;
        if !atomic::swap(state, bits, Charge::RELEASED | moving) {
            continue;
        }
        if moving == 0 {
            // SAFETY: the storage lives as long as the socket; nobody writes to one that is released.
            let charge = unsafe { storage.read_volatile() };
            take_off(&charge, bits, |source| endings::note(sk, source, bits));
        }
        return;
    }
}

/// Takes a connection off everything that `bits` say it is charged to; `before` sees its source
/// while the connection still counts.
#[inline(always)]
pub fn take_off(charge: &Charge, bits: u64, before: impl FnOnce(&SourceRef)) {
    if let Some(source) = source::find(&charge.key) {
        before(&source);
        source.take_off_word(ONE_OPEN);
    }
    if bits & Charge::IN_TOTAL != 0
        && let Some(total) = store::total(charge.key.service)
    {
        atomic::add(total, ONE_OPEN.wrapping_neg());
    }
    sockets::add_to_class(charge.key.service, u32::from(charge.class), 1_u64.wrapping_neg());
}

/// Returns whether no process has the socket any more; false where the kernel does not tell.
#[inline(always)]
fn is_dead(sk: *mut c_void) -> bool {
    context::tcp_member::<u64>(sk, globals::flags_offset()).is_some_and(|flags| flags & DEAD != 0)
}
