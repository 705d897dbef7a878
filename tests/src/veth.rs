//! A server and its clients, joined by veth pairs.
//!
//! Client *n* reaches the server from `10.90.n.2` and `fd90:n::2` at
//! `10.90.n.1` and `fd90:n::1`, over `cliN` and `srvN`. Neighbours are static
//! and IPv6 skips duplicate address detection, so the first packet flows at
//! once and nothing else is on the wire.

mod plan;

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;

pub use plan::Plan;

use crate::frame::Mac;
use crate::host;
use crate::netns::Namespace;
use crate::xdp::Attached;

/// A server namespace and its client namespaces.
#[derive(Debug)]
pub struct Bed {
    /// One for each client, in order; first to be dropped, its devices with it.
    pub clients: Vec<Client>,
    /// Where the server, and limiter, run.
    pub server: Namespace,
}

/// A client namespace and its link to the server.
#[derive(Debug)]
pub struct Client {
    plan: Plan,
    pass: Option<Attached>,
    /// Where the client runs.
    pub namespace: Namespace,
    /// Its number, part of its addresses.
    pub index: u8,
    server: String,
}

impl Bed {
    /// One client, one queue, packets with real checksums, `XDP_TX` arrives.
    #[must_use]
    pub fn plan() -> Plan {
        Plan::default()
    }

    /// The bed that most tests want: [`Bed::plan`] as it is.
    #[must_use]
    pub fn new() -> Self {
        Self::plan().build()
    }

    /// The first client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.clients[0]
    }
}

impl Default for Bed {
    fn default() -> Self {
        Self::new()
    }
}

impl Client {
    /// The client's device.
    #[must_use]
    pub fn device(&self) -> String {
        format!("cli{}", self.index)
    }

    /// The server's device towards this client.
    #[must_use]
    pub fn server_device(&self) -> String {
        format!("srv{}", self.index)
    }

    /// The client's IPv4 address.
    #[must_use]
    pub fn ipv4(&self) -> IpAddr {
        Ipv4Addr::new(10, 90, self.index, 2).into()
    }

    /// The client's IPv6 address.
    #[must_use]
    pub fn ipv6(&self) -> IpAddr {
        Ipv6Addr::new(0xfd90, self.index.into(), 0, 0, 0, 0, 0, 2).into()
    }

    /// The server's IPv4 address on this link.
    #[must_use]
    pub fn server_ipv4(&self) -> IpAddr {
        Ipv4Addr::new(10, 90, self.index, 1).into()
    }

    /// The server's IPv6 address on this link.
    #[must_use]
    pub fn server_ipv6(&self) -> IpAddr {
        Ipv6Addr::new(0xfd90, self.index.into(), 0, 0, 0, 0, 0, 1).into()
    }

    /// The station address of the client's device.
    #[must_use]
    pub fn mac(&self) -> Mac {
        [2, 0, 0, 0x90, self.index, 2]
    }

    /// The station address of the server's device.
    #[must_use]
    pub fn server_mac(&self) -> Mac {
        [2, 0, 0, 0x90, self.index, 1]
    }

    /// The station address that no host owns.
    #[must_use]
    pub fn ghost_mac(&self) -> Mac {
        [2, 0, 0, 0x90, self.index, 3]
    }

    /// Deletes the link to the server, as one does who pulls a plug.
    #[track_caller]
    pub fn unplug(&mut self, server: &Namespace) {
        self.pass = None;
        server.ip(&format!("link del {}", self.server_device()));
    }

    /// Makes a link of the same names and addresses in the place of one that was unplugged.
    #[track_caller]
    pub fn plug(&mut self, server: &Namespace) {
        self.plan.link(server, self);
    }

    /// Gives the client more addresses, of any network, which the server can answer.
    pub fn add_addresses(&self, addresses: &[IpAddr]) {
        let mut lines = String::new();
        for address in addresses {
            let (length, nodad) = if address.is_ipv4() { (32, "") } else { (128, "nodad") };
            writeln!(lines, "addr add {address}/{length} dev {} {nodad}", self.device())
                .expect("writing to a string succeeds");
        }
        self.namespace.ip(&lines);
        self.reach(addresses, self.mac());
    }

    /// Makes the server answer `addresses`, which no host owns, over this link.
    ///
    /// The frames arrive at the client's device, where only a packet socket reads them.
    pub fn add_ghosts(&self, addresses: &[IpAddr]) {
        self.reach(addresses, self.ghost_mac());
    }

    fn reach(&self, addresses: &[IpAddr], mac: Mac) {
        let (device, mac) = (self.server_device(), mac_text(mac));
        let mut lines = String::new();
        for address in addresses {
            let length = if address.is_ipv4() { 32 } else { 128 };
            writeln!(
                lines,
                "route replace {address}/{length} dev {device}\n\
                 neigh replace {address} lladdr {mac} nud permanent dev {device}"
            )
            .expect("writing to a string succeeds");
        }
        host::run_with_input(Command::new("ip").args(["-n", &self.server, "-batch", "-"]), &lines);
    }
}

fn mac_text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
