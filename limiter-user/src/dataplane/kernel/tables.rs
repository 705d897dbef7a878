//! The maps of the packet path, with their types.
//!
//! A policy is made beside the one in force: a fresh array and fresh ranges,
//! then one update of a slot of `POLICIES` switches. Slot 0 is in force; slot 1
//! comes into force at the time that `CONTROL` tells.

use std::{
    net::IpAddr,
    os::fd::{AsFd as _, BorrowedFd},
};

use aya::{
    Ebpf,
    maps::{Array, ArrayOfMaps, Map, MapData, MapError, PerCpuArray, RingBuf},
};
use limiter_common::{
    addr::Family,
    cell::CELLS,
    event::Sample,
    map::{Control, Counters, FailOpen, Living, LivingSums, PortHints, Total},
    names,
    policy::Policy,
    ranges::RangePage,
};
use zerocopy::{FromBytes as _, FromZeros as _};

use super::local::LocalAddresses;
use super::switch::{Placed, Prepared, RangeSlots};

use crate::{
    clock::Now,
    dataplane::{CounterRow, DataplaneError, Fallback},
    policy::Compiled,
};

/// The slot of the policy in force, and of the one that it gives way to.
const IN_FORCE: u32 = 0;
const FALLBACK: u32 = 1;

pub(super) type Owned<T> = Result<T, DataplaneError>;

/// Every map that the daemon touches.
pub(super) struct Tables {
    policies: ArrayOfMaps<MapData, Array<MapData, Policy>>,
    ranges: ArrayOfMaps<MapData, Array<MapData, RangePage>>,
    slots: RangeSlots,
    ports: Array<MapData, PortHints>,
    guarded: Box<PortHints>,
    local: LocalAddresses,
    totals: Array<MapData, Total>,
    connections: Array<MapData, u64>,
    counters: PerCpuArray<MapData, Counters>,
    fail_opens: PerCpuArray<MapData, u64>,
    control: Array<MapData, Control>,
    said: Control,
    living: Array<MapData, LivingSums>,
    samples: RingBuf<MapData>,
    sources: MapData,
    charges: MapData,
}

