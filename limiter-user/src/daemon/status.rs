//! Health and facts at one glance.

use std::cmp::Reverse;

use limiter_common::verdict::Verdict;

use crate::{
    clock::Now,
    config::{Attach, Service},
    control::protocol::{DaemonStatus, Health, PolicyStatus, ServiceStatus, Status},
    dataplane::{AttachMode, Attachment},
    host::server_fast_open,
    version::VERSION,
};

use super::{
    Daemon,
    breaker::State,
    privileges,
    snapshot::{ServiceSnapshot, Snapshot},
};

/// Recounts that may be missed in a row before that is a fault.
const RECOUNTS_MISSED_MAX: u64 = 3;

/// Something that is not as it should be, and how bad that is.
pub(super) struct Finding {
    health: Health,
    text: String,
}

impl Finding {
    pub(super) fn degraded(text: impl Into<String>) -> Self {
        Self { health: Health::Degraded, text: text.into() }
    }

    pub(super) fn failing(text: impl Into<String>) -> Self {
        Self { health: Health::Failing, text: text.into() }
    }
}

impl Daemon {
    /// Returns the daemon at one glance.
    pub fn status(&mut self, now: Now) -> Status {
        let snapshot = self.snapshot(now);
        let findings = self.all_findings(&snapshot);
        let common = worst(&findings);
        let services = self.service_statuses(&snapshot, &findings);
        let health = services.iter().map(|service| service.health).fold(common, Ord::max);
        Status {
            health,
            findings: findings.into_iter().map(|finding| finding.text).collect(),
            services,
            attachments: snapshot.attachments,
            policy: PolicyStatus {
                revision: self.revision(),
                hash: snapshot.hash,
                prefixes: self.compiled.prefixes.len(),
                runtime_rules: self.intent.rules.len(),
                reload_error: self.reload_error.clone(),
            },
            daemon: DaemonStatus {
                version: VERSION.to_owned(),
                pid: std::process::id(),
                uptime_s: now.monotonic_s().saturating_sub(self.started.monotonic_s()),
                config: self.intent.config.file.path.display().to_string(),
                metrics: Some(self.intent.config.runtime.metrics_listen),
                kernel: self.host.kernel.clone(),
                capabilities: privileges::held(),
                conntrack: snapshot.conntrack.fact(),
            },
        }
    }

    /// Returns every service at one glance.
    pub(super) fn service_statuses(&self, snapshot: &Snapshot, findings: &[Finding]) -> Vec<ServiceStatus> {
        let services = self.intent.config.services.iter().zip(&snapshot.services);
        services.map(|(service, seen)| self.service_status(service, seen, snapshot, findings)).collect()
    }

    /// Returns everything that is to be known of the daemon as a whole.
    pub(super) fn all_findings(&self, snapshot: &Snapshot) -> Vec<Finding> {
        let mut findings = self.findings(snapshot);
        findings.extend(self.on_probation(snapshot.now).map(Finding::degraded));
        findings
    }

