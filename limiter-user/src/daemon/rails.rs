//! What is allowed but likely to hurt, as `status` shows it.

use std::time::{Duration, SystemTime};

use limiter_common::limits::Treatment;

use crate::{
    clock::Now,
    config::{Mode, Preset, Service},
    policy::Origin,
};

use super::{Daemon, status::Finding};

/// Age from which a preset is to be looked at. A choice: providers add ranges a few times a year.
const PRESET_OLD: Duration = Duration::from_hours(180 * 24);
/// Failures that are told of one service; the metric counts all of them.
const FAILURES_TOLD: usize = 3;

impl Daemon {
    /// Returns the presets in use and their age.
    pub(super) fn presets(&self, now: Now) -> Vec<(&'static Preset, Duration)> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(now.unix_ms);
        self.intent.config.presets().into_iter().map(|preset| (preset, preset.age(now))).collect()
    }

    /// Returns the presets that are old.
    pub(super) fn old_presets(&self, now: Now) -> impl Iterator<Item = Finding> {
        let old = self.presets(now).into_iter().filter(|(_, age)| *age > PRESET_OLD);
        old.map(|(preset, age)| {
            let (year, month, day) = preset.dated;
            Finding::degraded(format!(
                "preset `{}` is dated {year}-{month:02}-{day:02}, {} days ago: compare it with what the provider \
                 publishes, then update limiter or list the prefixes yourself",
                preset.name,
                age.as_secs() / 86_400
            ))
        })
    }

    /// Returns what is likely to hurt a service.
    pub(super) fn risks(&self, service: &Service, id: Option<u32>) -> Vec<Finding> {
        let Some(id) = id else {
            return Vec::new();
        };
        let mut findings = Vec::new();
        let exempts = self.table.rules().iter().any(|rule| {
            rule.origin != Origin::BuiltIn
                && rule.treatment == Treatment::Exempt
                && rule.services.contains(id)
        });
        if self.intent.mode(service) == Mode::Enforce && !exempts {
            findings.push(Finding::degraded(format!(
                "it enforces and no class is exempt: a load balancer or health check in front of it is refused \
                 like everybody else; add a [[class]] with `exempt = true`, or `limiterctl allow PREFIX --service {}`",
                service.name
            )));
        }
        let failures: Vec<_> = self.canaries.failures(id).collect();
        findings.extend(failures.iter().take(FAILURES_TOLD).map(|failure| {
            if failure.is_refused {
                Finding::failing(failure.text.clone())
            } else {
                Finding::degraded(format!("{} (as soon as the service enforces)", failure.text))
            }
        }));
        if failures.len() > FAILURES_TOLD {
            let rest = failures.len() - FAILURES_TOLD;
            findings.push(Finding::degraded(format!("{rest} more exempt addresses would be refused")));
        }
        findings
    }
}
