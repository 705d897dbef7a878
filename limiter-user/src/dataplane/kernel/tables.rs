//! The maps of the packet path, with their types.
//!
//! A policy is made beside the one in force: a fresh array and a fresh trie,
//! then one update of slot 0 of `POLICIES` switches.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    os::fd::{AsFd as _, BorrowedFd},
};

use aya::{
    Ebpf,
    maps::{
        Array, ArrayOfMaps, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray, RingBuf, lpm_trie::Key,
    },
};
use limiter_common::{
    addr::{Addr, Family},
    cell::CELLS,
    event::Sample,
    map::{ClassOf, Control, Counters, FailOpen, PortHints, Total},
    names,
    policy::Policy,
};
use zerocopy::{FromBytes as _, FromZeros as _};

use crate::{
    dataplane::{CounterRow, DataplaneError},
    policy::Compiled,
};

/// `BPF_F_NO_PREALLOC`, which tries must have.
const NO_PREALLOC: u32 = 1;
/// Slots that policies use in turn; the trie of the policy before stays until it is the oldest.
const SLOTS: u32 = 4;
const _: () = assert!(SLOTS as usize == names::TRIE_SLOTS);

type Owned<T> = Result<T, DataplaneError>;

/// Every map that the daemon touches.
pub(super) struct Tables {
    policies: ArrayOfMaps<MapData, Array<MapData, Policy>>,
    tries: ArrayOfMaps<MapData, LpmTrie<MapData, Addr, ClassOf>>,
    slot: u32,
    ports: Array<MapData, PortHints>,
    guarded: Box<PortHints>,
    local: HashMap<MapData, Addr, u32>,
    totals: Array<MapData, Total>,
    connections: Array<MapData, u64>,
    counters: PerCpuArray<MapData, Counters>,
    fail_opens: PerCpuArray<MapData, u64>,
    control: Array<MapData, Control>,
    samples: RingBuf<MapData>,
    sources: MapData,
    charges: MapData,
}

fn failed(map: &'static str, operation: &'static str) -> impl FnOnce(MapError) -> DataplaneError {
    move |error| DataplaneError::Map { map, operation, source: error.into() }
}

fn take<T: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, map: &'static str) -> Owned<T> {
    let missing = || MapError::InvalidName { name: map.to_owned() };
    ebpf.take_map(map).ok_or_else(missing).and_then(T::try_from).map_err(failed(map, "opening"))
}

/// Takes a map that only iterators read: the daemon writes to it by way of programs alone.
fn take_untyped(ebpf: &mut Ebpf, map: &'static str) -> Owned<MapData> {
    match ebpf.take_map(map) {
        Some(Map::HashMap(data) | Map::SkStorage(data)) => Ok(data),
        _ => Err(failed(map, "opening")(MapError::InvalidName { name: map.to_owned() })),
    }
}

impl Tables {
    /// Takes the maps out of a loaded object.
    pub(super) fn take_from(ebpf: &mut Ebpf) -> Owned<Self> {
        Ok(Self {
            policies: take(ebpf, "POLICIES")?,
            tries: take(ebpf, "TRIES")?,
            slot: 0,
            ports: take(ebpf, "PORTS")?,
            guarded: no_ports()?,
            local: take(ebpf, "LOCAL_ADDRESSES")?,
            totals: take(ebpf, "TOTALS")?,
            connections: take(ebpf, "CLASS_CONNECTIONS")?,
            counters: take(ebpf, "COUNTERS")?,
            fail_opens: take(ebpf, "FAIL_OPENS")?,
            control: take(ebpf, "CONTROL")?,
            samples: take(ebpf, "SAMPLES")?,
            sources: take_untyped(ebpf, "SOURCES")?,
            charges: take_untyped(ebpf, "CHARGES")?,
        })
    }

    /// Puts a policy in force.
    pub(super) fn apply(&mut self, compiled: &Compiled) -> Owned<()> {
        let slot = (self.slot + 1) % SLOTS;
        let mut trie = LpmTrie::<_, Addr, ClassOf>::create(capacity(names::PREFIXES), NO_PREALLOC)
            .map_err(failed("TRIES", "making a trie"))?;
        for prefix in &compiled.prefixes {
            trie.insert(&Key::new(prefix.prefix_len, prefix.addr), prefix.class_of, 0)
                .map_err(failed("TRIES", "inserting a prefix"))?;
        }
        self.tries.set(slot, &trie, 0).map_err(failed("TRIES", "placing a trie"))?;
        let mut policy = compiled.policy.clone();
        policy.trie_slot = slot;
        let mut array = Array::<_, Policy>::create(1, 0).map_err(failed("POLICIES", "making a policy"))?;
        array.set(0, *policy, 0).map_err(failed("POLICIES", "writing a policy"))?;
        // A packet that goes by the hint must find the ports of whichever policy it meets.
        let before = self.guarded.clone();
        self.guarded.service = compiled.policy.service_of_port;
        let mut both = self.guarded.clone();
        for (hint, old) in both.service.iter_mut().zip(before.service).filter(|(hint, _)| **hint == 0) {
            *hint = old;
        }
        self.set_ports(&both)?;
        self.policies.set(0, &array, 0).map_err(failed("POLICIES", "switching"))?;
        self.slot = slot;
        self.set_ports(&self.guarded.clone())
    }