    /// Returns what is not as it should be with the daemon as a whole.
    fn findings(&self, snapshot: &Snapshot) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self.panic_finding().map(Finding::failing).into_iter().collect();
        findings.extend(self.faults.standing().map(|(health, text)| Finding { health, text }));
        let wanted = self.intent.config.attach != Attach::None && self.panicked.is_none();
        let attached = |attachment: &&Attachment| attachment.mode != AttachMode::None;
        if wanted && !snapshot.attachments.iter().any(|attachment| attached(&attachment)) {
            findings.push(Finding::degraded(
                "no interface has the XDP program: the gate alone limits, by dropping",
            ));
        }
        for attachment in snapshot.attachments.iter().filter(|attachment| !attachment.remark.is_empty()) {
            findings.push(Finding::degraded(format!("{}: {}", attachment.interface, attachment.remark)));
        }
        for notice in &self.lasting.notices {
            findings.push(Finding { health: notice.health, text: notice.text.clone() });
        }
        let interval_s = self.intent.config.runtime.recount_interval.as_secs();
        if snapshot.recount_age_s.is_some_and(|age_s| age_s > (RECOUNTS_MISSED_MAX + 1) * interval_s) {
            findings.push(Finding::failing(
                "open connections have not been recounted in time, three times in a row",
            ));
        }
        for check in self.dataplane.missing_checks() {
            findings.push(Finding::degraded(format!(
                "a check is left out, since this kernel's type information lacks {check}"
            )));
        }
        findings.extend(self.dataplane.orphans().into_iter().map(Finding::degraded));
        if self.reload_error.is_some() {
            findings.push(Finding::degraded(
                "the last reload failed and the policy before it is in force; `limiterd --check` shows what is wrong",
            ));
        }
        findings.extend(self.witnessed());
        findings.extend(self.host_state.findings());
        findings.extend(self.old_presets(snapshot.now));
        findings.extend(snapshot.conntrack.findings().into_iter().map(Finding::degraded));
        if server_fast_open() {
            findings.push(Finding::degraded(
                "TCP Fast Open is on for servers, and data in a SYN proves nothing about its source; \
                 set net.ipv4.tcp_fastopen to 1",
            ));
        }
        findings
    }

    fn service_status(
        &self,
        service: &Service,
        seen: &ServiceSnapshot,
        snapshot: &Snapshot,
        findings: &[Finding],
    ) -> ServiceStatus {
        let id = self.ids.service(&service.name);
        let packets = |wanted: fn(Verdict) -> bool| -> u64 {
            let rows = snapshot.rows.iter().filter(|row| Some(row.service) == id);
            let cells = rows.flat_map(|row| row.counters.cells.iter().enumerate());
            let counted =
                cells.filter(|(cell, _)| Verdict::of_cell(*cell).is_some_and(|(_, verdict)| wanted(verdict)));
            counted.map(|(_, count)| count).sum()
        };
        let open = seen.connections.iter().map(|(_, open)| open).sum();
        let limit = |limit: u32| (limit > 0).then_some(limit);
        let mut own = Vec::new();
        if limit(service.connections_total).is_some_and(|ceiling| open >= u64::from(ceiling)) {
            own.push(Finding::degraded(format!(
                "all {} connections of its ceiling are open",
                service.connections_total
            )));
        }
        own.extend(self.witnessed_at(service, id));
        own.extend(self.risks(service, id));
        let entries = id.map(|id| snapshot.conntrack.findings_of(id)).unwrap_or_default();
        own.extend(entries.into_iter().map(Finding::degraded));
        own.extend(self.breaker_finding(&service.name, snapshot.now));
        let health = worst(findings).max(worst(&own));
        // What is wrong with the daemon is wrong with each of its services; the worst comes first.
        let mut found: Vec<&Finding> = findings.iter().chain(&own).collect();
        found.sort_by_key(|finding| Reverse(finding.health));
        let reasons = found.into_iter().map(|finding| finding.text.clone()).collect();
        ServiceStatus {
            name: service.name.clone(),
            ports: service.ports.clone(),
            mode: seen.mode,
            mode_switched: self.intent.modes.contains_key(&service.name),
            breaker: seen.breaker,
            health,
            reasons,
            open,
            connections_total: limit(service.connections_total),
            connections_per_source: limit(service.connections_per_source),
            sources: seen.sources,
            refused: packets(Verdict::is_refusal),
            would_refuse: packets(|verdict| matches!(verdict, Verdict::WouldRefuse(_))),
        }
    }
}

impl Daemon {
    /// Returns what there is to say about the circuit breaker of a service.
    fn breaker_finding(&self, service: &str, now: Now) -> Option<Finding> {
        match self.breakers.state(service) {
            State::Closed => None,
            State::Open { why, retry_at_s } => Some(Finding::failing(format!(
                "the circuit breaker is open: {}, so limits of single sources only observe; they are tried again \
                 in {} s; {}",
                why.sentence(),
                retry_at_s.saturating_sub(now.monotonic_s()),
                why.remedy(service)
            ))),
            State::Trial { why, since_s } => Some(Finding::degraded(format!(
                "limits of single sources are on trial for {} s after the circuit breaker was open: {}",
                now.monotonic_s().saturating_sub(*since_s),
                why.sentence()
            ))),
        }
    }
}

fn worst(findings: &[Finding]) -> Health {
    findings.iter().map(|finding| finding.health).max().unwrap_or(Health::Ok)
}
