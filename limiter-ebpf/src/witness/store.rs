//! Typed access to the maps, and reads of kernel memory.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use limiter_common::{
    addr::Addr,
    event::SAMPLE_INTERVAL_NS,
    map::PortHints,
    names,
    witness::{DropKey, DropSample, Endpoint, Lost, REASONS, Tag},
};
use limiter_ebpf::{atomic, clock, opaque::bounded};
use zerocopy::FromBytes;

use crate::maps;

/// `BPF_NOEXIST`: create, never overwrite.
pub const NOEXIST: u64 = 1;
/// Elements of `PORTS`.
const LOCAL_PORTS: u32 = 0;
const REMOTE_PORTS: u32 = 1;
/// First octet of 127.0.0.0/8.
const LOOPBACK: u8 = 127;

/// Reads kernel memory; a fault leaves zeroes.
#[inline(always)]
pub fn probe<T: FromBytes>(at: *const u8) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: as many bytes of our stack as are written; the helper itself takes any address.
    unsafe { bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, at.cast()) };
    // SAFETY: the helper has written all of it, zeroes after a fault, and any bytes are a value.
    unsafe { value.assume_init() }
}

/// Returns whose a connection is: that of a client to a service, or one of this host to
/// an upstream or another mail server; [`Tag::NONE`] for all others.
#[inline(always)]
pub fn tag_of_client(local_port: u16) -> Tag {
    tag_by_port(LOCAL_PORTS, local_port)
}

/// Returns whose a connection that this host opened is.
#[inline(always)]
pub fn tag_of_peer(remote: Addr, remote_port: u16) -> Tag {
    let endpoint = Endpoint { addr: remote, port: u32::from(remote_port) };
    // SAFETY: written by the daemon alone, in place; a word does not tear.
    if let Some(tag) = unsafe { maps::UPSTREAMS.get(endpoint) } {
        return Tag(*tag as u8);
    }
    tag_by_port(REMOTE_PORTS, remote_port)
}

#[inline(always)]
fn tag_by_port(side: u32, port: u16) -> Tag {
    let ports: Option<&PortHints> = maps::PORTS.get(side);
    ports.map_or(Tag::NONE, |ports| Tag(ports.service[usize::from(bounded(port))]))
}

/// Returns whether an address is this host's.
#[inline(always)]
pub fn is_local(addr: Addr) -> bool {
    let [a, b, c, d] = addr.words_be;
    let v4_loopback =
        a == 0 && b == 0 && c == 0xffff_u32.to_be() && (u32::from_be(d) >> 24) as u8 == LOOPBACK;
    let v6_loopback = a == 0 && b == 0 && c == 0 && d == 1_u32.to_be();
    // SAFETY: only whether the key is there counts.
    v4_loopback || v6_loopback || unsafe { maps::LOCAL_ADDRESSES.get(addr) }.is_some()
}

/// Returns whether a reason is a policy's.
#[inline(always)]
pub fn is_policy(reason: u32) -> bool {
    (reason as usize) < REASONS && maps::POLICY_REASONS.get(reason).is_some_and(|policy| *policy != 0)
}

/// Counts a drop.
#[inline(always)]
pub fn count_drop(key: &DropKey) {
    if maps::DROPS.get_ptr_mut(key).is_none() {
        // Somebody else may be faster; the row is there then all the same.
        let _there = maps::DROPS.insert(key, 0, NOEXIST);
    }
    match maps::DROPS.get_ptr_mut(key) {
        Some(count) => atomic::add(count, 1),
        None => lose(Lost::Drops),
    }
}

/// Counts something that the witness lost.
#[inline(always)]
pub fn lose(what: Lost) {
    if let Some(count) = maps::LOST.get_ptr_mut(what as u32) {
        atomic::add(count, 1);
    }
}

/// Hands a sample to the daemon, if the last one of this address and reason is long enough ago.
#[inline(always)]
pub fn sample(sample: &DropSample) {
    let hash = sample.key.remote.hash(u64::from(sample.drop.reason) << 16 | u64::from(sample.drop.tag));
    let bucket = hash as u32 % names::SAMPLE_BUCKETS as u32;
    let Some(last) = maps::SAMPLED_AT.get_ptr_mut(bucket) else {
        return;
    };
    let (now_ns, last_ns) = (clock::precise_ns(), atomic::load(last));
    if last_ns != 0 && now_ns.wrapping_sub(last_ns) < SAMPLE_INTERVAL_NS {
        return;
    }
    if !atomic::swap(last, last_ns, now_ns) {
        return;
    }
    let Some(mut entry) = maps::DROP_SAMPLES.reserve(0) else {
        lose(Lost::Samples);
        return;
    };
    entry.write(DropSample { at_ns: now_ns, ..*sample });
    entry.submit(0);
}
