//! Does this ACK complete a handshake? Asked of the kernel's own tables, as it arrives and at the gate.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{
    EbpfContext,
    bindings::{bpf_sock, bpf_sock_tuple},
    helpers::generated::{
        bpf_sk_release, bpf_skc_lookup_tcp, bpf_skc_to_tcp_request_sock, bpf_tcp_check_syncookie,
    },
};
use limiter_common::{
    addr::{Addr, Family},
    packet::{Segment, Tcp},
};
use limiter_ebpf::opaque::opaque;

use crate::{context, globals, hook::Hook, packet::Frame};

/// `BPF_F_CURRENT_NETNS`: look in the network namespace of the packet.
const CURRENT_NETNS: u64 = u64::MAX;
/// Socket states, `include/net/tcp_states.h`.
pub const LISTEN: u32 = 10;
/// A request socket: SYN seen, ACK awaited.
const NEW_SYN_RECV: u32 = 12;
/// A socket made by TCP Fast Open whose handshake is not done.
pub const SYN_RECV: u32 = 3;
/// Lengths of the two tuples that the look-up takes.
const TUPLE_V4_LEN: u32 = 12;
const TUPLE_V6_LEN: u32 = 36;

/// Whose segment this is, as the kernel's tables say.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A request socket whose SYN-ACK this ACK answers.
    Request,
    /// A request socket, but the ACK is not for its SYN-ACK: forged or stray.
    Stray,
    /// A listener: the ACK may carry a SYN cookie.
    Listener,
    /// A connection, or nobody.
    Other,
}

/// A socket that was looked up and must be released.
struct Found(*mut bpf_sock);

impl Found {
    #[inline(always)]
    fn release(self) {
        // SAFETY: the look-up returned the reference, and it is released once.
        unsafe { bpf_sk_release(self.0.cast()) };
    }

    #[inline(always)]
    fn state(&self) -> u32 {
        // SAFETY: the reference is held, so the socket is alive.
        unsafe { (*self.0).state }
    }

    /// Returns whether `ack` acknowledges the SYN-ACK of this request socket.
    #[inline(always)]
    fn is_answered_by(&self, ack: u32) -> bool {
        let offset = globals::snt_isn_offset();
        if offset == 0 {
            return true;
        }
        // SAFETY: the reference is held; the helper returns null for anything but a request socket.
        let request = unsafe { bpf_skc_to_tcp_request_sock(self.0.cast()) };
        if request.is_null() {
            return false;
        }
        let isn = request.cast::<u8>().wrapping_add(offset as usize).cast::<u32>();
        // SAFETY: the verifier checks the offset against the type's member by name.
        let isn = unsafe { isn.read_volatile() };
        isn.wrapping_add(1) == ack
    }

    /// Returns whether the queue of half-open connections is as long as the backlog (`inet_csk_reqsk_queue_is_full`).
    #[inline(always)]
    fn has_full_syn_queue(&self) -> bool {
        let member = |offset| context::tcp_member::<u32>(self.0.cast(), offset);
        // Never "neither": the compiler would read a value that was not set, and the verifier refuses that.
        let queued = member(globals::syn_queue_offset()).unwrap_or(0);
        let most = member(globals::backlog_offset()).unwrap_or(u32::MAX);
        queued >= most
    }
}

#[inline(always)]
fn look_up(ctx: *mut c_void, family: Family, source: Addr, destination: Addr, tcp: &Tcp) -> Option<Found> {
    // Not zeroed: that is a call, whose frame takes 32 bytes of the stack on kernels before 6.8.
    let mut tuple = MaybeUninit::<bpf_sock_tuple>::uninit();
    let at = tuple.as_mut_ptr();
    // SAFETY: a field of the tuple above, of plain integers; none is read before it was written.
    let variants = unsafe { &mut (*at).__bindgen_anon_1 };
    let (sport, dport) = (tcp.source_port().to_be(), tcp.destination_port().to_be());
    let len = match family {
        Family::V4 => {
            (variants.ipv4.saddr, variants.ipv4.daddr) = (source.words_be[3], destination.words_be[3]);
            (variants.ipv4.sport, variants.ipv4.dport) = (sport, dport);
            TUPLE_V4_LEN
        }
        Family::V6 => {
            (variants.ipv6.saddr, variants.ipv6.daddr) =
                (opaque(source).words_be, opaque(destination).words_be);
            (variants.ipv6.sport, variants.ipv6.dport) = (sport, dport);
            TUPLE_V6_LEN
        }
    };
    // SAFETY: the variant that was written is as long as said, and the caller's context is one the helper takes.
    let sk = unsafe { bpf_skc_lookup_tcp(ctx, at, len, CURRENT_NETNS, 0) };
    (!sk.is_null()).then_some(Found(sk))
}

/// Returns whose segment this ACK is.
#[inline(always)]
pub fn owner(ctx: &impl EbpfContext, family: Family, source: Addr, destination: Addr, tcp: &Tcp) -> Owner {
    let Some(found) = look_up(ctx.as_ptr(), family, source, destination, tcp) else {
        return Owner::Other;
    };
    let owner = match found.state() {
        NEW_SYN_RECV if found.is_answered_by(tcp.ack()) => Owner::Request,
        NEW_SYN_RECV => Owner::Stray,
        LISTEN => Owner::Listener,
        _ => Owner::Other,
    };
    found.release();
    owner
}

/// Returns whether the ACK in this frame completes a handshake: it answers a
/// request socket, or carries a valid SYN cookie.
#[inline(always)]
pub fn completes(
    ctx: &impl EbpfContext,
    frame: &Frame<'_, impl Hook>,
    segment: &Segment,
    source: Addr,
    destination: Addr,
    tcp: &Tcp,
) -> bool {
    let Some(found) = look_up(ctx.as_ptr(), segment.family, source, destination, tcp) else {
        return false;
    };
    let completes = match found.state() {
        NEW_SYN_RECV => found.is_answered_by(tcp.ack()),
        LISTEN => has_valid_cookie(&found, frame, segment),
        _ => false,
    };
    found.release();
    completes
}

/// Returns whether the SYN queue of the listener that this SYN goes to is full.
#[inline(always)]
pub fn is_overflowing(
    ctx: &impl EbpfContext,
    family: Family,
    source: Addr,
    destination: Addr,
    tcp: &Tcp,
) -> bool {
    let Some(found) = look_up(ctx.as_ptr(), family, source, destination, tcp) else {
        return false;
    };
    let overflowing = found.state() == LISTEN && found.has_full_syn_queue();
    found.release();
    overflowing
}

#[inline(always)]
fn has_valid_cookie(listener: &Found, frame: &Frame<'_, impl Hook>, segment: &Segment) -> bool {
    let Some(tcp) = frame.at::<20>(segment.tcp) else {
        return false;
    };
    let (ip, ip_len): (*mut c_void, u32) = match segment.family {
        Family::V4 => match frame.at::<20>(segment.ip) {
            Some(ip) => (ip.cast(), 20),
            None => return false,
        },
        Family::V6 => match frame.at::<40>(segment.ip) {
            Some(ip) => (ip.cast(), 40),
            None => return false,
        },
    };
    // SAFETY: the reference to the listener is held, and both headers are inside the frame.
    unsafe { bpf_tcp_check_syncookie(listener.0.cast(), ip, ip_len, tcp.cast(), Tcp::LEN) == 0 }
}
