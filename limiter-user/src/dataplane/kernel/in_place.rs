//! Maps that programs address in place. They are sections of the object, and a loader writes sections as
//! if they were new: what an earlier daemon left in them has to go in with the load, or for a moment no
//! port would be guarded.

use aya::{EbpfLoader, Pod};
use limiter_common::{
    map::{Control, PortHints},
    names,
};

use super::{
    pins::{self, Pins},
    tables::failed,
};
use crate::dataplane::DataplaneError;

/// What is in them; nothing of those that are not pinned yet.
pub(super) struct InPlace {
    ports: Option<Box<PortHints>>,
    marked_services: Option<Box<[u32; names::SERVICES]>>,
    control: Option<Box<Control>>,
}

impl InPlace {
    /// Reads what is pinned. Nobody writes meanwhile but the gate: a service that it marks in this moment
    /// is marked again by its next refusal.
    pub(super) fn read(pins: &Pins) -> Result<Self, DataplaneError> {
        Ok(Self {
            ports: pinned(pins, names::PORTS)?,
            marked_services: pinned(pins, names::MARKED_SERVICES)?,
            control: pinned(pins, names::CONTROL)?,
        })
    }

    /// Has a loader write the same again.
    pub(super) fn keep<'a>(&'a self, loader: &mut EbpfLoader<'a>) {
        keep(loader, names::PORTS, self.ports.as_deref());
        keep(loader, names::MARKED_SERVICES, self.marked_services.as_deref());
        keep(loader, names::CONTROL, self.control.as_deref());
    }
}

fn keep<'a, T: Pod>(loader: &mut EbpfLoader<'a>, section: &'a str, value: Option<&'a T>) {
    if let Some(value) = value {
        loader.override_global(pins::symbol(section), value, true);
    }
}

fn pinned<T: Pod>(pins: &Pins, name: &'static str) -> Result<Option<Box<T>>, DataplaneError> {
    let path = pins.map(name);
    if !path.exists() {
        return Ok(None);
    }
    pins::read_single(&path).map(|value| Some(Box::new(value))).map_err(failed(pins::symbol(name), "reading"))
}
