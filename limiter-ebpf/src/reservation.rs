//! The reservation of the segment in hand, one per CPU.
//!
//! The gate notes it, the charge that follows in the same softirq call turns
//! it into an open connection. If no charge follows, the kernel has dropped
//! the segment: `kfree_skb` on the same CPU, or at the latest the next segment
//! at the gate, gives it back. A sequence number in the state makes each
//! reservation be taken exactly once, whoever comes first.

use limiter_common::{
    addr::Addr,
    map::{Charge, Reservation, SourceKey},
    word::{ONE_RESERVED, RESERVED_TO_OPEN},
};

use crate::{atomic, claims, maps, source, store};

/// Bits of the state below the sequence number.
const SEQUENCE_SHIFT: u32 = 8;
/// The bits that say what is reserved.
const BITS: u64 = (1 << SEQUENCE_SHIFT) - 1;
/// No bits: nothing is reserved.
const NOTHING: u64 = 0;

/// What was reserved, as the charge takes it over.
#[derive(Clone, Copy)]
pub struct Taken {
    /// Whom it was reserved for.
    pub key: SourceKey,
    /// The class of the source.
    pub class: u32,
    /// Sum of [`Charge::CHARGED`] and [`Charge::IN_TOTAL`].
    pub bits: u64,
}

/// Notes what the segment in hand has reserved; the state follows from `in_total`.
#[inline(always)]
pub fn note(reservation: &Reservation, in_total: bool) {
    let Some(at) = maps::RESERVATIONS.get_ptr_mut(0) else {
        return;
    };
    let bits = if in_total { Charge::CHARGED | Charge::IN_TOTAL } else { Charge::CHARGED };
    // SAFETY: this CPU's value of a live map. The state is 0 here, so nobody reads the rest.
    unsafe { (*at).key = reservation.key };
    // SAFETY: as above.
    unsafe { (*at).class = reservation.class };
    // SAFETY: as above.
    unsafe { (*at).addr = reservation.addr };
    // SAFETY: as above.
    unsafe { (*at).port = reservation.port };
    // SAFETY: as above.
    unsafe { (*at).quota_interval_ns = reservation.quota_interval_ns };
    // The last sequence number is still there, above the cleared bits.
    let sequence = (atomic::load(state_of(at)) >> SEQUENCE_SHIFT).wrapping_add(1);
    atomic::store(state_of(at), sequence << SEQUENCE_SHIFT | bits);
}

/// Returns whether this CPU holds a reservation.
#[inline(always)]
pub fn is_held() -> bool {
    maps::RESERVATIONS.get_ptr_mut(0).is_some_and(|at| atomic::load(state_of(at)) & BITS != NOTHING)
}

/// Takes the reservation if it is for a connection from this address to this port, and turns its
/// words from reserved to open.
#[inline(always)]
pub fn convert(addr: &Addr, port: u32) -> Option<Taken> {
    let at = maps::RESERVATIONS.get_ptr_mut(0)?;
    let (reservation, bits) = take(at, Some((addr, port)))?;
    let key = reservation.key;
    let source = source::find(&key)?;
    source.open_reserved();
    if bits & Charge::IN_TOTAL != 0
        && let Some(total) = store::total(key.service)
    {
        atomic::add(total, RESERVED_TO_OPEN);
    }
    Some(Taken { key, class: reservation.class, bits })
}

/// Gives back the reservation of this CPU, if there is one.
#[inline(always)]
pub fn give_back() {
    let Some(at) = maps::RESERVATIONS.get_ptr_mut(0) else {
        return;
    };
    if atomic::load(state_of(at)) & BITS != NOTHING {
        give_back_taken();
    }
}

/// The rare part of [`give_back`]: a function of its own to the verifier, so
/// that its stack does not add up with that of what comes after.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn give_back_taken() -> u32 {
    u32::from(give_back_once().is_some())
}

#[inline(always)]
fn give_back_once() -> Option<()> {
    let at = maps::RESERVATIONS.get_ptr_mut(0)?;
    let (reservation, bits) = take(at, None)?;
    let key = reservation.key;
    if bits & Charge::IN_TOTAL != 0 {
        claims::give_up_total(key.service);
    }
    let source = source::find(&key)?;
    if reservation.quota_interval_ns != 0 {
        atomic::add(source.tat(), reservation.quota_interval_ns.wrapping_neg());
    }
    source.take_off_word(ONE_RESERVED);
    if !source.is_proven() {
        // Only a completed handshake leaves an entry behind.
        source::remove_if_idle(&key, source);
    }
    Some(())
}

/// Takes the reservation, whole, if it is for this remote address and local port (or for anyone).
#[inline(always)]
fn take(at: *mut Reservation, whose: Option<(&Addr, u32)>) -> Option<(Reservation, u64)> {
    let state = atomic::load(state_of(at));
    if state & BITS == NOTHING {
        return None;
    }
    // SAFETY: this CPU's value of a live map. A softirq that overwrites it
    // meanwhile changes the sequence number, and the swap below fails.
    let reservation = unsafe { at.read_volatile() };
    if whose.is_some_and(|(addr, port)| differ(addr, &reservation.addr) || port != reservation.port) {
        return None;
    }
    atomic::swap(state_of(at), state, state & !BITS).then_some((reservation, state & BITS))
}

/// Returns whether two addresses differ, word by word: compared whole they become words of eight
/// bytes, and the compiler then puts them where the verifier allows only four.
#[inline(always)]
fn differ(a: &Addr, b: &Addr) -> bool {
    let word = |n: usize| a.words_be[n] != b.words_be[n];
    word(0) || word(1) || word(2) || word(3)
}

#[inline(always)]
fn state_of(at: *mut Reservation) -> *mut u64 {
    // SAFETY: a field of the value; no access happens here.
    unsafe { &raw mut (*at).state }
}
