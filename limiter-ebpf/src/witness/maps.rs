//! Every map of the witness, with who writes it and what happens when it is full.
//!
//! None is pinned: they go with the daemon that reads them.

use aya_ebpf::{
    btf_maps::{Array, HashMap, RingBuf},
    macros::btf_map,
};
use limiter_common::{
    addr::Addr,
    map::PortHints,
    names,
    witness::{
        DROP_EVENTS_BYTES, DROP_ROWS, DropKey, DropSample, Endpoint, FLOWS, FirstBytes, Flow, FlowKey, Lost,
        REASONS, RETRANSMIT_ROWS, RetransmitKey, TAGS, UPSTREAM_ADDRESSES,
    },
};

/// `BPF_F_NO_PREALLOC`: memory is taken per entry, not for all of them at once.
const NO_PREALLOC: usize = 1;

/// Tags by port: of this host in the first element, of others in the second. Written by the daemon.
#[btf_map]
pub static PORTS: Array<PortHints, 2> = Array::new();

/// Tags of declared upstreams. Written by the daemon.
#[btf_map]
pub static UPSTREAMS: HashMap<Endpoint, u32, UPSTREAM_ADDRESSES> = HashMap::new();

/// The host's own addresses. Written by the daemon; packets between others are not looked at.
#[btf_map]
pub static LOCAL_ADDRESSES: HashMap<Addr, u32, { names::LOCAL_ADDRESSES }, NO_PREALLOC> = HashMap::new();

/// Live connections. Written by the programs; when it is full, `LOST` says so.
#[btf_map]
pub static FLOWS_LIVE: HashMap<FlowKey, Flow, FLOWS, NO_PREALLOC> = HashMap::new();

/// Dropped packets. Written by `drops`; when it is full, `LOST` says so.
#[btf_map]
pub static DROPS: HashMap<DropKey, u64, DROP_ROWS, NO_PREALLOC> = HashMap::new();

/// 1 by reason for what is a policy's. Written by the daemon before anything is attached.
#[btf_map]
pub static POLICY_REASONS: Array<u32, REASONS> = Array::new();

/// Samples of dropped packets, for the daemon. When it is full they are lost, and counted.
#[btf_map]
pub static DROP_SAMPLES: RingBuf<DropSample, DROP_EVENTS_BYTES> = RingBuf::new();

/// When a remote address was last sampled, by hash. Those that share a bucket share its sample.
#[btf_map]
pub static SAMPLED_AT: Array<u64, { names::SAMPLE_BUCKETS }> = Array::new();

/// Retransmissions. Written by `retransmits`.
#[btf_map]
pub static RETRANSMITS: HashMap<RetransmitKey, u64, RETRANSMIT_ROWS> = HashMap::new();

/// Times to the first byte by tag. Written by `connections`.
#[btf_map]
pub static FIRST_BYTES: Array<FirstBytes, TAGS> = Array::new();

/// What was lost by [`Lost`]. Written by the programs.
#[btf_map]
pub static LOST: Array<u64, { Lost::ALL.len() }> = Array::new();
