//! A small load balancer: it probes ports from several addresses, ejects a port
//! after failures in a row and takes it back after good rounds in a row.
//!
//! A probe is a TCP connection that is greeted in time, as health checks of real
//! balancers have it. How many an address makes at once can change: an access
//! pattern that changes is what this is here for.

use std::net::IpAddr;
use std::time::Duration;

use crate::client::{Burst, Target};
use crate::veth::Client;

/// Time between two rounds.
pub const INTERVAL: Duration = Duration::from_secs(2);
/// Rounds that fail in a row until a port is ejected.
pub const FALL: u32 = 3;
/// Good rounds in a row until it is taken back.
pub const RISE: u32 = 2;
/// How long a probe may take; less than the interval, so that rounds do not pile up.
const PROBE_TIME: Duration = Duration::from_millis(1_500);

/// A load balancer in a client's namespace.
#[derive(Debug)]
pub struct Balancer<'a> {
    client: &'a Client,
    addresses: Vec<IpAddr>,
    ports: Vec<Port>,
    /// Probes of each address to each port in a round.
    pub probes: usize,
}

/// What the balancer thinks of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its number.
    pub number: u16,
    /// Whether it gets connections.
    pub is_up: bool,
    failed: u32,
    good: u32,
}

/// How a round went for a port.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// The port, after the round.
    pub port: Port,
    /// Whether the round ejected it or took it back.
    pub changed: bool,
    /// Probes made.
    pub probes: usize,
    /// Probes that were greeted.
    pub greeted: usize,
}

impl Round {
    /// Whether most probes were greeted.
    #[must_use]
    pub fn is_good(&self) -> bool {
        2 * self.greeted > self.probes
    }
}

impl Port {
    fn judge(&mut self, is_good: bool) -> bool {
        let before = self.is_up;
        (self.failed, self.good) = if is_good { (0, self.good + 1) } else { (self.failed + 1, 0) };
        self.is_up = if self.is_up { self.failed < FALL } else { self.good >= RISE };
        self.is_up != before
    }
}

impl<'a> Balancer<'a> {
    /// Returns a balancer that probes these ports from these addresses, which it gets.
    #[must_use]
    pub fn new(client: &'a Client, addresses: Vec<IpAddr>, ports: &[u16]) -> Self {
        client.add_addresses(&addresses);
        let port = |number: &u16| Port { number: *number, is_up: true, failed: 0, good: 0 };
        Self { client, addresses, ports: ports.iter().map(port).collect(), probes: 1 }
    }

    /// Probes every port once from every address and draws the consequences.
    pub fn round(&mut self) -> Vec<Round> {
        let (client, probes) = (self.client, self.probes * self.addresses.len());
        let addresses = &self.addresses;
        let probe = |port: &mut Port| {
            let target = Target::greeting((client.server_ipv4(), port.number).into());
            let target = target.from(addresses).within(PROBE_TIME);
            let greeted = Burst::connect(&client.namespace, &target, probes).greeted();
            let round = Round { port: *port, changed: false, probes, greeted };
            let changed = port.judge(round.is_good());
            Round { port: *port, changed, ..round }
        };
        self.ports.iter_mut().map(probe).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three failures in a row eject a port, two good rounds in a row take it back.
    #[test]
    fn a_port_falls_and_rises() {
        let mut port = Port { number: 25, is_up: true, failed: 0, good: 0 };
        let mut judge = |rounds: &[bool]| {
            let changed: Vec<bool> = rounds.iter().map(|good| port.judge(*good)).collect();
            (changed, port.is_up)
        };
        assert_eq!(judge(&[false, false, true, false, false]), (vec![false; 5], true));
        assert_eq!(judge(&[false]), (vec![true], false));
        assert_eq!(judge(&[true, false, true]), (vec![false; 3], false));
        assert_eq!(judge(&[true]), (vec![true], true));
    }
}
