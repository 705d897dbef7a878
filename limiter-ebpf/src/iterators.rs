//! Iterators that the daemon reads: `adopt` charges sockets from before,
//! `rekey` charges sockets to whom a changed policy says, `recount` counts what
//! there is, and `sources` writes it, as records of `event.rs`.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_skc_to_tcp_sock};
use limiter_common::{
    addr::Addr,
    event::SourceRecord,
    map::{Charge, Source, SourceKey},
    policy::UNGUARDED,
};
use limiter_ebpf::seq::{self, Meta};

use crate::{context, globals, recount, rekey, sockets, sockets::Connection, store};

/// States without a connection of its own: `TCP_SYN_RECV`, `TCP_TIME_WAIT`,
/// `TCP_CLOSE`, `TCP_LISTEN`, `TCP_NEW_SYN_RECV` (`include/net/tcp_states.h`).
const NO_CONNECTION: u32 = 1 << 3 | 1 << 6 | 1 << 7 | 1 << 10 | 1 << 12;

/// Context of `iter/tcp`.
#[repr(C)]
pub struct TcpContext {
    meta: *mut Meta,
    sk: *mut c_void,
}

/// Context of `iter/bpf_sk_storage_map`.
#[repr(C)]
pub struct StorageContext {
    meta: *mut Meta,
    map: *mut c_void,
    sk: *mut c_void,
    value: *mut Charge,
}

/// Context of `iter/bpf_map_elem`.
#[repr(C)]
pub struct ElementContext {
    meta: *mut Meta,
    map: *mut c_void,
    key: *mut SourceKey,
    value: *mut Source,
}

/// Charges the sockets of guarded ports that are not charged yet.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/tcp")]
pub fn adopt(ctx: *mut TcpContext) -> i32 {
    adopt_one(ctx);
    0
}

#[inline(always)]
fn adopt_one(ctx: *mut TcpContext) -> Option<()> {
    // SAFETY: a field of the context.
    let common = context::read(unsafe { &raw const (*ctx).sk });
    if common.is_null() {
        return None;
    }
    let member = |offset: u32| common.cast::<u8>().wrapping_add(offset as usize);
    // SAFETY: the verifier checks the offset against the type's member by name.
    let state = unsafe { member(globals::state_offset()).read_volatile() };
    if 1 << u32::from(state & 31) & NO_CONNECTION != 0 {
        return None;
    }
    // SAFETY: as above.
    let port = unsafe { member(globals::num_offset()).cast::<u16>().read_volatile() };
    let policy = store::policy()?;
    let service = store::service_of(policy, port);
    if service == UNGUARDED {
        return None;
    }
    let mut addr = Addr::default();
    let remote = member(globals::v6_daddr_offset());
    // SAFETY: 16 bytes of our stack, filled from a live socket; a fault leaves zeroes.
    unsafe { bpf_probe_read_kernel((&raw mut addr).cast(), size_of::<Addr>() as u32, remote.cast()) };
    // SAFETY: the iterator holds the socket; the helper returns null for anything but a full TCP socket.
    let socket = unsafe { bpf_skc_to_tcp_sock(common) };
    if !socket.is_null() {
        sockets::adopt(socket.cast(), &Connection { policy, service, port, addr });
    }
    Some(())
}

/// Charges every charged socket to the source and service that the policy in force says.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/bpf_sk_storage_map")]
pub fn rekey(ctx: *mut StorageContext) -> i32 {
    // SAFETY: a field of the context.
    let value = context::read(unsafe { &raw const (*ctx).value });
    if !value.is_null() {
        rekey::run(value);
    }
    0
}

/// Counts every charged socket, and writes those of nobody.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/bpf_sk_storage_map")]
pub fn recount(ctx: *mut StorageContext) -> i32 {
    // SAFETY: a field of the context.
    let value = context::read(unsafe { &raw const (*ctx).value });
    if value.is_null() {
        return 0;
    }
    // SAFETY: a field of the context.
    recount::run(context::read(unsafe { &raw const (*ctx).meta }), value)
}

/// Writes every known source.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/bpf_map_elem")]
pub fn sources(ctx: *mut ElementContext) -> i32 {
    // SAFETY: a field of the context.
    let key = context::read(unsafe { &raw const (*ctx).key });
    // SAFETY: a field of the context.
    let value = context::read(unsafe { &raw const (*ctx).value });
    if key.is_null() || value.is_null() {
        return 0;
    }
    // SAFETY: a live key of the map, as large as the map says.
    let key = unsafe { key.read_volatile() };
    // SAFETY: a live value of the map; counts may tear between fields, not within one.
    let source = unsafe { value.read_volatile() };
    // SAFETY: a field of the context.
    seq::write(context::read(unsafe { &raw const (*ctx).meta }), &SourceRecord { key, pad: 0, source })
}