pub(super) fn failed(map: &'static str, operation: &'static str) -> impl FnOnce(MapError) -> DataplaneError {
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
            ranges: take(ebpf, "RANGES")?,
            slots: RangeSlots::default(),
            ports: take(ebpf, names::PORTS)?,
            guarded: no_ports()?,
            local: LocalAddresses::new(take(ebpf, "LOCAL_ADDRESSES")?),
            totals: take(ebpf, "TOTALS")?,
            connections: take(ebpf, "CLASS_CONNECTIONS")?,
            counters: take(ebpf, "COUNTERS")?,
            fail_opens: take(ebpf, "FAIL_OPENS")?,
            control: take(ebpf, names::CONTROL)?,
            said: Control::default(),
            living: take(ebpf, names::LIVING)?,
            samples: take(ebpf, "SAMPLES")?,
            sources: take_untyped(ebpf, "SOURCES")?,
            charges: take_untyped(ebpf, "CHARGES")?,
        })
    }

    /// Goes on with what an earlier daemon left in the maps.
    pub(super) fn inherit(&mut self, slots: &[u32]) -> Owned<()> {
        self.slots.settle(slots.to_vec());
        self.local.inherit().map_err(failed("LOCAL_ADDRESSES", "reading"))?;
        *self.guarded = self.ports.get(&0, 0).map_err(failed("PORTS", "reading"))?;
        self.said = self.control.get(&0, 0).map_err(failed("CONTROL", "reading"))?;
        Ok(())
    }

    /// Makes a policy and the one that it falls back to, beside those that packets go by.
    pub(super) fn prepare(&self, policy: &Compiled, fallback: Option<Fallback<'_>>) -> Owned<Prepared> {
        let mut slots = self.slots.free();
        let mut next = |compiled| Placed::make(compiled, slots.next());
        let policy = next(policy)?;
        let fallback = fallback.map(|fallback| Ok((next(fallback.policy)?, fallback.at_ns))).transpose()?;
        Ok(Prepared { policy, fallback })
    }

    /// Returns the slots of ranges that packets may go by until [`Tables::switch`] has returned.
    pub(super) fn slots_around(&self, prepared: &Prepared) -> Vec<u32> {
        self.slots.in_use().chain(prepared.slots()).collect()
    }

    /// Returns the slots of ranges that packets go by.
    pub(super) fn slots(&self) -> Vec<u32> {
        self.slots.in_use().collect()
    }

    /// Puts prepared policies in force.
    pub(super) fn switch(&mut self, prepared: Prepared) -> Owned<()> {
        let slots = prepared.slots().collect();
        let Prepared { policy, fallback } = prepared;
        // A packet that goes by the hint must find the ports of whichever policy it meets.
        let mut guarded = no_ports()?;
        guarded.service = policy.policy.service_of_port;
        if let Some((fallback, _)) = &fallback {
            join(&mut guarded, &fallback.policy.service_of_port);
        }
        let mut both = guarded.clone();
        join(&mut both, &self.guarded.service);
        self.set_ports(&both)?;
        let mut at_ns = 0;
        if let Some((fallback, fallback_at_ns)) = fallback {
            at_ns = fallback_at_ns;
            self.place(FALLBACK, fallback)?;
            // The net is up before anybody is on the rope. A policy that time ran out for, though,
            // must not come back, not even for the moment until it is replaced.
            if !self.has_fallen_back() {
                self.set_control(Control { fallback_at_ns: at_ns, ..self.said })?;
            }
        }
        self.place(IN_FORCE, policy)?;
        self.guarded = guarded;
        // A heartbeat as well: with it ends what was refused by the policy before and stands.
        let heartbeat_ns = Now::read().monotonic_ns;
        self.set_control(Control { heartbeat_ns, fallback_at_ns: at_ns, ..self.said })?;
        self.slots.settle(slots);
        self.set_ports(&self.guarded.clone())
    }

    /// Returns whether packets go by the fallback already.
    fn has_fallen_back(&self) -> bool {
        let at_ns = self.said.fallback_at_ns;
        at_ns != 0 && Now::read().monotonic_ns >= at_ns
    }

    fn place(&mut self, slot: u32, placed: Placed) -> Owned<()> {
        let Placed { policy, pages } = placed;
        let range_slot = policy.range_slot;
        self.ranges.set(range_slot, &pages, 0).map_err(failed("RANGES", "placing ranges"))?;
        let mut array = Array::<_, Policy>::create(1, 0).map_err(failed("POLICIES", "making a policy"))?;
        array.set(0, *policy, 0).map_err(failed("POLICIES", "writing a policy"))?;
        self.policies.set(slot, &array, 0).map_err(failed("POLICIES", "switching"))?;
        self.slots.place(slot, range_slot);
        Ok(())
    }

    fn set_ports(&mut self, hints: &PortHints) -> Owned<()> {
        self.ports.set(0, hints, 0).map_err(failed("PORTS", "writing"))
    }

    fn set_control(&mut self, control: Control) -> Owned<()> {
        self.control.set(0, control, 0).map_err(failed("CONTROL", "writing"))?;
        self.said = control;
        Ok(())
    }

    /// Makes the set of own addresses this one.
    pub(super) fn set_local_addresses(&mut self, addresses: &[IpAddr]) -> Owned<()> {
        self.local.set(addresses).map_err(failed("LOCAL_ADDRESSES", "writing"))
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

    /// Begins a recount; returns its number, as entries of sources have it.
    pub(super) fn begin_recount(&mut self) -> Owned<u16> {
        self.living.set(0, LivingSums::default(), 0).map_err(failed("LIVING", "emptying"))?;
        let recount = self.said.recount.wrapping_add(1);
        self.set_control(Control { recount, ..self.said })?;
        Ok(Living::number(recount))
    }

    /// Returns what the last recount found.
    pub(super) fn living(&self) -> Owned<LivingSums> {
        self.living.get(&0, 0).map_err(failed("LIVING", "reading"))
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
        self.set_control(Control { heartbeat_ns, ..self.said })
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

/// Adds the ports of one more policy where none has the port yet.
fn join(hints: &mut PortHints, ports: &[u8; 1 << 16]) {
    for (hint, other) in hints.service.iter_mut().zip(ports).filter(|(hint, _)| **hint == 0) {
        *hint = *other;
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
pub(super) fn capacity(entries: usize) -> u32 {
    u32::try_from(entries).unwrap_or(u32::MAX)
}
