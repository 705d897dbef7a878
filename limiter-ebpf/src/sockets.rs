//! The begin of a connection: charge when it is established, adopt when it was
//! there before. Its end is in `release.rs`.
//!
//! The socket's storage remembers what was charged, and its state moves one
//! way: nothing, charged, released. So each happens once per socket, however
//! many generations of these programs are attached.

use core::{ffi::c_void, ptr};

use aya_ebpf::{helpers::generated::bpf_sk_storage_get, programs::SockOpsContext};
use limiter_common::{
    addr::Addr,
    map::{Charge, FailOpen, SourceKey},
    policy::{Policy, UNGUARDED},
    word::{ONE_OPEN, ONE_RESERVED},
};

use crate::{account, atomic, classes, clock, context, maps, netns, reservation, source, store, tcp_events};

/// `BPF_SK_STORAGE_GET_F_CREATE`.
const CREATE: u64 = 1;

/// A connection that is about to be charged.
pub struct Connection<'a> {
    /// The policy in force.
    pub policy: &'a Policy,
    /// The service id.
    pub service: u32,
    /// The local port.
    pub port: u16,
    /// The remote address.
    pub addr: Addr,
}

/// Charges a connection that a client has completed.
#[inline(always)]
pub fn charge(ctx: &SockOpsContext) {
    if !netns::is_event_ours(ctx) {
        return;
    }
    let Some(policy) = store::policy() else { return };
    let port = ctx.local_port() as u16;
    let service = store::service_of(policy, port);
    // A policy that does not guard the port may have come into force since the gate.
    if service == UNGUARDED && !reservation::is_held() {
        return;
    }
    let sk = context::socket_of_event(ctx);
    if sk.is_null() {
        return;
    }
    let connection = Connection { policy, service, port, addr: context::remote_addr(ctx) };
    let Some(storage) = create_storage(sk.cast()) else {
        return;
    };
    tcp_events::ask(ctx, tcp_events::STATE_FLAG);
    // What the gate judged is charged as it was judged, by one policy from port to limit.
    let key = if let Some(taken) = reservation::convert(&connection.addr, u32::from(port)) {
        let began = Charge::began(clock::seconds(clock::now_ns()));
        remember(storage, &taken.key, &connection, taken.class, taken.bits | began);
        taken.key
    } else if service == UNGUARDED {
        return;
    } else {
        account::fail_open(FailOpen::Ungated);
        count(storage, &connection);
        connection.key()
    };
    if let Some(source) = source::find(&key) {
        source.note_accepted(clock::seconds(clock::now_ns()));
    }
}

/// Charges a connection from before.
#[inline(always)]
pub fn adopt(socket: *mut c_void, connection: &Connection<'_>) {
    let Some(storage) = create_storage(socket) else {
        return;
    };
    count(storage, connection);
    if let Some(source) = source::find(&connection.key()) {
        source.note_accepted(clock::seconds(clock::precise_ns()));
    }
}

impl Connection<'_> {
    #[inline(always)]
    fn key(&self) -> SourceKey {
        SourceKey { addr: self.policy.source_of(self.addr), service: self.service }
    }
}

/// Returns the storage of a socket that was never charged; `None` for one that was, or if there is no memory.
#[inline(always)]
fn create_storage(socket: *mut c_void) -> Option<*mut Charge> {
    // SAFETY: the caller's socket is alive while the program runs.
    let storage = unsafe { bpf_sk_storage_get(charges(), socket, ptr::null_mut(), CREATE) }.cast::<Charge>();
    if storage.is_null() {
        account::fail_open(FailOpen::NoStorage);
        return None;
    }
    (atomic::load(state_of(storage)) == 0).then_some(storage)
}

/// Charges a connection that has no reservation.
#[inline(always)]
fn count(storage: *mut Charge, connection: &Connection<'_>) {
    let key = connection.key();
    let class = classes::of(connection.policy, connection.addr, connection.service);
    let Some(source) = source::find_or_create(&key) else {
        account::fail_open(FailOpen::SourcesFull);
        return;
    };
    // Reserve first: the entry can't be removed under a reservation.
    let word = source.word();
    if !source.reserve(word) {
        account::fail_open(FailOpen::Contention);
        return;
    }
    let in_total = connection.policy.counts_in_total(connection.service, class);
    let bits = if in_total { Charge::CHARGED | Charge::IN_TOTAL } else { Charge::CHARGED };
    if !remember(storage, &key, connection, class, bits) {
        source.take_off_word(ONE_RESERVED);
        return;
    }
    source.open_reserved();
    if in_total && let Some(total) = store::total(connection.service) {
        atomic::add(total, ONE_OPEN);
    }
}

/// Notes in the storage what the socket is charged with; returns whether this was the first to do so.
#[inline(always)]
fn remember(
    storage: *mut Charge,
    key: &SourceKey,
    connection: &Connection<'_>,
    class: u32,
    bits: u64,
) -> bool {
    // SAFETY: the storage lives as long as the socket; its state is 0, so nobody reads the rest.
    unsafe { (*storage).key = *key };
    // SAFETY: as above.
    unsafe { (*storage).class = class as u16 };
    // SAFETY: as above.
    unsafe { (*storage).port = connection.port };
    // SAFETY: as above.
    unsafe { (*storage).addr = connection.addr };
    let first = atomic::swap(state_of(storage), 0, bits);
    if first {
        add_to_class(key.service, class, 1);
    }
    first
}

#[inline(always)]
pub fn add_to_class(service: u32, class: u32, delta: u64) {
    if let Some(count) = store::class_connections(service, class) {
        atomic::add(count, delta);
    }
}

#[inline(always)]
pub fn state_of(storage: *mut Charge) -> *mut u64 {
    // SAFETY: a field of the storage; no access happens here.
    unsafe { &raw mut (*storage).state }
}

#[inline(always)]
pub fn charges() -> *mut c_void {
    (&raw const maps::CHARGES).cast_mut().cast()
}
