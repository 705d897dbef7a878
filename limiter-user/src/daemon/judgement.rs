//! What limiter makes of services and classes, for alerts: how well a service is, how many of its
//! sources are over their limits, and which classes must never be refused.

use crate::{clock::Now, config::ClassTreatment, control::protocol::Health, policy::ids::BUILT_IN_CLASSES};

use super::{Daemon, snapshot::Snapshot};

/// What limiter makes of everything.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// Of the services of the policy in force.
    pub services: Vec<ServiceJudgement>,
    /// Of the classes, those that are always there first.
    pub classes: Vec<ClassJudgement>,
}

/// What limiter makes of a service.
#[derive(Clone, Debug)]
pub struct ServiceJudgement {
    /// Its name.
    pub name: String,
    /// How well it is.
    pub health: Health,
    /// Sources over a limit of their own, as the circuit breaker last counted; none while nobody is refused.
    pub over_limit: u64,
    /// Other sources, in the same count.
    pub within_limits: u64,
}

/// What limiter makes of a class.
#[derive(Clone, Debug)]
pub struct ClassJudgement {
    /// Its name.
    pub name: String,
    /// How it is treated: `exempt`, `denied` or `limited`.
    pub treatment: &'static str,
    /// Whether one refused source of it is too many.
    pub is_critical: bool,
}

impl Daemon {
    /// Judges what is in a snapshot.
    pub(super) fn judgement(&self, snapshot: &Snapshot) -> Judgement {
        let services = self.service_statuses(snapshot, &self.all_findings(snapshot)).into_iter();
        Judgement {
            services: services
                .map(|status| {
                    let (over_limit, within_limits) = self.votes(&status.name, snapshot.now);
                    ServiceJudgement { name: status.name, health: status.health, over_limit, within_limits }
                })
                .collect(),
            classes: built_in_classes().chain(self.configured_classes()).collect(),
        }
    }

    fn configured_classes(&self) -> impl Iterator<Item = ClassJudgement> {
        self.intent.config.classes.iter().map(|class| ClassJudgement {
            name: class.name.clone(),
            treatment: match class.treatment {
                ClassTreatment::Exempt => "exempt",
                ClassTreatment::Denied => "denied",
                ClassTreatment::Limited { .. } => "limited",
            },
            is_critical: class.critical,
        })
    }

    fn votes(&self, service: &str, now: Now) -> (u64, u64) {
        let Some(id) = self.ids.service(service) else {
            return (0, 0);
        };
        let votes = self.breakers.votes(id, &self.intent.config.breaker, now);
        (u64::from(votes.over), u64::from(votes.seen.saturating_sub(votes.over)))
    }
}

/// The classes that no configuration names: those of no rule, of the host itself, of rules made at run time.
fn built_in_classes() -> impl Iterator<Item = ClassJudgement> {
    BUILT_IN_CLASSES
        .into_iter()
        .zip(["limited", "exempt", "exempt", "denied"])
        .map(|(name, treatment)| ClassJudgement { name: name.to_owned(), treatment, is_critical: false })
}
