//! The watcher of connection tracking, as the daemon keeps it: started once, told of every policy.

use crate::conntrack::{Findings, Flow, Guard, View, Watcher, view::Happening};

use super::Daemon;

/// The watcher, and the revision it goes by.
#[derive(Debug, Default)]
pub(super) struct Conntrack {
    watcher: Option<Watcher>,
    revision: u32,
}

impl Conntrack {
    /// Returns what there is to see; nothing while nobody watches.
    pub(super) fn view(&self) -> View {
        self.watcher.as_ref().map(Watcher::view).unwrap_or_default()
    }
}

impl Daemon {
    /// Begins to watch connection tracking, with the capabilities of the caller.
    pub fn watch_conntrack(&mut self) {
        let started = Watcher::start(self.conntrack_guard());
        self.conntrack =
            Conntrack { watcher: self.faults.note("conntrack", started), revision: self.revision() };
    }

    /// Compares connection tracking with the connections that are open; a finding needs two checks in a row.
    ///
    /// `flows` has to hold all of them, those of outbound mail and those from before the start included: an entry of
    /// one that is missing here is a finding.
    pub fn cross_check(&mut self, flows: &[Flow]) -> Findings {
        self.conntrack.watcher.as_mut().map(|watcher| watcher.cross_check(flows)).unwrap_or_default()
    }

    /// Returns what happened with the watcher since the last call.
    #[must_use]
    pub fn conntrack_happened(&self) -> Vec<Happening> {
        self.conntrack.watcher.as_ref().map(Watcher::happened).unwrap_or_default()
    }

    /// Lets the watcher go by the policy in force.
    pub(super) fn follow_conntrack(&mut self) {
        if self.conntrack.revision == self.revision() {
            return;
        }
        let guard = self.conntrack_guard();
        self.conntrack.revision = self.revision();
        if let Some(watcher) = &mut self.conntrack.watcher {
            watcher.guard(guard);
        }
    }

    fn conntrack_guard(&self) -> Guard {
        let ports = self.intent.config.services.iter().filter_map(|service| {
            let id = self.ids.service(&service.name)?;
            Some(service.ports.iter().map(move |port| (*port, id)))
        });
        Guard::new(ports.flatten(), &self.intent.local)
    }
}
