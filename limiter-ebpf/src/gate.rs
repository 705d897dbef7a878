//! The gate: where the segment that completes a handshake meets its listener.
//!
//! The kernel runs it in the same softirq call that creates the socket
//! (`tcp_filter` before `tcp_check_req`). It reserves by compare-and-swap, so
//! that no two CPUs admit the same last connection; the charge that follows on
//! this CPU turns the reservation into an open connection.

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock},
    helpers::generated::bpf_skc_to_tcp_sock,
    programs::SkBuffContext,
};
use limiter_common::{
    addr::{Addr, Family},
    decide::decide,
    gcra,
    limits::{Limits, Service},
    map::{FailOpen, SourceKey},
    packet::{self, Link, Segment, Tcp},
    policy::{CLASS_DEFAULT, Policy, UNGUARDED},
    verdict::{PassReason, Point, RefuseReason, Verdict},
    word::{ONE_RESERVED, Word},
};

use crate::{
    account, account::Subject, atomic, clock, facts, globals, handshake, handshake::Owner, ingress::AtLimit,
    packet::Buffer, reservation, store, store::SourceRef,
};

/// What a `cgroup_skb` program returns.
const PASS: i32 = 1;
const DROP: i32 = 0;

/// IPv6 extension headers that the gate walks; beyond it a segment for a
/// listener is dropped. A choice: twice what any test of the kernel sends.
const CHAIN_MAX: u32 = 64;
/// Compare-and-swaps on one word before giving up: more CPUs than can fight for one source.
const ATTEMPTS: u32 = 32;

/// Protocols of a socket buffer, as they lie in memory.
const IPV4_BE: u32 = 0x0800_u16.to_be() as u32;
const IPV6_BE: u32 = 0x86dd_u16.to_be() as u32;

/// What [`try_admit`] says when another CPU moved the word: try again.
const RETRY: i32 = 2;

/// A segment for a guarded listener.
struct Arrival<'a> {
    ctx: &'a SkBuffContext,
    buffer: Buffer<'a>,
    policy: &'a Policy,
    at: Place,
    /// The socket was made by TCP Fast Open and awaits its ACK: there is no request to look up.
    is_fast_open: bool,
}

/// The service that a segment is for; it fits a register.
#[derive(Clone, Copy)]
struct Place {
    service: u32,
    port: u16,
    family: Family,
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

/// Judges a segment.
#[inline(always)]
pub fn run(ctx: &SkBuffContext) -> i32 {
    reservation::give_back();
    // SAFETY: a field of the context; the verifier turns it into the right load.
    let sk = unsafe { (*ctx.skb.skb).__bindgen_anon_2.sk };
    if sk.is_null() {
        return PASS;
    }
    // SAFETY: not null, and the kernel holds the socket while the program runs.
    let state = unsafe { (*sk).state };
    if state != handshake::LISTEN && state != handshake::SYN_RECV {
        return PASS;
    }
    // The verifier knows nothing of what another function returns, and wants to
    // see one bit; the compiler knows, and would leave the mask out.
    core::hint::black_box(judge_arrival(ctx.skb.skb)) & PASS
}

/// Judges a segment that meets a listener. Like [`try_admit`] a function of its
/// own to the verifier, which so looks at it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn judge_arrival(skb: *mut __sk_buff) -> i32 {
    let ctx = SkBuffContext::new(skb);
    Arrival::new(&ctx).map_or(PASS, |arrival| arrival.judge())
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
    let Some(policy) = store::policy() else {
        return PASS;
    };
    Candidate::new(policy, Place::unpack(place), addr).admit()
}

impl Place {
    const fn pack(self) -> u64 {
        (self.service as u64) | (self.port as u64) << 16 | (self.family as u64) << 32
    }

    const fn unpack(packed: u64) -> Self {
        let family = if packed >> 32 == 0 { Family::V4 } else { Family::V6 };
        Self { service: packed as u32 & 0xffff, port: (packed >> 16) as u16, family }
    }

    #[inline(always)]
    fn subject(self, addr: Addr, class: u32) -> Subject {
        Subject { service: self.service, class, addr, port: self.port, family: self.family }
    }
}

