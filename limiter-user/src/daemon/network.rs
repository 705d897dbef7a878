//! The host's network as the daemon follows it: interfaces and own addresses,
//! looked at anew whenever something changed.

use std::{io, net::IpAddr};

use crate::{clock::Now, recorder::EventKind};

use super::Daemon;

impl Daemon {
    /// Brings everything in line with the network as it is by now.
    pub fn look_at_network(&mut self, addresses: io::Result<Vec<IpAddr>>, now: Now) {
        // Who detached everything must not find an interface attached.
        self.look_at_panic(now);
        self.look_at_links(now);
        self.look_at_interfaces();
        self.look_at_addresses(addresses, now);
    }

    /// Brings what is attached in line with the interfaces there are.
    pub fn look_at_interfaces(&mut self) {
        let refreshed = self.dataplane.refresh_interfaces(&self.intent.config);
        for change in self.faults.note("interfaces", refreshed).into_iter().flatten() {
            tracing::warn!(change, "the interfaces changed");
            self.events.note(EventKind::Attach, None, change);
            self.interface_changes += 1;
        }
    }
}
