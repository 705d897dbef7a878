//! Servers that have not spoken: every protocol of mail begins with the server's
//! greeting, so that a connection without one is a server that is stuck.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use limiter_common::{
    addr::Addr,
    witness::{FlowRecord, IN},
};

use crate::clock::Now;

/// What one look at the live connections found.
#[derive(Clone, Debug, Default)]
pub(super) struct Silence {
    known: u64,
    by_service: BTreeMap<u32, (u64, u64)>,
    /// Remote addresses of silent connections, by service.
    silent: Vec<(u32, Addr)>,
}

impl Silence {
    /// Looks for connections whose handshake is longer ago than `after`; one from before the witness counts from
    /// when it began to watch.
    pub(super) fn of(flows: &[FlowRecord], after: Duration, watched: Duration, now: Now) -> Self {
        let mut found = Self { known: flows.len() as u64, ..Self::default() };
        for record in flows.iter().filter(|record| record.flow.direction == IN) {
            let service = u32::from(record.flow.tag);
            let (hushed, all) = found.by_service.entry(service).or_default();
            *all += 1;
            let age = match record.flow.established_ns {
                0 => watched,
                at_ns => Duration::from_nanos(now.monotonic_ns.saturating_sub(at_ns)),
            };
            if record.flow.spoken == 0 && age >= after {
                *hushed += 1;
                found.silent.push((service, record.key.remote));
            }
        }
        found
    }

    /// Returns silent and all connections of a service.
    pub(super) fn of_service(&self, service: u32) -> (u64, u64) {
        self.by_service.get(&service).copied().unwrap_or_default()
    }

    /// Returns how many connections are live, those of this host included.
    pub(super) const fn known(&self) -> u64 {
        self.known
    }

    /// Returns service and remote address of each silent connection.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (u32, IpAddr)> + '_ {
        self.silent.iter().map(|(service, addr)| (*service, IpAddr::from(*addr)))
    }
}

#[cfg(test)]
mod tests {
    use limiter_common::witness::{Flow, FlowKey, OUT};

    use super::*;

    const NOW: Now = Now { monotonic_ns: 100_000_000_000, unix_ms: 1_700_000_000_000 };
    const AFTER: Duration = Duration::from_secs(10);

    fn flow(began_s: u64, spoken: u8, direction: u8) -> FlowRecord {
        let established_ns = began_s * 1_000_000_000;
        let remote = IpAddr::from([192, 0, 2, 7]).into();
        let key = FlowKey { remote, local_port: 25, remote_port: 4_000, ..FlowKey::default() };
        FlowRecord { key, pad: 0, flow: Flow { established_ns, tag: 1, direction, spoken, pad: [0; 5] } }
    }

    /// Silent is who waited long enough and heard nothing; connections that this host opened are another matter.
    #[test]
    fn silence_needs_time() {
        let flows = [flow(91, 0, IN), flow(90, 0, IN), flow(50, 1, IN), flow(0, 0, IN), flow(50, 0, OUT)];
        let young = Silence::of(&flows, AFTER, Duration::from_secs(9), NOW);
        assert_eq!(young.of_service(1), (1, 4), "one from before counts from when the witness began");
        let old = Silence::of(&flows, AFTER, AFTER, NOW);
        assert_eq!(old.of_service(1), (2, 4));
        assert!(old.addresses().all(|found| found == (1, IpAddr::from([192, 0, 2, 7]))));
        assert_eq!(old.of_service(2), (0, 0));
    }
}
