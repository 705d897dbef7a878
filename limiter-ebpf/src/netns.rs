//! Does a socket belong to the network namespace that limiter guards? The
//! programs on the cgroup and the tracepoints see every namespace of the host.

use aya_ebpf::{bindings::bpf_sock, helpers::generated::bpf_get_netns_cookie, programs::SockOpsContext};

use crate::{context, globals};

/// Returns whether the socket of a `sock_ops` event is ours.
#[inline(always)]
pub fn is_event_ours(ctx: &SockOpsContext) -> bool {
    let ours = globals::netns_cookie();
    // SAFETY: the context is that of the running program.
    ours == 0 || unsafe { bpf_get_netns_cookie(ctx.ops.cast()) } == ours
}

/// Returns whether a listener is ours. `bpf_get_netns_cookie` is not to be had
/// in `cgroup_skb` on 6.1: the cookie is read through the socket.
#[inline(always)]
pub fn is_listener_ours(sk: *mut bpf_sock) -> bool {
    let (ours, net, cookie) = (globals::netns_cookie(), globals::net_offset(), globals::net_cookie_offset());
    if ours == 0 || net == 0 || cookie == 0 {
        return true;
    }
    // A socket's namespace outlives the socket.
    context::tcp_member::<*const u8>(sk.cast(), net)
        .is_some_and(|net| context::read(net.wrapping_add(cookie as usize).cast::<u64>()) == ours)
}
