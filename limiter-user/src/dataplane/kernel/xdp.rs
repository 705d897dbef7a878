//! Attaches XDP to an interface, takes over what is attached, and pushes nobody
//! else's program aside.
//!
//! A link is pinned as `xdp-INDEX`, by the index of its interface: names of
//! interfaces may have dots, names on bpffs may not.

use std::os::fd::AsFd as _;

use aya::programs::{ProgramError, Xdp, XdpMode, xdp::XdpLinkId};

use super::{
    attach::{into_fd_link, pin_over, program_fd, program_name},
    interface::Interface,
    interfaces::Held,
    link::{self, How, Successor, discard},
    load::{Loaded, failed},
    pins::Pins,
};
use crate::{
    config::Attach,
    dataplane::{AttachMode, DataplaneError},
};

/// How the names of these links begin.
pub(super) const PREFIX: &str = "xdp-";

/// Attaches to an interface, or keeps what is attached.
pub(super) fn attach(
    loaded: &mut Loaded,
    pins: &Pins,
    wanted: Attach,
    name: &str,
    facts: &Interface,
) -> Result<Held, DataplaneError> {
    let step = || format!("attaching XDP to {name}");
    let pin = format!("{PREFIX}{}", facts.index);
    let program: &mut Xdp = loaded.program_mut("ingress")?;
    if let Some(id) = facts.xdp_program
        && !pins.candidates(&pin).iter().any(|path| link::program_of(path) == Some(id))
    {
        return Err(foreign(name, id));
    }
    let mode = if facts.is_generic { AttachMode::Generic } else { AttachMode::Native };
    let suits = match wanted {
        Attach::Native => mode == AttachMode::Native,
        Attach::Generic => mode == AttachMode::Generic,
        Attach::Auto | Attach::Tcx | Attach::None => true,
    };
    if facts.xdp_program.is_some() && !suits {
        // The gate limits meanwhile, as exactly.
        for path in pins.candidates(&pin) {
            discard(&path);
        }
    }
    let id = program.info().map_err(failed(step()))?.id();
    let successor = Successor { id, fd: program_fd(program.fd())?.as_fd() };
    let present: Vec<u32> = facts.xdp_program.into_iter().collect();
    let how = link::take_over(pins, &pin, &present, &successor)?;
    if how == How::Kept {
        return Ok(Held { mode, pin, how });
    }
    let (id, mode) = attach_in_turn(program, facts.index, wanted).map_err(failed(step()))?;
    let link = program.take_link(id).and_then(into_fd_link).map_err(failed(step()))?;
    pin_over(link, &pins.link(&pin))?;
    Ok(Held { mode, pin, how })
}

/// Attaches in the mode asked for; `auto` tries the driver, then the network stack.
fn attach_in_turn(
    program: &mut Xdp,
    index: u32,
    wanted: Attach,
) -> Result<(XdpLinkId, AttachMode), ProgramError> {
    let native = |program: &mut Xdp| {
        program.attach_to_if_index(index, XdpMode::Driver).map(|link| (link, AttachMode::Native))
    };
    let generic = |program: &mut Xdp| {
        program.attach_to_if_index(index, XdpMode::Skb).map(|link| (link, AttachMode::Generic))
    };
    match wanted {
        Attach::Native => native(program),
        Attach::Generic => generic(program),
        Attach::Auto | Attach::Tcx | Attach::None => native(program).or_else(|error| {
            tracing::info!(%error, "the driver does not take XDP; attaching in the network stack");
            generic(program)
        }),
    }
}

fn foreign(name: &str, id: u32) -> DataplaneError {
    DataplaneError::ForeignXdp {
        interface: name.to_owned(),
        program: program_name(id),
        id,
        remedy: format!(
            "limiter replaces nothing: take it off (`ip link set dev {name} xdp off`, or stop its owner), or \
             guard behind it with `attach = \"tcx\"`, or with `attach = \"none\"`"
        ),
    }
}