impl<'a> Arrival<'a> {
    /// Returns the segment, if its listener is one that limiter guards.
    #[inline(always)]
    fn new(ctx: &'a SkBuffContext) -> Option<Self> {
        // SAFETY: a field of the context; the verifier turns it into the right load.
        let sk = unsafe { (*ctx.skb.skb).__bindgen_anon_2.sk };
        if sk.is_null() {
            return None;
        }
        // SAFETY: the kernel holds the socket while the program runs.
        let (port, state) = unsafe { ((*sk).src_port as u16, (*sk).state) };
        let policy = store::policy()?;
        let service = policy.service_of(port);
        if service == UNGUARDED || !is_ours(sk) {
            return None;
        }
        // SAFETY: a field of the context; the verifier turns it into the right load.
        let family = match unsafe { (*ctx.skb.skb).protocol } {
            IPV4_BE => Family::V4,
            IPV6_BE => Family::V6,
            _ => return None,
        };
        let at = Place { service, port, family };
        Some(Self { ctx, buffer: Buffer::new(ctx), policy, at, is_fast_open: state == handshake::SYN_RECV })
    }

    #[inline(always)]
    fn judge(&self) -> i32 {
        let Some((segment, tcp, source, destination)) = self.walk() else {
            return self.refuse_unparseable();
        };
        if !tcp.is_ack() {
            return PASS;
        }
        let may_complete = self.is_fast_open
            || matches!(
                handshake::owner(self.ctx, segment.family, source, destination, &tcp),
                Owner::Request | Owner::Listener
            );
        if !may_complete {
            return PASS;
        }
        let mut attempt = 0;
        while attempt < ATTEMPTS {
            attempt += 1;
            let action = try_admit(&raw const source, self.at.pack());
            if action != RETRY {
                return action;
            }
        }
        account::fail_open(FailOpen::Contention);
        DROP
    }

    #[inline(always)]
    fn walk(&self) -> Option<(Segment, Tcp, Addr, Addr)> {
        let link = Link { family: self.at.family, ip: 0 };
        let segment = packet::segment::<CHAIN_MAX>(&self.buffer, link).ok()?;
        let tcp = segment.header(&self.buffer).ok()?;
        Some((segment, tcp, segment.source(&self.buffer)?, segment.destination(&self.buffer)?))
    }

    /// No client sends such a segment to a listener, and it belongs to no open connection.
    #[inline(always)]
    fn refuse_unparseable(&self) -> i32 {
        let verdict = facts::refused(self.policy, self.at.service, RefuseReason::UnparseableAtListener);
        account::record(Point::Gate, verdict, &self.at.subject(Addr::default(), CLASS_DEFAULT));
        if verdict.is_refusal() { DROP } else { PASS }
    }
}

impl<'a> Candidate<'a> {
    #[inline(always)]
    fn new(policy: &'a Policy, place: Place, addr: Addr) -> Self {
        let class = store::class_of(policy, addr, place.service);
        Self {
            policy,
            place,
            addr,
            key: SourceKey { addr: policy.source_of(addr), service: place.service },
            class,
            limits: policy.limits_of(place.service, class),
            ceiling: facts::ceiling_of(policy, place.service, class),
            in_total: policy.counts_in_total(place.service, class),
        }
    }

    #[inline(always)]
    fn refused(&self, reason: RefuseReason) -> Verdict {
        facts::refused(self.policy, self.place.service, reason)
    }

    #[inline(always)]
    fn mark_at_limit(&self) {
        AtLimit::of(self.key.hash(globals::hash_seed())).set();
    }

