//! Every map, with who writes it, who reads it, and what happens when it is full.
//!
//! Code reaches them through `store.rs`, `account.rs` and the modules named here. Those in sections are
//! arrays of one element, which have the name of the section.

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps, HashMap, PerCpuArray, RingBuf, SkStorage},
    macros::btf_map,
};
use limiter_common::{
    event::Sample,
    local::LocalBucket,
    map::{
        Bounds, Charge, Control, Counters, FailOpen, LivingSums, PortHints, Reservation, ResetBudget, Source,
        SourceKey, Standing, Tick, Total,
    },
    names,
    policy::Policy,
    ranges::{ANY_LENGTH, RangePage},
};
use limiter_ebpf::in_place::InPlace;

/// `BPF_F_NO_PREALLOC`: memory is taken per entry, not for all of them at once.
const NO_PREALLOC: usize = 1;

/// A value of an inner map. The daemon makes inner maps without type information, and kernels before
/// 6.2 take such a map only if the type here is no structure (`timer_off` in `bpf_map_meta_equal`).
pub type Inner<T> = [T; 1];

/// The policy in force, and the one that takes its place at the time that `CONTROL` tells. The
/// daemon replaces an inner array whole, by one update of its slot.
#[btf_map]
pub static POLICIES: ArrayOfMaps<Array<Inner<Policy>, 1>, { names::POLICY_SLOTS }> = ArrayOfMaps::new();

/// Which ports any policy guards. Written by the daemon, before and after it switches policies.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".bss.PORTS")]
pub static PORTS: InPlace<PortHints> = InPlace::zeroed();

/// Addresses to classes, an array of pages per slot, as long as it has to be; a policy names its slot.
/// The daemon puts one in while no policy in force names the slot, and replaces it by a later one;
/// `classes.rs` reads it. The length here is that of a model, which no array has to have.
#[btf_map]
pub static RANGES: ArrayOfMaps<Array<Inner<RangePage>, 1, { ANY_LENGTH as usize }>, { names::RANGE_SLOTS }> =
    ArrayOfMaps::new();

/// The host's own addresses, each in one of two buckets. Written by the daemon as they come and
/// go; when both are full, packets to the others pass XDP and meet the gate.
#[btf_map]
pub static LOCAL_ADDRESSES: Array<LocalBucket, { names::LOCAL_BUCKETS }> = Array::new();

/// Sources that have completed a handshake. Entries are created and removed by
/// the programs alone (`store.rs`, `amend.rs`). When it is full, connections of
/// further sources pass uncounted and `FAIL_OPENS` says so.
#[btf_map]
pub static SOURCES: HashMap<SourceKey, Source, { names::SOURCES }, NO_PREALLOC> = HashMap::new();

/// How many sources of a bucket are in `SOURCES`, four counts to a word (`known.rs`). Written where
/// entries are created and removed; as large as it has to be.
#[btf_map]
pub static KNOWN: Array<u32, { names::KNOWN_WORDS }> = Array::new();

/// Open and reserved connections of each service. Written by the programs.
#[btf_map]
pub static TOTALS: Array<Total, { names::SERVICES }> = Array::new();

/// Open connections by service and class. Written by charge and release.
#[btf_map]
pub static CLASS_CONNECTIONS: Array<u64, { names::SERVICES * names::CLASSES }> = Array::new();

/// What each socket was charged with. Written by charge, adopt, rekey and release; goes with the socket.
#[btf_map]
pub static CHARGES: SkStorage<Charge> = SkStorage::new();

/// What the segment in hand has reserved. One CPU writes and reads its own.
#[btf_map]
pub static RESERVATIONS: PerCpuArray<Reservation, 1> = PerCpuArray::new();

/// Who is at the limit: a fingerprint per bucket, the last one wins. Written by
/// the gate, cleared by XDP when it finds that it is no longer true. A lost
/// fingerprint means that the gate refuses instead of XDP.
#[btf_map]
pub static AT_LIMIT: Array<u32, { names::AT_LIMIT_BUCKETS }> = Array::new();

/// Services of which a source was ever marked in `AT_LIMIT`: while there is none, an
/// ACK is not even hashed. Written by the gate, never cleared.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".bss.MARKED_SERVICES")]
pub static MARKED_SERVICES: InPlace<[u32; names::SERVICES]> = InPlace::zeroed();

/// Living sockets by service and class, as the recount under way has found them, or the last one
/// (`recount.rs`). Emptied by the daemon before each.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".bss.LIVING")]
pub static LIVING: InPlace<LivingSums> = InPlace::zeroed();

/// What a CPU has found out in this timer tick (`tick.rs`). One CPU writes and reads its own.
#[btf_map]
pub static TICKS: PerCpuArray<Tick, 1> = PerCpuArray::new();

/// Refusals in silence that stand until the timer ticks (`standing.rs`). One CPU writes and reads its
/// own; whoever finds a place taken is judged anew.
#[btf_map]
pub static STANDING: PerCpuArray<Standing, { names::STANDING_REFUSALS }> = PerCpuArray::new();

/// What the sources of a bucket hold together and how often one of them came to hold less, after which
/// nothing stands that was refused before; and the latest of their arrival times (`bounds.rs`). Written
/// wherever the word of a source is, and its quota charged.
#[btf_map]
pub static BOUNDS: Array<Bounds, { names::BOUND_BUCKETS }> = Array::new();

/// Classes of addresses that met a prefix, each with the policy that says so (`classes.rs`). Whoever
/// finds its place taken looks it up, and takes it.
#[btf_map]
pub static CLASS_NOTES: Array<u64, { names::CLASS_NOTES }> = Array::new();

/// Arrival times of the SYN quota by hashed source. Sources that share a bucket share its quota.
#[btf_map]
pub static SYN_TATS: Array<u64, { names::SYN_BUCKETS }> = Array::new();

/// When a source was last sampled, by hash. Sources that share a bucket share its sample.
#[btf_map]
pub static SAMPLED_AT: Array<u64, { names::SAMPLE_BUCKETS }> = Array::new();

/// Samples of refusals, for the daemon. When it is full they are lost, and counted.
#[btf_map]
pub static SAMPLES: RingBuf<Sample, { names::EVENTS_BYTES }> = RingBuf::new();

/// Verdicts by (service, class, family). One CPU writes its own; the daemon sums.
#[btf_map]
pub static COUNTERS: PerCpuArray<Counters, { names::COUNTER_ROWS }> = PerCpuArray::new();

/// Doubts by [`FailOpen`]. One CPU writes its own; the daemon sums.
#[btf_map]
pub static FAIL_OPENS: PerCpuArray<u64, { FailOpen::ALL.len() }> = PerCpuArray::new();

/// Resets sent in this second. One CPU writes and reads its own.
#[btf_map]
pub static RESET_BUDGETS: PerCpuArray<ResetBudget, 1> = PerCpuArray::new();

/// What the daemon says from second to second. Written by the daemon.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".bss.CONTROL")]
pub static CONTROL: InPlace<Control> = InPlace::zeroed();
