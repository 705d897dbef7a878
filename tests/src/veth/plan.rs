//! How a bed is to be built, and the building of it.

use std::time::Duration;

use super::{Bed, Client, mac_text};
use crate::netns::Namespace;
use crate::wait;
use crate::xdp::{Action, Attached, XdpMode};

/// How long a link may take to come up.
const UP_TIME: Duration = Duration::from_secs(10);

/// How a bed is to be built; see [`Bed::plan`].
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    clients: u8,
    queues: u8,
    mtu: u16,
    offloads: bool,
    pass: bool,
}

impl Plan {
    /// Sets how many clients there are.
    #[must_use]
    pub fn clients(self, clients: u8) -> Self {
        Self { clients, ..self }
    }

    /// Sets the receive and transmit queues of each device.
    #[must_use]
    pub fn queues(self, queues: u8) -> Self {
        Self { queues, ..self }
    }

    /// Sets the MTU of each device.
    #[must_use]
    pub fn mtu(self, mtu: u16) -> Self {
        Self { mtu, ..self }
    }

    /// Leaves segmentation and checksums to the "hardware": quick, but no packet has its own checksum.
    #[must_use]
    pub fn offloads(self) -> Self {
        Self { offloads: true, ..self }
    }

    /// Leaves the clients without an XDP program: what the server's `XDP_TX` sends is lost.
    #[must_use]
    pub fn without_pass(self) -> Self {
        Self { pass: false, ..self }
    }

    /// Builds the bed.
    #[must_use]
    pub fn build(self) -> Bed {
        let server = namespace("server");
        let clients = (0..self.clients).map(|index| self.client(&server, index)).collect();
        Bed { clients, server }
    }

    fn client(self, server: &Namespace, index: u8) -> Client {
        let namespace = namespace(&format!("client{index}"));
        let mut client =
            Client { plan: self, pass: None, namespace, index, server: server.name().to_owned() };
        self.link(server, &mut client);
        client
    }

    /// Joins a client to the server.
    pub(super) fn link(self, server: &Namespace, client: &mut Client) {
        let index = client.index;
        let (near, far) = (client.device(), client.server_device());
        let Self { queues, mtu, .. } = self;
        let queues = format!("numrxqueues {queues} numtxqueues {queues} mtu {mtu}");
        server.ip(&format!(
            "link add {far} address {} {queues} type veth peer name {near} address {} {queues} netns {}",
            mac_text(client.server_mac()),
            mac_text(client.mac()),
            client.namespace.name()
        ));
        let ends =
            [(server, &far, 1, 2, client.mac()), (&client.namespace, &near, 2, 1, client.server_mac())];
        for (namespace, device, own, other, other_mac) in ends {
            let other_mac = mac_text(other_mac);
            let (v4, v6) = (format!("10.90.{index}"), format!("fd90:{index:x}:"));
            namespace.ip(&format!(
                "link set {device} addrgenmode none\n\
                 addr add {v4}.{own}/24 dev {device}\n\
                 addr add {v6}:{own}/64 dev {device} nodad\n\
                 link set {device} up\n\
                 neigh add {v4}.{other} lladdr {other_mac} nud permanent dev {device}\n\
                 neigh add {v6}:{other} lladdr {other_mac} nud permanent dev {device}\n"
            ));
            if !self.offloads {
                namespace.output("ethtool", &["-K", device, "tx", "off"]);
            }
        }
        // What is sent before is dropped: the queue of a link is made by a thread of the kernel.
        wait::until("both ends of the link are up", UP_TIME, || {
            [(server, &far), (&client.namespace, &near)].iter().all(|(namespace, device)| {
                namespace.output("ip", &["-oneline", "link", "show", "dev", device]).contains("state UP")
            })
        });
        client.pass =
            self.pass.then(|| Attached::new(&client.namespace, &near, Action::Pass, XdpMode::Driver));
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self { clients: 1, queues: 1, mtu: 1500, offloads: false, pass: true }
    }
}

/// A namespace whose answers to a packet depend on its routes alone.
fn namespace(label: &str) -> Namespace {
    let namespace = Namespace::create(label);
    for name in ["all", "default"] {
        namespace.sysctl(&format!("net.ipv4.conf.{name}.rp_filter"), "0");
        namespace.sysctl(&format!("net.ipv6.conf.{name}.disable_ipv6"), "0");
        namespace.sysctl(&format!("net.ipv6.conf.{name}.accept_ra"), "0");
    }
    namespace
}
