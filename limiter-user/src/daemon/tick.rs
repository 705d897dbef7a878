//! What the daemon does every second and every ten.

use limiter_common::map::Holder;

use crate::{chain::chain, clock::Now, recorder::EventKind};

use super::{Daemon, usage::Counts};

/// Sources idle for so long are forgotten: beyond the longest debt that a quota makes, short enough to keep the map small.
pub(super) const IDLE_S: u32 = 600;

impl Daemon {
    /// Says that the daemon is alive, fetches samples and ends rules whose time has come.
    pub fn second(&mut self, now: Now) {
        self.look_at_panic(now);
        let beat = self.dataplane.heartbeat();
        self.faults.note("heartbeat", beat);
        for sample in self.dataplane.samples() {
            self.refusals.take(&sample, &self.compiled.names, now);
        }
        self.watch(now);
        self.expire_rules(now);
        self.end_trial(now);
        self.follow_conntrack();
        if self.panicked.is_none() {
            self.guard(now);
            self.canaries(now);
        }
        self.record(now);
    }

    /// Counts open connections anew and corrects what has drifted.
    pub fn recount(&mut self, now: Now) {
        self.keep();
        let recount = self.dataplane.recount(IDLE_S);
        let Some(recount) = self.faults.note("recount", recount) else {
            return;
        };
        // Who made no rules pays nothing for their accounts.
        let before = (!self.intent.rules.is_empty()).then(|| Counts::of(self.recounts.sources()));
        let drifted = self.recounts.take(recount, now);
        if let Some(before) = before {
            let revision = self.revision();
            self.usage.take(&self.table, revision, &before, self.recounts.sources(), now);
        }
        self.summary = self.recounts.summary(&self.compiled.policy);
        for drift in drifted {
            let names = &self.compiled.names;
            let (service, source) = match drift.key.holder() {
                Holder::Source(service) => (names.service(service), self.source_name(drift.key)),
                Holder::Service(service) => (names.service(service), "all".to_owned()),
                Holder::Class(service, class) => {
                    (names.service(service), format!("class {}", names.class(class)))
                }
            };
            tracing::warn!(
                service,
                source,
                delta = drift.delta,
                "a count of connections has drifted; correcting it"
            );
            let text = format!("a count of {source} drifted; corrected by {:+}", drift.delta);
            self.events.note(EventKind::Drift, Some(service), text);
            if let Err(error) = self.dataplane.correct(drift.key, drift.delta) {
                tracing::error!(service, source, error = chain(&error), "drift could not be corrected");
            }
        }
    }

    /// Notes what the recount of this moment saw, for [`suggest`](super::suggest); those made for an answer come too
    /// often for it.
    pub fn observe(&mut self, now: Now) {
        if self.recounts.last_at() == Some(now) {
            let interval_s = self.intent.config.runtime.recount_interval.as_secs();
            self.observed.take(self.recounts.sources(), interval_s, now);
        }
    }

    /// Ends rules whose time has come.
    fn expire_rules(&mut self, now: Now) {
        if self.intent.rules.next_expiry_s().is_none_or(|at_s| at_s > now.unix_s()) {
            return;
        }
        let ended = self.change(now, |intent| intent.rules.expire(now.unix_s()));
        self.keep_rules();
        for rule in self.faults.note("end of rules", ended).into_iter().flatten() {
            tracing::info!(prefix = %rule.prefix, verb = %rule.verb, service = rule.service, note = rule.note, "rule ended");
            let text = format!("{} {} ended", rule.verb, rule.prefix);
            self.events.note(EventKind::Rule, rule.service.as_deref(), text);
        }
    }
}
