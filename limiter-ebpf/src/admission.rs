//! Admission: decides on one connection attempt at the gate and reserves for it
//! in the same step.
//!
//! Three words can stand against a connection: the source's, the service's and
//! the source's arrival time (`claims.rs`). Each is moved by compare-and-swap, the first by
//! the very value that the decision was made on; what fails undoes what came before.

use limiter_common::{
    addr::{Addr, Family},
    limits::{Limits, Service},
    map::{FailOpen, Reservation, SourceKey},
    policy::{Policy, UNGUARDED},
    verdict::{PassReason, Point, RefuseReason, Verdict},
    word::{ONE_RESERVED, Word},
};

use crate::{
    account,
    account::Subject,
    at_limit::AtLimit,
    claims, classes, facts,
    facts::Ruling,
    gate::{DROP, PASS, RETRY},
    globals, reservation, source,
    source::SourceRef,
    store,
};

/// The service that a segment is for; it fits a register.
#[derive(Clone, Copy)]
pub struct Place {
    /// The service id.
    pub service: u32,
    /// The local port.
    pub port: u16,
    /// The IP version.
    pub family: Family,
}

/// What a reservation is made for.
struct Candidate<'a> {
    policy: &'a Policy,
    place: Place,
    addr: Addr,
    key: SourceKey,
    class: u32,
    limits: &'a Limits,
    ceiling: u32,
    in_total: bool,
}

/// Decides on one connection attempt and reserves for it in one step.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn try_admit(addr: *const Addr, place: u64) -> i32 {
    if addr.is_null() {
        return PASS;
    }
    // SAFETY: not null, and the verifier knows that it points to a whole address.
    let addr = unsafe { addr.read() };
    let Some(policy) = store::policy() else { return PASS };
    let mut place = Place::unpack(place);
    // The policy may have changed since the gate looked: what is judged here is judged by this one alone.
    place.service = store::service_of(policy, place.port);
    if place.service == UNGUARDED {
        return PASS;
    }
    Candidate::new(policy, place, addr).admit()
}

impl Place {
    /// Returns port and family in one register.
    pub const fn pack(self) -> u64 {
        (self.port as u64) << 16 | (self.family as u64) << 32
    }

    const fn unpack(packed: u64) -> Self {
        let family = if packed >> 32 == 0 { Family::V4 } else { Family::V6 };
        Self { service: UNGUARDED, port: (packed >> 16) as u16, family }
    }

    /// Returns whom a verdict is attributed to.
    #[inline(always)]
    pub fn subject(self, addr: Addr, class: u32) -> Subject {
        Subject { service: self.service, class, addr, port: self.port, family: self.family }
    }
}

impl<'a> Candidate<'a> {
    #[inline(always)]
    fn new(policy: &'a Policy, place: Place, addr: Addr) -> Self {
        // First, while there is nothing yet to be kept on the stack.
        let class = classes::of(policy, addr, place.service);
        let key = SourceKey { addr: policy.source_of(addr), service: place.service };
        Self {
            policy,
            place,
            addr,
            key,
            class,
            limits: policy.limits_of(place.service, class),
            ceiling: facts::ceiling_of(policy, place.service, class),
            in_total: policy.counts_in_total(place.service, class),
        }
    }

    #[inline(always)]
    fn refused(&self, reason: RefuseReason) -> Ruling {
        facts::refused(self.policy, self.place.service, reason)
    }

    #[inline(always)]
    fn mark_at_limit(&self) {
        AtLimit::of(self.key.hash(globals::hash_seed())).set(self.place.service);
    }

    #[inline(always)]
    fn admit(&self) -> i32 {
        let found = source::find(&self.key);
        let total = facts::total_below(self.ceiling, self.place.service);
        let known = facts::of_source(self.limits, total, found);
        let ruling = facts::judge(self.policy, self.place.service, self.limits, self.ceiling, &known);
        if ruling.verdict.is_refusal() {
            return self.conclude(ruling, found);
        }
        let Some(source) = found else {
            if source::create(&self.key) {
                return RETRY;
            }
            account::fail_open(FailOpen::SourcesFull);
            return self.conclude(Ruling::pass(PassReason::FailOpen), None);
        };
        let word = source.word();
        // The decision rests on `known.held`: if the word moved on, decide again.
        let is_stale = self.limits.connections != 0 && word.held() != known.held;
        if is_stale || !source.reserve(word) {
            return RETRY;
        }
        self.conclude(self.reserve_rest(source, word.reserve(), ruling), Some(source))
    }

    /// With the source's word reserved: the service's total, then the quota. What fails undoes what came before.
    #[inline(always)]
    fn reserve_rest(&self, source: SourceRef, word: Word, ruling: Ruling) -> Ruling {
        let service = self.place.service;
        let enforces = self.policy.service(service).has(Service::ENFORCE);
        let is_binding = enforces && ruling.verdict == Verdict::Pass(PassReason::WithinLimits);
        if self.in_total {
            // A ceiling binds while limits of one source are suspended, too.
            let is_limited = enforces && ruling.verdict != Verdict::Pass(PassReason::Exempt);
            let ceiling = if is_limited { self.ceiling } else { 0 };
            if !claims::reserve_total(service, ceiling) {
                source.take_off_word(ONE_RESERVED);
                return self.refused(RefuseReason::ConnectionsTotal);
            }
        }
        let quota = self.limits.quota;
        let charged = quota.is_some() && claims::charge_quota(source, quota);
        if quota.is_some() && !charged && is_binding {
            let refused = self.refused(RefuseReason::NewConnectionQuota);
            if refused.verdict.is_refusal() {
                claims::give_up(service, self.in_total, source);
                return refused;
            }
        }
        let reservation = Reservation {
            key: self.key,
            class: self.class,
            addr: self.addr,
            port: u32::from(self.place.port),
            pad: 0,
            quota_interval_ns: if charged { quota.interval_ns } else { 0 },
            state: 0,
        };
        reservation::note(&reservation, self.in_total);
        if self.limits.connections != 0 && word.held() >= self.limits.connections {
            self.mark_at_limit();
        }
        ruling
    }

    /// Counts the verdict, and turns it into what the program returns.
    #[inline(always)]
    fn conclude(&self, ruling: Ruling, source: Option<SourceRef>) -> i32 {
        account::record(Point::Gate, ruling, &self.place.subject(self.addr, self.class));
        if let Verdict::Pass(_) = ruling.verdict {
            return PASS;
        }
        if let Some(source) = source {
            source.note_refused(ruling);
        }
        if !ruling.verdict.is_refusal() {
            return PASS;
        }
        self.mark_at_limit();
        DROP
    }
}
