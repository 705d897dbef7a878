//! Which entries matter here, and to which service.

use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
};

use limiter_common::{addr::Addr, names};

use super::message::Entry;

/// Stands for connections of this host to mail ports of others, where a service id is asked for.
pub const OUTBOUND: u32 = names::SERVICES as u32;
/// The label of those.
pub const OUTBOUND_NAME: &str = "outbound";
/// Services, the one of outbound connections included.
pub const SERVICES: usize = names::SERVICES + 1;
/// Ports of other hosts that mail is sent to: `smtp`, `submissions` and `submission`.
const MAIL_PORTS: [u16; 3] = [25, 465, 587];

/// Both ends of a connection as a socket of this host sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ends {
    /// This host's address.
    pub local: Addr,
    /// The other one's.
    pub remote: Addr,
    /// This host's port.
    pub local_port: u16,
    /// The other one's.
    pub remote_port: u16,
}

impl Ends {
    /// Returns the ends with these addresses.
    #[must_use]
    pub fn new(local: SocketAddr, remote: SocketAddr) -> Self {
        Self {
            local: local.ip().into(),
            remote: remote.ip().into(),
            local_port: local.port(),
            remote_port: remote.port(),
        }
    }
}

/// An entry that matters: to whom, and as which socket of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guarded {
    /// The service id, or [`OUTBOUND`].
    pub service: u32,
    /// The socket's ends.
    pub ends: Ends,
}

/// Ports of services and addresses of this host: what makes an entry matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    services: HashMap<u16, u32>,
    local: BTreeSet<Addr>,
}

impl Guard {
    /// Makes a guard of ports with their service ids and this host's addresses.
    #[must_use]
    pub fn new(ports: impl IntoIterator<Item = (u16, u32)>, local: &[IpAddr]) -> Self {
        Self {
            services: ports.into_iter().collect(),
            local: local.iter().map(|address| Addr::from(*address)).collect(),
        }
    }

    /// Returns whether an entry to this port can matter.
    #[must_use]
    pub fn wants(&self, port: u16) -> bool {
        self.services.contains_key(&port) || MAIL_PORTS.contains(&port)
    }

    /// Returns every port that [`Self::wants`] wants, each once.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        let ports: BTreeSet<u16> = self.services.keys().copied().chain(MAIL_PORTS).collect();
        ports.into_iter().collect()
    }

    /// Returns whether an address is one of this host's own.
    #[must_use]
    pub fn is_local(&self, address: Addr) -> bool {
        self.local.contains(&address)
    }

    /// Returns to whom an entry matters, if it does.
    ///
    /// One to a guarded port of this host matters to that service, whatever its destination became by
    /// translation; one from this host to a mail port of others is outbound. What is forwarded is not ours.
    #[must_use]
    pub fn classify(&self, entry: &Entry) -> Option<Guarded> {
        let Entry { original, reply, .. } = entry;
        if self.is_local(original.destination) || self.is_local(reply.source) {
            let service = *self.services.get(&original.destination_port)?;
            // What the server's socket sees is the direction of its answers.
            let ends = Ends {
                local: reply.source,
                remote: reply.destination,
                local_port: reply.source_port,
                remote_port: reply.destination_port,
            };
            return Some(Guarded { service, ends });
        }
        if !self.is_local(original.source) || !MAIL_PORTS.contains(&original.destination_port) {
            return None;
        }
        let ends = Ends {
            local: original.source,
            remote: original.destination,
            local_port: original.source_port,
            remote_port: original.destination_port,
        };
        Some(Guarded { service: OUTBOUND, ends })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conntrack::message::Tuple;

    const HOST: &str = "10.0.0.1:25";
    const CLIENT: &str = "192.0.2.7:40000";

    fn tuple(from: &str, to: &str) -> Tuple {
        let ends = Ends::new(from.parse().unwrap(), to.parse().unwrap());
        Tuple {
            source: ends.local,
            destination: ends.remote,
            source_port: ends.local_port,
            destination_port: ends.remote_port,
            protocol: 6,
            zone: None,
        }
    }

    fn classified(original: (&str, &str), reply: (&str, &str)) -> Option<(u32, Ends)> {
        let guard = Guard::new([(25, 1), (143, 2)], &["10.0.0.1".parse().unwrap()]);
        let entry = Entry {
            original: tuple(original.0, original.1),
            reply: tuple(reply.0, reply.1),
            ..Entry::default()
        };
        guard.classify(&entry).map(|guarded| (guarded.service, guarded.ends))
    }

    fn ends(local: &str, remote: &str) -> Ends {
        Ends::new(local.parse().unwrap(), remote.parse().unwrap())
    }

    /// To a guarded port of this host: the service's, as the server's socket sees it.
    #[test]
    fn inbound_connections_belong_to_their_service() {
        assert_eq!(classified((CLIENT, HOST), (HOST, CLIENT)), Some((1, ends(HOST, CLIENT))));
        // Redirected to another port: the socket is there, the service that of the port asked for.
        let moved = "10.0.0.1:2525";
        assert_eq!(classified((CLIENT, HOST), (moved, CLIENT)), Some((1, ends(moved, CLIENT))));
    }

    /// From this host to a mail port of another: outbound, as the client's socket sees it.
    #[test]
    fn connections_to_mail_ports_of_others_are_outbound() {
        let (from, to) = ("10.0.0.1:50000", "198.51.100.9:25");
        // The source is translated behind the socket's back.
        assert_eq!(classified((from, to), (to, "203.0.113.5:1024")), Some((OUTBOUND, ends(from, to))));
        assert_eq!(classified((from, "198.51.100.9:143"), ("198.51.100.9:143", from)), None);
    }

    /// Neither from nor to this host: forwarded, and not ours.
    #[test]
    fn forwarded_mail_is_not_ours() {
        assert_eq!(classified((CLIENT, "198.51.100.9:25"), ("198.51.100.9:25", CLIENT)), None);
    }

    /// A port of ours that no service has does not matter, a mail port included.
    #[test]
    fn unguarded_ports_of_this_host_do_not_matter() {
        assert_eq!(classified((CLIENT, "10.0.0.1:587"), ("10.0.0.1:587", CLIENT)), None);
    }

    /// The ports for the filter are those of services and of mail, each once.
    #[test]
    fn ports_are_listed_once() {
        let guard = Guard::new([(25, 1), (143, 2)], &[]);
        assert_eq!(guard.ports(), [25, 143, 465, 587]);
        assert!(guard.wants(587) && guard.wants(143) && !guard.wants(80));
    }
}
