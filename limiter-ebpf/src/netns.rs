//! Does a socket belong to the network namespace that limiter guards? The
//! programs on the cgroup and the tracepoints see every namespace of the host.

use aya_ebpf::{
    bindings::bpf_sock,
    helpers::generated::{bpf_get_netns_cookie, bpf_skc_to_tcp_sock},
    programs::SockOpsContext,
};

use crate::globals;

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
    // SAFETY: the kernel holds the socket; the helper returns null for anything but a full TCP socket.
    let tcp_sock = unsafe { bpf_skc_to_tcp_sock(sk.cast()) };
    if tcp_sock.is_null() {
        return false;
    }
    let net = tcp_sock.cast::<u8>().wrapping_add(net as usize).cast::<*const u8>();
    // SAFETY: the verifier checks the offset against the type's member by name.
    let net = unsafe { net.read_volatile() };
    let cookie = net.wrapping_add(cookie as usize).cast::<u64>();
    // SAFETY: as above; a socket's namespace outlives the socket.
    unsafe { cookie.read_volatile() == ours }
}
