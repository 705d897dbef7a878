//! The answer to `check` in sentences: what, why, and what would change it.

use std::{net::IpAddr, time::Duration};

use limiter_common::{
    event::Explanation,
    gcra,
    limits::{Limits, Treatment},
    verdict::{RefuseReason, Verdict},
};

use crate::control::protocol::{CheckAnswer, Mode, Origin, RuleView};

/// Nanoseconds of a millisecond.
const MILLISECOND_NS: u64 = 1_000_000;

/// Everything known about one answer, before it is put into sentences.
pub(super) struct Facts<'a> {
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) service: &'a str,
    pub(super) mode: Mode,
    pub(super) class: &'a str,
    pub(super) rule: Option<RuleView>,
    pub(super) source: String,
    pub(super) limits: Limits,
    pub(super) ceiling: u32,
    pub(super) explanation: Explanation,
    pub(super) verdict: Verdict,
    pub(super) config: String,
}

impl Facts<'_> {
    /// Returns the answer.
    pub(super) fn answer(self) -> CheckAnswer {
        let limited = self.limits.treatment() == Treatment::Limited;
        let some = |limit: u32| (limit > 0).then_some(limit);
        CheckAnswer {
            port: self.port,
            service: Some(self.service.to_owned()),
            mode: Some(self.mode),
            verdict: self.verdict.label().to_owned(),
            reason: self.verdict.reason_label().to_owned(),
            class: self.class.to_owned(),
            held: self.explanation.held,
            connections_per_source: some(self.limits.connections).filter(|_| limited),
            total: self.explanation.total,
            connections_total: some(self.ceiling),
            quota_wait_ms: self.quota_wait_ms(),
            revision: self.explanation.revision,
            explanation: self.sentences(),
            remedies: self.remedies(),
            source: self.source,
            rule: self.rule,
        }
    }

    /// Returns in how many milliseconds the quota lets the next one in; none without a quota.
    fn quota_wait_ms(&self) -> Option<u64> {
        let quota = self.limits.quota;
        let now_ns = self.explanation.now_ns;
        let ahead_ns = gcra::capped(self.explanation.tat_ns, now_ns, quota).saturating_sub(now_ns);
        let wait_ns = ahead_ns.saturating_sub(quota.burst_ns);
        let limited = self.limits.treatment() == Treatment::Limited;
        (quota.is_some() && limited).then(|| wait_ns.div_ceil(MILLISECOND_NS))
    }

    fn sentences(&self) -> Vec<String> {
        let mut sentences = vec![self.outcome(), self.why_this_class()];
        if self.limits.treatment() == Treatment::Limited {
            sentences.extend(self.counts());
        }
        if self.explanation.unwatched != 0 {
            sentences
                .push("No daemon has been seen for too long: limits of one source only observe.".to_owned());
        }
        sentences
    }

    fn outcome(&self) -> String {
        let Self { address, port, service, .. } = self;
        let to = format!("The next SYN from {address} to port {port} ({service})");
        match self.verdict {
            Verdict::Pass(reason) => format!("{to} passes: {}.", reason.label()),
            Verdict::Refuse(reason) => format!("{to} is refused: {}.", reason.label()),
            Verdict::WouldRefuse(reason) if self.mode == Mode::Observe => {
                format!(
                    "{to} passes, since the service observes; enforced, it is refused: {}.",
                    reason.label()
                )
            }
            Verdict::WouldRefuse(reason) => {
                format!(
                    "{to} passes, since limits of one source are suspended; else it is refused: {}.",
                    reason.label()
                )
            }
        }
    }

    fn why_this_class(&self) -> String {
        let Self { address, class, .. } = self;
        let Some(rule) = &self.rule else {
            return format!("No rule matches {address}: it is of class `{class}`.");
        };
        let origin = match rule.origin {
            Origin::BuiltIn => "which limiter always exempts".to_owned(),
            Origin::Config => format!("which {} has", self.config),
            Origin::Runtime => format!("which {} added at run time", rule.who),
        };
        let note = if rule.note.is_empty() { String::new() } else { format!(" (\"{}\")", rule.note) };
        let until = rule.expires_in_s.map_or_else(String::new, |left_s| {
            format!("; it ends in {}", humantime::format_duration(Duration::from_secs(left_s)))
        });
        format!("{address} is of class `{class}` by the prefix {}, {origin}{note}{until}.", rule.prefix)
    }

    fn counts(&self) -> Vec<String> {
        let Explanation { held, total, .. } = self.explanation;
        let per_source = match self.limits.connections {
            0 => format!("{} has {held} connections open; there is no limit on them.", self.source),
            limit => format!(
                "{} has {held} of {limit} connections open; {} from the {} on.",
                self.source,
                if self.mode == Mode::Enforce { "it is refused" } else { "enforced, it is refused" },
                ordinal(limit.saturating_add(1))
            ),
        };
        let ceiling = match self.ceiling {
            0 => format!("The service has {total} connections open; it has no ceiling."),
            ceiling => format!("The service has {total} of {ceiling} connections open."),
        };
        let quota = self.quota_wait_ms().map(|wait_ms| match wait_ms {
            0 => "The quota for new connections lets the next one in at once.".to_owned(),
            wait_ms => {
                format!("The quota for new connections lets the next one in after {}.", seconds(wait_ms))
            }
        });
        [per_source, ceiling].into_iter().chain(quota).collect()
    }

    /// Returns what would change the verdict.
    fn remedies(&self) -> Vec<String> {
        let reason = match self.verdict {
            Verdict::Pass(_) => return Vec::new(),
            Verdict::Refuse(reason) | Verdict::WouldRefuse(reason) => reason,
        };
        let Self { source, service, config, .. } = self;
        let exempt = format!("exempt it: limiterctl allow {source} --service {service} --ttl 2h");
        let raise = |key: &str| format!("raise {key} of {} in {config}", self.owner_of_limits());
        match reason {
            RefuseReason::Deny => vec![self.without_the_denial()],
            RefuseReason::SynQuota => {
                vec!["wait until the SYN queue of the listener no longer overflows".to_owned()]
            }
            RefuseReason::NewConnectionQuota => {
                let wait_ms = self.quota_wait_ms().unwrap_or_default();
                let wait = format!("wait: the quota lets the next one in after {}", seconds(wait_ms));
                vec![wait, exempt, raise("new_connections_per_source")]
            }
            RefuseReason::ConnectionsPerSource => {
                let over = self.explanation.held.saturating_sub(self.limits.connections) + 1;
                let wait =
                    format!("wait until {over} of its {} connections are closed", self.explanation.held);
                vec![wait, exempt, raise("connections_per_source")]
            }
            RefuseReason::ConnectionsTotal => vec![
                format!(
                    "wait until connections of service {service} are closed; limiterctl top --service {service}"
                ),
                exempt,
                format!("raise connections_total of service {service} in {config}"),
            ],
            RefuseReason::UnparseableAtListener => {
                vec!["send without the extension headers that limiter cannot walk".to_owned()]
            }
        }
    }

    fn without_the_denial(&self) -> String {
        match &self.rule {
            Some(rule) if rule.origin == Origin::Runtime => {
                format!("remove the deny rule: limiterctl remove {}", rule.prefix)
            }
            Some(rule) => format!("take {} out of class `{}` in {}", rule.prefix, rule.class, self.config),
            None => "limiterctl list shows every rule".to_owned(),
        }
    }

    fn owner_of_limits(&self) -> String {
        match &self.rule {
            Some(rule) if rule.origin == Origin::Config => format!("class `{}`", rule.class),
            _ => format!("service `{}`", self.service),
        }
    }
}

/// Returns a number as a place in a row.
fn ordinal(n: u32) -> String {
    let suffix = match (n % 10, n % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{n}{suffix}")
}

/// Returns a time in seconds, to a tenth.
fn seconds(ms: u64) -> String {
    let tenths = ms.div_ceil(100);
    format!("{}.{} s", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Places and times read as people write them.
    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [1, 2, 3, 4, 11, 21, 112].map(ordinal),
            ["1st", "2nd", "3rd", "4th", "11th", "21st", "112th"]
        );
        assert_eq!([1_200, 1_201, 90].map(seconds), ["1.2 s", "1.3 s", "0.1 s"]);
    }
}
