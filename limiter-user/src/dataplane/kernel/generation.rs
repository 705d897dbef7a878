//! What the pinned maps mean: a record that is pinned beside them and goes with them.
//!
//! Programs do not read it. It is written before every switch of policies, so
//! that a daemon that takes over in the middle of one knows of both.

use std::path::Path;

use anyhow::Context as _;
use aya::maps::{Array, Map, MapData};
use serde::{Deserialize, Serialize};

use super::{
    pins::{self, GENERATION},
    tables::failed,
};
use crate::{
    dataplane::{DataplaneError, Inherited},
    policy::{Ids, Names},
};

/// Bytes of the record. A choice: 43 names of 32 characters take 1,600.
const RECORD_BYTES: usize = 4_096;

type Record = [u8; RECORD_BYTES];

/// One generation of pinned maps.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Generation {
    /// The network namespace that the programs guard.
    pub(super) netns_cookie: u64,
    /// What the tags of sources are hashed with.
    pub(super) hash_seed: u64,
    /// The cgroup that the gate is attached to.
    pub(super) cgroup: String,
    /// The highest revision that may be in force.
    pub(super) revision: u32,
    /// Slots of ranges that packets may go by.
    pub(super) range_slots: Vec<u32>,
    /// The numbers of services and classes.
    pub(super) ids: Ids,
}

impl Generation {
    /// Reads the record of pinned maps.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let record: Record =
            pins::read_single(path).with_context(|| format!("map {GENERATION} cannot be read"))?;
        let text = record.split(|byte| *byte == 0).next().unwrap_or_default();
        serde_json::from_slice(text).with_context(|| format!("map {GENERATION} is damaged"))
    }

    /// Returns what a daemon goes on with.
    pub(super) fn inherited(&self) -> Inherited {
        Inherited { ids: self.ids.clone(), revision: self.revision }
    }
}

/// The record, as the daemon that owns the pins keeps it.
pub(super) struct Ledger {
    /// What it says.
    pub(super) generation: Generation,
    record: Array<MapData, Record>,
}

impl Ledger {
    /// Opens the pinned record, or makes and pins it.
    pub(super) fn open(path: &Path, generation: Generation) -> Result<Self, DataplaneError> {
        let record = if path.exists() {
            let data = MapData::from_pin(path).map_err(failed(GENERATION, "opening"))?;
            Array::try_from(Map::Array(data)).map_err(failed(GENERATION, "opening"))?
        } else {
            let record = Array::<_, Record>::create(1, 0).map_err(failed(GENERATION, "making"))?;
            record.pin(path).map_err(|error| DataplaneError::Map {
                map: GENERATION,
                operation: "pinning",
                source: error.into(),
            })?;
            let data = MapData::from_pin(path).map_err(failed(GENERATION, "opening"))?;
            Array::try_from(Map::Array(data)).map_err(failed(GENERATION, "opening"))?
        };
        Ok(Self { generation, record })
    }

    /// Notes what packets may go by from here on.
    pub(super) fn note(
        &mut self,
        revision: u32,
        range_slots: Vec<u32>,
        names: &Names,
    ) -> Result<(), DataplaneError> {
        self.generation.revision = self.generation.revision.max(revision);
        self.generation.range_slots = range_slots;
        self.generation.ids = Ids::of(names);
        self.write()
    }

    fn write(&mut self) -> Result<(), DataplaneError> {
        let unfit = |source| DataplaneError::Map { map: GENERATION, operation: "writing", source };
        let text = serde_json::to_vec(&self.generation).map_err(|error| unfit(error.into()))?;
        let mut record = [0; RECORD_BYTES];
        let room = record.get_mut(..text.len()).filter(|room| room.len() < RECORD_BYTES);
        room.ok_or_else(|| unfit(anyhow::anyhow!("{} bytes are too many", text.len())))?
            .copy_from_slice(&text);
        self.record.set(0, record, 0).map_err(failed(GENERATION, "writing"))
    }
}

#[cfg(test)]
mod tests {
    use limiter_common::names;

    use super::*;

    /// The longest names there can be fit the record.
    #[test]
    fn every_name_fits() {
        let name = |n: usize| format!("{n:x>32}");
        let services = (0..names::SERVICES).map(name).collect();
        let classes = (0..names::CLASSES).map(name).collect();
        let generation = Generation {
            netns_cookie: u64::MAX,
            hash_seed: u64::MAX,
            cgroup: "/".repeat(1_000),
            revision: u32::MAX,
            range_slots: (0..8).collect(),
            ids: Ids::of(&Names { services, classes }),
        };
        assert!(serde_json::to_vec(&generation).unwrap().len() < RECORD_BYTES);
    }
}
