//! Attaches to interfaces whose XDP belongs to somebody else: by TCX, which has
//! room for many programs, or where the kernel has none, by a filter in `clsact`.
//!
//! Ours comes first, as XDP would, and lets the others go on with what it passes.

use std::{env, fs, os::fd::AsFd as _};

use aya::{
    programs::{LinkOrder, ProgramInfo, SchedClassifier, TcAttachType, tc::TcAttachOptions},
    util::KernelVersion,
};

use super::{
    attach::{into_fd_link, pin_over, program_fd},
    clsact,
    interface::Interface,
    interfaces::Held,
    link::{self, How, Successor, discard},
    load::{Loaded, TC, failed},
    pins::Pins,
};
use crate::dataplane::{AttachMode, DataplaneError, syscall};

/// How the names of these links begin.
pub(super) const PREFIX: &str = "tcx-";
/// Set to `off`, filters are used although the kernel has TCX.
const SWITCH: &str = "LIMITER_TCX";

/// Attaches to an interface, or keeps what is attached.
pub(super) fn attach(
    loaded: &mut Loaded,
    pins: &Pins,
    name: &str,
    facts: &Interface,
) -> Result<Held, DataplaneError> {
    let program: &mut SchedClassifier = loaded.program_mut(TC)?;
    if has_tcx() { attach_tcx(program, pins, name, facts) } else { attach_filter(program, pins, name, facts) }
}

/// TCX came with Linux 6.6.
fn has_tcx() -> bool {
    let is_new = KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(6, 6, 0));
    is_new && env::var(SWITCH).as_deref() != Ok("off")
}

fn attach_tcx(
    program: &mut SchedClassifier,
    pins: &Pins,
    name: &str,
    facts: &Interface,
) -> Result<Held, DataplaneError> {
    let step = || format!("attaching TCX to {name}");
    let pin = format!("{PREFIX}{}", facts.index);
    let present = syscall::tcx_programs(facts.index).map_err(failed(step()))?;
    let id = program.info().map_err(failed(step()))?.id();
    let successor = Successor { id, fd: program_fd(program.fd())?.as_fd() };
    let how = link::take_over(pins, &pin, &present, &successor)?;
    if how != How::Kept {
        let order = TcAttachOptions::TcxOrder(LinkOrder::first());
        let link = program
            .attach_with_options(name, TcAttachType::Ingress, order)
            .and_then(|id| program.take_link(id))
            .and_then(into_fd_link)
            .map_err(failed(step()))?;
        pin_over(link, &pins.link(&pin))?;
    }
    Ok(Held { mode: AttachMode::Tcx, pin, how })
}

fn attach_filter(
    program: &mut SchedClassifier,
    pins: &Pins,
    name: &str,
    facts: &Interface,
) -> Result<Held, DataplaneError> {
    let step = || format!("attaching a filter to {name}");
    let found = clsact::PREFIXES
        .iter()
        .map(|prefix| format!("{prefix}{}", facts.index))
        .find_map(|pin| Some((pins.candidates(&pin).into_iter().next()?, pin)));
    let (path, pin) = match found {
        Some((path, pin)) if clsact::is_there(facts.index) => (path, pin),
        lost => {
            let how = if lost.is_some() { How::Again } else { How::Attached };
            // Taken off by somebody, or of an interface that is gone and whose index came back.
            if let Some((path, _)) = &lost {
                discard(path);
            }
            return add_filter(program, pins, name, facts, how);
        }
    };
    let id = program.info().map_err(failed(step()))?.id();
    if !ProgramInfo::from_pin(&path).is_ok_and(|pinned| pinned.id() == id) {
        clsact::replace(program, name).map_err(failed(step()))?;
        // Only the file: the filter is the successor's by now.
        fs::remove_file(&path).map_err(failed(step()))?;
        program.pin(pins.link(&pin)).map_err(failed(step()))?;
    }
    Ok(Held { mode: AttachMode::Clsact, pin, how: How::Kept })
}

fn add_filter(
    program: &mut SchedClassifier,
    pins: &Pins,
    name: &str,
    facts: &Interface,
    how: How,
) -> Result<Held, DataplaneError> {
    let step = || format!("attaching a filter to {name}");
    let is_ours = clsact::provide(facts.index).map_err(failed(step()))?;
    let pin = format!("{}{}", clsact::PREFIXES[usize::from(is_ours)], facts.index);
    // The pin first: what nobody could find again must not stay.
    program.pin(pins.link(&pin)).map_err(failed(step()))?;
    if let Err(error) = clsact::add(program, name) {
        discard(&pins.link(&pin));
        return Err(failed(step())(error));
    }
    Ok(Held { mode: AttachMode::Clsact, pin, how })
}
