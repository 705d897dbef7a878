//! Attaches XDP to interfaces, takes over what is attached, and pushes nobody
//! else's program aside.
//!
//! A link is pinned as `xdp-INDEX`, by the index of its interface: names of
//! interfaces may have dots, names on bpffs may not.

use std::{fs, io, os::fd::AsFd as _, path::PathBuf};

use aya::programs::{
    ProgramError, Xdp, XdpMode,
    links::{FdLink, PinnedLink},
    xdp::XdpLinkId,
};

use super::{
    attach::{into_fd_link, pin_over, program_fd, program_name, update},
    interface::{self, Interface},
    load::{Loaded, failed},
    pins::{Pins, remove_link},
};
use crate::{
    config::{Attach, Config, Interfaces, RefuseWith},
    dataplane::{AttachMode, Attachment, DataplaneError},
};

/// How the names of these links begin.
const PREFIX: &str = "xdp-";
/// What an operator should know about resets on a veth.
const VETH_REMARK: &str = "a reset to a refused SYN reaches the peer of a veth only if the peer has an XDP program of \
                           its own, which may pass everything; without one refused clients time out: attach = \"generic\" \
                           has no such limit";

/// Attaches to every interface of the configuration, and detaches from others.
pub(super) fn attach(
    loaded: &mut Loaded,
    pins: &Pins,
    config: &Config,
) -> Result<Vec<Attachment>, DataplaneError> {
    if config.attach == Attach::None {
        detach_all_but(pins, &[]);
        return Ok(without_xdp(config));
    }
    let mut attachments = Vec::new();
    let mut kept = Vec::new();
    for name in interfaces(config)? {
        let (attachment, link) = attach_one(loaded, pins, config, &name)?;
        attachments.push(attachment);
        kept.push(link);
    }
    detach_all_but(pins, &kept);
    Ok(attachments)
}

fn attach_one(
    loaded: &mut Loaded,
    pins: &Pins,
    config: &Config,
    name: &str,
) -> Result<(Attachment, String), DataplaneError> {
    let missing = |error: io::Error| DataplaneError::Setup {
        step: format!("finding the interface {name}"),
        remedy: "name an interface that `ip link` lists in `interfaces`, or use \"auto\"",
        source: error.into(),
    };
    let facts = interface::look_up(name).map_err(missing)?;
    let link = format!("{PREFIX}{}", facts.index);
    let program: &mut Xdp = loaded.program_mut("ingress")?;
    let taken = take_over(program, pins, config.attach, name, &facts, &link)?;
    let mode = if let Some(mode) = taken {
        mode
    } else {
        let failed = || failed(format!("attaching XDP to {name}"));
        let (id, mode) = attach_in_turn(program, facts.index, config.attach).map_err(failed())?;
        let attached = program.take_link(id).and_then(into_fd_link).map_err(failed())?;
        pin_over(attached, &pins.link(&link))?;
        mode
    };
    let resets = config.services.iter().any(|service| service.refuse_with == RefuseWith::Reset);
    let remark = if facts.is_veth && resets && mode == AttachMode::Native { VETH_REMARK } else { "" };
    Ok((Attachment { interface: name.to_owned(), mode, remark: remark.to_owned() }, link))
}

/// Gives the program that is on an interface already, if it is limiter's, this one for a successor.
fn take_over(
    program: &Xdp,
    pins: &Pins,
    wanted: Attach,
    name: &str,
    facts: &Interface,
    link: &str,
) -> Result<Option<AttachMode>, DataplaneError> {
    let candidates = pins.candidates(link);
    let Some(id) = facts.xdp_program else {
        // Pins of an interface that is gone, whose index came back.
        for path in candidates {
            discard(&path);
        }
        return Ok(None);
    };
    let Some(path) = candidates.into_iter().find(|path| program_of(path) == Some(id)) else {
        return Err(foreign_xdp(name, id));
    };
    let mode = if facts.is_generic { AttachMode::Generic } else { AttachMode::Native };
    let suits = match wanted {
        Attach::Native => mode == AttachMode::Native,
        Attach::Generic => mode == AttachMode::Generic,
        Attach::Auto | Attach::None => true,
    };
    if !suits || !update(&path, program_fd(program.fd())?.as_fd()) {
        // The gate limits meanwhile, as exactly.
        discard(&path);
        return Ok(None);
    }
    let ours = pins.link(link);
    if path != ours {
        fs::rename(&path, &ours).map_err(failed(format!("pinning {}", ours.display())))?;
    }
    Ok(Some(mode))
}

/// Returns the id of the program that a pinned link attaches.
fn program_of(path: &PathBuf) -> Option<u32> {
    let link = FdLink::from(PinnedLink::from_pin(path).ok()?);
    Some(link.info().ok()?.program_id())
}

fn discard(path: &std::path::Path) {
    if let Err(error) = remove_link(path) {
        tracing::warn!(path = %path.display(), %error, "a pinned link stays behind");
    }
}

fn detach_all_but(pins: &Pins, kept: &[String]) {
    for name in pins.links_named(PREFIX).iter().filter(|name| !kept.contains(name)) {
        discard(&pins.link(name));
    }
}

/// Attaches in the mode asked for; `auto` tries the driver, then the network stack.
fn attach_in_turn(
    program: &mut Xdp,
    index: u32,
    wanted: Attach,
) -> Result<(XdpLinkId, AttachMode), ProgramError> {
    let mut in_mode = |mode| match mode {
        AttachMode::Generic => program.attach_to_if_index(index, XdpMode::Skb).map(|link| (link, mode)),
        AttachMode::Native | AttachMode::None => {
            program.attach_to_if_index(index, XdpMode::Driver).map(|link| (link, AttachMode::Native))
        }
    };
    match wanted {
        Attach::Native => in_mode(AttachMode::Native),
        Attach::Generic => in_mode(AttachMode::Generic),
        Attach::Auto | Attach::None => in_mode(AttachMode::Native).or_else(|error| {
            tracing::info!(%error, "the driver does not take XDP; attaching in the network stack");
            in_mode(AttachMode::Generic)
        }),
    }
}

fn interfaces(config: &Config) -> Result<Vec<String>, DataplaneError> {
    let missing = |error: io::Error| DataplaneError::Setup {
        step: "finding the interface of the default route".to_owned(),
        remedy: "name the interfaces in `interfaces`",
        source: error.into(),
    };
    match &config.interfaces {
        Interfaces::Named(names) => Ok(names.clone()),
        Interfaces::Auto => Ok(vec![interface::of_default_route().map_err(missing)?]),
    }
}

fn without_xdp(config: &Config) -> Vec<Attachment> {
    let names = match &config.interfaces {
        Interfaces::Named(names) => names.clone(),
        Interfaces::Auto => vec!["auto".to_owned()],
    };
    let remark = "the gate alone limits, on every interface; refused clients see no reset";
    let attachment = |interface| Attachment { interface, mode: AttachMode::None, remark: remark.to_owned() };
    names.into_iter().map(attachment).collect()
}

fn foreign_xdp(name: &str, id: u32) -> DataplaneError {
    DataplaneError::ForeignXdp {
        interface: name.to_owned(),
        program: program_name(id),
        id,
        remedy: format!(
            "limiter replaces nothing: take it off (`ip link set dev {name} xdp off`, or stop its owner), or \
             guard with `attach = \"none\"`"
        ),
    }
}
