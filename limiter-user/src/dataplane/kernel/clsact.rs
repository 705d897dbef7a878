//! The `clsact` queueing discipline, for kernels without TCX: a filter in it
//! judges frames as a TCX program does.
//!
//! A filter belongs to no descriptor and cannot be pinned. What tells that one
//! is ours is its program, pinned beside the links; the name of that pin says
//! whether the discipline is ours too, since one that was there before stays.

use std::{io, path::Path};

use aya::programs::{
    ProgramError, SchedClassifier, TcAttachType,
    tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle as FilterHandle},
};
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcHandle, TcHeader, TcMessage},
};
use nix::errno::Errno;

use super::netlink;

/// How the pin of a filter is named in a discipline that was there before, and in our own.
pub(super) const PREFIXES: [&str; 2] = ["filter-", "clsact-"];
/// In front of all other filters, as XDP is in front of the network stack.
const PRIORITY: u16 = 1;
/// "LI": nobody else's, most likely. A foreign filter of that handle is not replaced.
const HANDLE: FilterHandle = FilterHandle::new(0, 0x4c49);
/// `ETH_P_ALL`, as it lies in `tcm_info`.
const ALL_PROTOCOLS: u32 = 0x0003_u16.to_be() as u32;
/// `TC_H_MAKE(TC_H_CLSACT, 0)`.
const CLSACT: TcHandle = TcHandle { major: 0xffff, minor: 0 };
/// `TC_H_CLSACT`, the parent of the discipline.
const ROOT: TcHandle = TcHandle { major: 0xffff, minor: 0xfff1 };
/// Where its filters hang: `TC_H_MIN_INGRESS` and `TC_H_MIN_EGRESS`.
const INGRESS: TcHandle = TcHandle { major: 0xffff, minor: 0xfff2 };
const EGRESS: TcHandle = TcHandle { major: 0xffff, minor: 0xfff3 };

/// Makes sure that an interface has the discipline; returns whether it did not have it before.
pub(super) fn provide(index: u32) -> io::Result<bool> {
    let message = RouteNetlinkMessage::NewQueueDiscipline(discipline(index));
    match netlink::ask(message, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(Errno::EEXIST as i32) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Adds the filter; it stays when the daemon ends.
pub(super) fn add(program: &mut SchedClassifier, interface: &str) -> Result<(), ProgramError> {
    let options = NlOptions { priority: PRIORITY, handle: HANDLE, classid: None };
    let id =
        program.attach_with_options(interface, TcAttachType::Ingress, TcAttachOptions::Netlink(options))?;
    // Dropping it would remove the filter.
    std::mem::forget(program.take_link(id)?);
    Ok(())
}

/// Gives the filter that is there another program, without a gap.
pub(super) fn replace(program: &mut SchedClassifier, interface: &str) -> Result<(), ProgramError> {
    let there = SchedClassifierLink::attached(interface, TcAttachType::Ingress, PRIORITY, HANDLE, None);
    let id = program.attach_to_link(there.map_err(TcError::from)?)?;
    std::mem::forget(program.take_link(id)?);
    Ok(())
}

/// Returns whether our filter is on an interface; in doubt it is.
pub(super) fn is_there(index: u32) -> bool {
    let asked = netlink::ask(RouteNetlinkMessage::GetTrafficFilter(filter(index)), 0);
    !matches!(asked, Err(error) if matches!(error.raw_os_error(), Some(NO_FILTER | NO_DISCIPLINE)))
}

/// What the kernel answers when there is no such filter, and when there is nothing to hang one into.
const NO_FILTER: i32 = Errno::ENOENT as i32;
const NO_DISCIPLINE: i32 = Errno::EINVAL as i32;

/// Removes the filter that a pin stands for, and the discipline if that is ours and nobody else uses it.
pub(super) fn withdraw(pin: &Path) -> io::Result<()> {
    let name = pin.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some((prefix, index)) =
        PREFIXES.iter().find_map(|prefix| Some((*prefix, name.strip_prefix(prefix)?)))
    else {
        return Ok(());
    };
    let index: u32 = index.parse().map_err(io::Error::other)?;
    remove(index)?;
    if prefix == PREFIXES[1] && ![INGRESS, EGRESS].into_iter().any(|parent| has_filters(index, parent)) {
        netlink::ask(RouteNetlinkMessage::DelQueueDiscipline(discipline(index)), NLM_F_ACK)?;
    }
    Ok(())
}

/// Removes the filter, if it is there.
pub(super) fn remove(index: u32) -> io::Result<()> {
    match netlink::ask(RouteNetlinkMessage::DelTrafficFilter(filter(index)), NLM_F_ACK) {
        Err(error) if !is_gone(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Whether an error says that filter, discipline or interface are gone already.
fn is_gone(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(code, Some(Errno::ENOENT | Errno::EINVAL | Errno::ENODEV))
}

/// Whether anything hangs there; in doubt something does.
fn has_filters(index: u32, parent: TcHandle) -> bool {
    let mut message = TcMessage::default();
    message.header = header(index, TcHandle::default(), parent, 0);
    !matches!(netlink::ask(RouteNetlinkMessage::GetTrafficFilter(message), NLM_F_DUMP), Ok(None))
}

fn discipline(index: u32) -> TcMessage {
    let mut message = TcMessage::default();
    message.header = header(index, CLSACT, ROOT, 0);
    message.attributes.push(TcAttribute::Kind("clsact".to_owned()));
    message
}

fn filter(index: u32) -> TcMessage {
    let mut message = TcMessage::default();
    let info = u32::from(PRIORITY) << 16 | ALL_PROTOCOLS;
    message.header = header(index, u32::from(HANDLE).into(), INGRESS, info);
    message.attributes.push(TcAttribute::Kind("bpf".to_owned()));
    message
}

fn header(index: u32, handle: TcHandle, parent: TcHandle, info: u32) -> TcHeader {
    TcHeader { index: index.cast_signed(), handle, parent, info, ..TcHeader::default() }
}
