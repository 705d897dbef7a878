//! Brings what is attached in line with the configuration and with the
//! interfaces there are: at start, and whenever one of them changes.
//!
//! What is attached is read from pins and from the kernel each time; nothing is
//! remembered that could be wrong.

use std::io;

use nix::errno::Errno;

use super::{
    clsact,
    interface::{self, Interface},
    link::{How, discard},
    load::{Loaded, failed},
    pins::Pins,
    tc, xdp,
};
use crate::{
    chain::chain,
    config::{Attach, Config, Interfaces, RefuseWith},
    dataplane::{AttachMode, Attachment, DataplaneError},
};

/// What an operator should know about resets on a veth.
const VETH_REMARK: &str = "a reset to a refused SYN reaches the peer of a veth only if the peer has an XDP program of \
                           its own, which may pass everything; without one refused clients time out: attach = \"generic\" \
                           has no such limit";
const NO_INTERFACE: &str = "there is no such interface; limiter attaches when it appears";
const NO_ROUTE: &str = "there is no default route; limiter attaches when there is one";
const GATE_ALONE: &str = "the gate alone limits, on every interface; refused clients see no reset";
/// Stands for the interface of a default route that there is not.
const AUTO: &str = "auto";

/// How an interface is guarded.
pub(super) struct Held {
    /// By what.
    pub(super) mode: AttachMode,
    /// What keeps it so.
    pub(super) pin: String,
    /// Since when.
    pub(super) how: How,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Every interface of the configuration, in its order.
    pub(super) attachments: Vec<Attachment>,
    /// What is different from before, a sentence each.
    pub(super) changes: Vec<String>,
    /// Why an interface is not guarded that could be.
    pub(super) errors: Vec<DataplaneError>,
    kept: Vec<String>,
}

/// Attaches to every interface of the configuration that there is, then detaches from others; `before`
/// is what it came to last time.
pub(super) fn bring_in_line(
    loaded: &mut Loaded,
    pins: &Pins,
    config: &Config,
    before: &[Attachment],
) -> Outcome {
    let mut outcome = Outcome::default();
    if config.attach == Attach::None {
        outcome.attachments = without_xdp(config);
    } else {
        for name in wanted(config, before) {
            let old = before.iter().find(|old| old.interface == name);
            outcome.guard(loaded, pins, config, &name, old);
        }
    }
    // The new ones first: `auto` moves without a gap.
    for pin in pins_of_interfaces(pins).iter().filter(|pin| !outcome.kept.contains(pin)) {
        discard(&pins.link(pin));
    }
    let was = |name: &str| before.iter().find(|other| other.interface == name);
    for now in &outcome.attachments {
        let left = was(&now.interface).is_some_and(|before| before.mode != AttachMode::None);
        if left && now.mode == AttachMode::None {
            outcome.changes.push(format!("{} is not guarded any more: {}", now.interface, now.remark));
        }
    }
    for old in before.iter().filter(|old| old.mode != AttachMode::None) {
        if !outcome.attachments.iter().any(|now| now.interface == old.interface) {
            outcome.changes.push(format!("{} is not guarded any more", old.interface));
        }
    }
    outcome
}

impl Outcome {
    fn guard(
        &mut self,
        loaded: &mut Loaded,
        pins: &Pins,
        config: &Config,
        name: &str,
        old: Option<&Attachment>,
    ) {
        let unguarded =
            |remark: String| Attachment { interface: name.to_owned(), mode: AttachMode::None, remark };
        let guarded = match interface::look_up(name) {
            Ok(facts) => attach(loaded, pins, config, name, &facts, old),
            Err(error) if is_missing(&error) => {
                let remark = if name == AUTO { NO_ROUTE } else { NO_INTERFACE };
                self.attachments.push(unguarded(remark.to_owned()));
                return;
            }
            Err(error) => Err(failed(format!("looking at the interface {name}"))(error)),
        };
        match guarded {
            Ok((held, remark)) => {
                let word = crate::control::protocol::attached(held.mode);
                match held.how {
                    How::Kept => {}
                    How::Attached => self.changes.push(format!("{name} is guarded ({word})")),
                    How::Again => self.changes.push(format!(
                        "the program on {name} had been taken off by somebody else; it is guarded again ({word})"
                    )),
                }
                self.kept.push(held.pin);
                self.attachments.push(Attachment { interface: name.to_owned(), mode: held.mode, remark });
            }
            Err(error) => {
                self.attachments.push(unguarded(chain(&error)));
                self.errors.push(error);
            }
        }
    }
}

fn is_missing(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ENODEV as i32)
}

/// Attaches to one interface, by XDP or where that is taken by tc.
fn attach(
    loaded: &mut Loaded,
    pins: &Pins,
    config: &Config,
    name: &str,
    facts: &Interface,
    old: Option<&Attachment>,
) -> Result<(Held, String), DataplaneError> {
    if config.attach == Attach::Tcx {
        return Ok((tc::attach(loaded, pins, name, facts)?, String::new()));
    }
    let resets = config.services.iter().any(|service| service.refuse_with == RefuseWith::Reset);
    match xdp::attach(loaded, pins, config.attach, name, facts) {
        Ok(held) => {
            let is_short = facts.is_veth && resets && held.mode == AttachMode::Native;
            Ok((held, if is_short { VETH_REMARK.to_owned() } else { String::new() }))
        }
        Err(DataplaneError::ForeignXdp { program, id, .. }) if config.attach == Attach::Auto => {
            let held = tc::attach(loaded, pins, name, facts)?;
            // Names of programs are told only to the privileges that the daemon has at its start.
            let known = old.filter(|old| old.remark.contains(&format!("(id {id})")));
            let remark = known.map_or_else(|| behind(&program, id), |old| old.remark.clone());
            Ok((held, remark))
        }
        Err(error) => Err(error),
    }
}

fn behind(program: &str, id: u32) -> String {
    format!(
        "the XDP program {program} (id {id}) has this interface, so frames are judged behind it, in tc; \
         attach = \"tcx\" says that this is meant"
    )
}

/// Returns the names of the interfaces to guard.
fn wanted(config: &Config, before: &[Attachment]) -> Vec<String> {
    match &config.interfaces {
        Interfaces::Named(names) => names.clone(),
        Interfaces::Auto => match interface::of_default_route() {
            Ok(name) => vec![name],
            // Routes go and come, too: what was guarded stays guarded meanwhile.
            Err(_) if !before.is_empty() => before.iter().map(|old| old.interface.clone()).collect(),
            Err(_) => vec![AUTO.to_owned()],
        },
    }
}

fn without_xdp(config: &Config) -> Vec<Attachment> {
    let names = match &config.interfaces {
        Interfaces::Named(names) => names.clone(),
        Interfaces::Auto => vec![AUTO.to_owned()],
    };
    let attachment =
        |interface| Attachment { interface, mode: AttachMode::None, remark: GATE_ALONE.to_owned() };
    names.into_iter().map(attachment).collect()
}

fn pins_of_interfaces(pins: &Pins) -> Vec<String> {
    let prefixes = [xdp::PREFIX, tc::PREFIX].into_iter().chain(clsact::PREFIXES);
    prefixes.flat_map(|prefix| pins.links_named(prefix)).collect()
}
