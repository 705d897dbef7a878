//! Whose a packet is: marks for the programs, and names for what they count.

use std::net::SocketAddr;

use limiter_common::{
    map::PortHints,
    witness::{Endpoint, Tag},
};
use zerocopy::FromZeros as _;

use crate::{config::Config, policy::Names};

/// The label of mail that this host sends.
pub const OUTBOUND: &str = "outbound";
/// What the label of an upstream begins with; names of services have no colon.
const UPSTREAM: &str = "upstream:";

/// What each port and address is marked with.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Marks {
    /// Tags by port of this host.
    pub(super) local: Box<PortHints>,
    /// Tags by port of others.
    pub(super) remote: Box<PortHints>,
    /// Tags of upstreams.
    pub(super) upstreams: Vec<(Endpoint, u32)>,
}

/// Names of upstreams by number; numbers are only ever added, so that counters keep their meaning.
#[derive(Clone, Debug, Default)]
pub(super) struct Upstreams {
    names: Vec<String>,
}

impl Upstreams {
    /// Returns the number of an upstream; none when there are too many.
    fn number(&mut self, name: &str) -> Option<u8> {
        let known = self.names.iter().position(|known| known == name);
        let number = known.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        (number < Tag::UPSTREAMS).then(|| u8::try_from(number).ok()).flatten()
    }

    /// Returns the names of all that were ever declared.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns the label of a tag.
    pub(super) fn label(&self, tag: u8, names: &Names) -> String {
        let tag = Tag(tag);
        if tag == Tag::OUTBOUND {
            return OUTBOUND.to_owned();
        }
        match tag.as_upstream() {
            Some(number) => upstream(self.names.get(usize::from(number)).map_or("unknown", String::as_str)),
            None => names.service(u32::from(tag.0)).to_owned(),
        }
    }
}

/// Returns the label of packets from and to an upstream.
pub(super) fn upstream(name: &str) -> String {
    format!("{UPSTREAM}{name}")
}

impl Marks {
    /// Returns the marks of a configuration; `guarded` has service ids by port.
    pub(super) fn of(config: &Config, guarded: &[u8; 1 << 16], upstreams: &mut Upstreams) -> Option<Self> {
        let mut local = PortHints::new_box_zeroed().ok()?;
        let mut remote = PortHints::new_box_zeroed().ok()?;
        local.service = *guarded;
        for port in &config.witness.outbound_ports {
            remote.service[usize::from(*port)] = Tag::OUTBOUND.0;
        }
        let mut endpoints = Vec::new();
        for declared in &config.upstreams {
            let Some(number) = upstreams.number(&declared.name) else {
                continue;
            };
            let tag = u32::from(Tag::upstream(number).0);
            endpoints.extend(declared.addresses.iter().map(|address| (endpoint(*address), tag)));
        }
        Some(Self { local, remote, upstreams: endpoints })
    }
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint { addr: address.ip().into(), port: u32::from(address.port()) }
}