    #[inline(always)]
    fn admit(&self) -> i32 {
        let found = store::source(&self.key);
        let known = facts::of_source(self.limits, self.ceiling, self.place.service, found);
        let verdict = match decide(self.limits, self.ceiling, &known) {
            Ok(reason) => Verdict::Pass(reason),
            Err(reason) => self.refused(reason),
        };
        if verdict.is_refusal() {
            return self.conclude(verdict, found);
        }
        let Some(source) = found else {
            if store::create_source(&self.key) {
                return RETRY;
            }
            account::fail_open(FailOpen::SourcesFull);
            return self.conclude(Verdict::Pass(PassReason::FailOpen), None);
        };
        let word = source.word();
        // The decision rests on `known.held`: if the word moved on, decide again.
        let is_stale = self.limits.connections != 0 && word.held() != known.held;
        if is_stale || !source.is_alive(word) || !source.swap_word(word, word.reserve()) {
            return RETRY;
        }
        self.conclude(self.reserve_rest(source, word.reserve(), verdict), Some(source))
    }

    /// With the source's word reserved: the service's total, then the quota. What fails undoes what came before.
    #[inline(always)]
    fn reserve_rest(&self, source: SourceRef, word: Word, verdict: Verdict) -> Verdict {
        let service = self.place.service;
        let is_binding = verdict == Verdict::Pass(PassReason::WithinLimits)
            && self.policy.service(service).has(Service::ENFORCE);
        if self.in_total {
            let ceiling = if is_binding { self.ceiling } else { 0 };
            if !reserve_total(service, ceiling) {
                source.add_to_word(ONE_RESERVED.wrapping_neg());
                return self.refused(RefuseReason::ConnectionsTotal);
            }
        }
        let quota = self.limits.quota;
        let charged = quota.is_some() && charge_quota(source, quota);
        if quota.is_some() && !charged && is_binding {
            let verdict = self.refused(RefuseReason::NewConnectionQuota);
            if verdict.is_refusal() {
                give_up(service, self.in_total, source);
                return verdict;
            }
        }
        let interval_ns = if charged { quota.interval_ns } else { 0 };
        reservation::note(&self.key, self.class, interval_ns, self.in_total);
        if self.limits.connections != 0 && word.held() >= self.limits.connections {
            self.mark_at_limit();
        }
        verdict
    }

    /// Counts the verdict, and turns it into what the program returns.
    #[inline(always)]
    fn conclude(&self, verdict: Verdict, source: Option<SourceRef>) -> i32 {
        account::record(Point::Gate, verdict, &self.place.subject(self.addr, self.class));
        if let Verdict::Pass(_) = verdict {
            return PASS;
        }
        if let Some(source) = source {
            source.note_refused(clock::seconds(clock::now_ns()));
        }
        if !verdict.is_refusal() {
            return PASS;
        }
        self.mark_at_limit();
        DROP
    }
}

/// Takes back what was reserved in the words.
#[inline(always)]
fn give_up(service: u32, in_total: bool, source: SourceRef) {
    source.add_to_word(ONE_RESERVED.wrapping_neg());
    if in_total && let Some(total) = store::total(service) {
        atomic::add(total, ONE_RESERVED.wrapping_neg());
    }
}

/// Reserves one connection of the service, if its ceiling (0: none) allows.
#[inline(always)]
fn reserve_total(service: u32, ceiling: u32) -> bool {
    let Some(total) = store::total(service) else {
        return true;
    };
    if ceiling == 0 {
        atomic::add(total, ONE_RESERVED);
        return true;
    }
    let mut attempt = 0;
    while attempt < ATTEMPTS {
        attempt += 1;
        let word = Word(atomic::load(total));
        if word.held() >= ceiling {
            return false;
        }
        if atomic::swap(total, word.0, word.reserve().0) {
            return true;
        }
    }
    false
}

/// Charges one connection to the source's quota; returns whether the quota allowed it.
#[inline(always)]
fn charge_quota(source: SourceRef, quota: gcra::Quota) -> bool {
    let mut attempt = 0;
    while attempt < ATTEMPTS {
        attempt += 1;
        let tat_ns = atomic::load(source.tat());
        let Some(next) = gcra::charge(tat_ns, clock::now_ns(), quota) else {
            return false;
        };
        if atomic::swap(source.tat(), tat_ns, next) {
            return true;
        }
    }
    false
}

/// Returns whether a socket belongs to the network namespace that limiter guards.
#[inline(always)]
fn is_ours(sk: *mut bpf_sock) -> bool {
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