    fn set_ports(&mut self, hints: &PortHints) -> Owned<()> {
        self.ports.set(0, hints, 0).map_err(failed("PORTS", "writing"))
    }

    /// Makes the set of own addresses this one.
    pub(super) fn set_local_addresses(&mut self, addresses: &[IpAddr]) -> Owned<()> {
        let wanted: BTreeSet<Addr> = addresses.iter().copied().map(Addr::from).collect();
        let present: BTreeSet<Addr> =
            self.local.keys().collect::<Result<_, _>>().map_err(failed("LOCAL_ADDRESSES", "listing"))?;
        for addr in wanted.difference(&present) {
            self.local.insert(addr, 1, 0).map_err(failed("LOCAL_ADDRESSES", "inserting"))?;
        }
        for addr in present.difference(&wanted) {
            self.local.remove(addr).map_err(failed("LOCAL_ADDRESSES", "removing"))?;
        }
        Ok(())
    }

    /// Sums the counters of the first `services` and `classes` over all CPUs.
    pub(super) fn counters(&self, services: u32, classes: u32) -> Owned<Vec<CounterRow>> {
        let mut rows = Vec::new();
        for service in 0..services {
            for class in 0..classes {
                for family in Family::ALL.map(|family| family as u32) {
                    let counters = self.row(names::counter_row(service, class, family))?;
                    rows.push(CounterRow { service, class, family, counters });
                }
            }
        }
        Ok(rows)
    }

    fn row(&self, row: u32) -> Owned<Counters> {
        let per_cpu = self.counters.get(&row, 0).map_err(failed("COUNTERS", "reading"))?;
        let mut sum = Counters { cells: [0; CELLS] };
        for counters in per_cpu.iter() {
            for (total, count) in sum.cells.iter_mut().zip(counters.cells) {
                *total += count;
            }
        }
        Ok(sum)
    }

    /// Returns open connections by class cell.
    pub(super) fn connections(&self) -> Owned<Vec<u64>> {
        self.connections.iter().collect::<Result<_, _>>().map_err(failed("CLASS_CONNECTIONS", "reading"))
    }

    /// Returns the open and reserved connections of each service.
    pub(super) fn totals(&self) -> Owned<Vec<u32>> {
        let held = |total: Result<Total, _>| total.map(|total| total.word.held());
        self.totals.iter().map(held).collect::<Result<_, _>>().map_err(failed("TOTALS", "reading"))
    }

    /// Returns the doubts of all CPUs.
    pub(super) fn fail_opens(&self) -> Owned<Vec<(FailOpen, u64)>> {
        let sum = |why: FailOpen| {
            let per_cpu = self.fail_opens.get(&(why as u32), 0).map_err(failed("FAIL_OPENS", "reading"))?;
            Ok((why, per_cpu.iter().sum()))
        };
        FailOpen::ALL.into_iter().map(sum).collect()
    }

    /// Returns the map of sources, for an iterator.
    pub(super) fn sources(&self) -> BorrowedFd<'_> {
        self.sources.fd().as_fd()
    }

    /// Returns the storage of charged sockets, for an iterator.
    pub(super) fn charges(&self) -> BorrowedFd<'_> {
        self.charges.fd().as_fd()
    }

    /// Notes that the daemon is alive.
    pub(super) fn set_heartbeat(&mut self, heartbeat_ns: u64) -> Owned<()> {
        self.control.set(0, Control { heartbeat_ns }, 0).map_err(failed("CONTROL", "writing"))
    }

    /// Takes every sample in the ring buffer.
    pub(super) fn take_samples(&mut self) -> Vec<Sample> {
        let mut samples = Vec::new();
        while let Some(item) = self.samples.next() {
            samples.extend(Sample::read_from_bytes(&item).ok());
        }
        samples
    }
}

/// Returns the hints of a host that guards nothing, made on the heap.
fn no_ports() -> Owned<Box<PortHints>> {
    PortHints::new_box_zeroed().map_err(|_| DataplaneError::Map {
        map: "PORTS",
        operation: "making",
        source: anyhow::anyhow!("out of memory"),
    })
}

/// Returns a capacity as the kernel wants it.
fn capacity(entries: usize) -> u32 {
    u32::try_from(entries).unwrap_or(u32::MAX)
}
