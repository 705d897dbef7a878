//! What TCP tells `sock_ops` programs, and how they ask for it
//! (`include/uapi/linux/bpf.h`).

use aya_ebpf::programs::SockOpsContext;

/// This host has opened a connection.
pub const ACTIVE_ESTABLISHED: u32 = 4;
/// A client has opened a connection.
pub const PASSIVE_ESTABLISHED: u32 = 5;
/// The state of a connection changes, told to who asked by [`STATE_FLAG`].
pub const STATE: u32 = 10;
/// A round trip was measured, told to who asked by [`ROUND_TRIP_FLAG`].
pub const ROUND_TRIP: u32 = 12;

/// Asks for [`STATE`].
pub const STATE_FLAG: u32 = 1 << 2;
/// Asks for [`ROUND_TRIP`].
pub const ROUND_TRIP_FLAG: u32 = 1 << 3;

/// `TCP_CLOSE` (`include/net/tcp_states.h`).
pub const CLOSE: u32 = 7;

/// Asks to be told of more; each socket is asked for itself.
#[inline(always)]
pub fn ask(ctx: &SockOpsContext, flags: u32) {
    let _unsupported = ctx.set_cb_flags((ctx.cb_flags() | flags) as i32);
}

/// Asks to be told of less.
#[inline(always)]
pub fn ask_no_more(ctx: &SockOpsContext, flags: u32) {
    let _unsupported = ctx.set_cb_flags((ctx.cb_flags() & !flags) as i32);
}

/// Returns whether a [`STATE`] is the last one: TCP is done with the connection.
#[inline(always)]
pub fn is_close(ctx: &SockOpsContext) -> bool {
    ctx.arg(1) == CLOSE
}
