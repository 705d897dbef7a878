//! The table of the host's own addresses, as the packet path reads it.

use std::{collections::BTreeSet, net::IpAddr};

use aya::maps::{Array, MapData, MapError};
use limiter_common::{
    addr::Addr,
    local::{LocalBucket, buckets_of},
};

/// The map, with what is in it.
pub struct LocalAddresses {
    map: Array<MapData, LocalBucket>,
    present: BTreeSet<Addr>,
}

impl LocalAddresses {
    /// Takes over an empty map.
    #[must_use]
    pub fn new(map: Array<MapData, LocalBucket>) -> Self {
        Self { map, present: BTreeSet::new() }
    }

    /// Goes on with what an earlier daemon left in the map.
    ///
    /// # Errors
    ///
    /// When the map cannot be read.
    pub fn inherit(&mut self) -> Result<(), MapError> {
        self.present.clear();
        for bucket in self.map.iter() {
            self.present.extend(bucket?.addrs());
        }
        Ok(())
    }

    /// Makes the addresses these. An address that stays is there all the while.
    ///
    /// # Errors
    ///
    /// When the map cannot be read or written.
    pub fn set(&mut self, addresses: &[IpAddr]) -> Result<(), MapError> {
        let wanted: BTreeSet<Addr> = addresses.iter().copied().map(Addr::from).collect();
        for addr in self.present.difference(&wanted).copied().collect::<Vec<_>>() {
            self.remove(addr)?;
        }
        for addr in wanted.difference(&self.present).copied().collect::<Vec<_>>() {
            self.insert(addr)?;
        }
        Ok(())
    }

    /// Adds an address, in the roomier of its buckets.
    ///
    /// # Errors
    ///
    /// When the map cannot be read or written.
    pub fn insert(&mut self, addr: Addr) -> Result<(), MapError> {
        let [first, second] = buckets_of(addr);
        let (one, other) = (self.map.get(&first, 0)?, self.map.get(&second, 0)?);
        let (index, bucket) = if one.free() >= other.free() { (first, one) } else { (second, other) };
        // Where both are full, packets to this address pass and meet the gate.
        let Some(bucket) = bucket.with(addr) else {
            tracing::warn!(address = %IpAddr::from(addr), "no room for one of the own addresses");
            return Ok(());
        };
        self.map.set(index, bucket, 0)?;
        self.present.insert(addr);
        Ok(())
    }

    fn remove(&mut self, addr: Addr) -> Result<(), MapError> {
        for index in buckets_of(addr) {
            let bucket = self.map.get(&index, 0)?;
            if bucket.holds(addr) {
                self.map.set(index, bucket.without(addr), 0)?;
            }
        }
        self.present.remove(&addr);
        Ok(())
    }
}
