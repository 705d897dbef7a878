//! The witness as the daemon keeps it: in line with the policy, asked from second
//! to second, and heard by status.

use limiter_common::policy::CLASS_DEFAULT;

use crate::{
    clock::Now,
    config::Service,
    control::protocol::Refusal,
    witness::{Minute, Sight, Witness},
};

use super::{Daemon, status::Finding};

/// Silent connections that are not yet worth a finding: a client may have come just before its server's restart.
const SILENT_MIN: u64 = 5;
/// One silent connection in so many is worth a finding.
const SILENT_SHARE: u64 = 5;

impl Daemon {
    /// Begins to watch what the rest of the kernel does.
    pub fn begin_watching(&mut self, now: Now) {
        self.witness = Witness::start(&self.intent.config, &self.compiled, &self.intent.local, now);
        self.look_around(now);
    }

    /// Does what the witness is to do every second.
    pub(super) fn watch(&mut self, now: Now) {
        let followed = self.witness.follow(&self.intent.config, &self.compiled, &self.intent.local);
        self.faults.note("witness follows the policy", followed);
        for dropped in self.witness.dropped(&self.compiled.names, now) {
            let class = self.class_of(&dropped);
            self.refusals.keep(Refusal { class, ..dropped });
        }
        let watched = self.witness.second(now);
        self.faults.note("drops of the kernel", watched);
    }

    /// Returns the class of the remote address of a dropped packet; none for mail that this host sends.
    fn class_of(&self, dropped: &Refusal) -> String {
        let Some(service) = self.ids.service(&dropped.service) else {
            return String::new();
        };
        let rule = self.table.winner(dropped.address, service);
        self.compiled.names.class(rule.map_or(CLASS_DEFAULT, |rule| rule.class)).to_owned()
    }

    /// Looks at listeners, totals of the host, and servers that are silent.
    pub fn look_around(&mut self, now: Now) {
        let silent_after = self.intent.config.witness.silent_after;
        let looked = self.witness.look(silent_after, now);
        self.faults.note("look at listeners and connections", looked);
    }

    /// Compares live connections with what connection tracking knows of them.
    pub fn compare_connections(&mut self) {
        let open = self.witness.open_connections();
        if let Some(Some(flows)) = self.faults.note("live connections", open) {
            self.cross_check(&flows);
        }
    }

    /// Returns what the witness has seen.
    pub(super) fn sight(&mut self) -> Sight {
        let ids = &self.ids;
        let services = self.intent.config.services.iter();
        let services: Vec<_> = services
            .filter_map(|service| {
                Some((service.name.clone(), ids.service(&service.name)?, service.ports.clone()))
            })
            .collect();
        let sight = self.witness.sight(&services, &self.compiled.names);
        self.faults.note("sight of the witness", sight).unwrap_or_default()
    }

    /// Returns what the witness has to say of the host as a whole.
    pub(super) fn witnessed(&self) -> Vec<Finding> {
        let blind = self.witness.blind().map(|why| {
            Finding::degraded(format!(
                "the kernel does not tell what it drops, and only limiter's own refusals are seen: {why}"
            ))
        });
        let minute = self.witness.recent_outbound();
        blind.into_iter().chain(dropped("connections of mail that this host sends", &minute)).collect()
    }

    /// Returns what the witness has to say of a service.
    pub(super) fn witnessed_at(&self, service: &Service, id: Option<u32>) -> Vec<Finding> {
        let Some(id) = id else {
            return Vec::new();
        };
        let minute = self.witness.recent(id, &service.ports);
        let mut findings: Vec<Finding> = dropped("connections of clients", &minute).collect();
        if minute.listener_drops > 0 {
            findings.push(Finding::degraded(format!(
                "its listeners dropped {} packets in the last minute, their queues being full: the server accepts too \
                 slowly; see limiter_listen_queue_ratio_max",
                minute.listener_drops
            )));
        }
        let (silent, all) = self.witness.silent(id);
        if silent >= SILENT_MIN && silent * SILENT_SHARE >= all {
            findings.push(Finding::degraded(format!(
                "on {silent} of {all} connections the server has not spoken within {} s of the handshake; see \
                 `limiterctl top --by silent --service {}`",
                self.intent.config.witness.silent_after.as_secs(),
                service.name
            )));
        }
        let unheard: Vec<String> =
            self.witness.unheard(&service.ports).map(|port| port.to_string()).collect();
        if !unheard.is_empty() {
            findings.push(Finding::degraded(format!(
                "nobody listens on port {} in limiter's network namespace: the server is down, or it listens elsewhere \
                 and is not limited",
                unheard.join(", ")
            )));
        }
        findings
    }
}

/// Returns a finding per direction and reason for which packets of live connections were dropped.
fn dropped<'a>(whose: &'a str, minute: &'a Minute) -> impl Iterator<Item = Finding> + 'a {
    minute.established.iter().map(move |(direction, reason, packets)| {
        Finding::degraded(format!(
            "the kernel dropped {packets} packets of live {whose} in the last minute ({reason}, {direction}), which limiter \
             does not do; see `limiterctl drops`, the host's firewall and conntrack"
        ))
    })
}
