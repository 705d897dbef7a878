//! What limiter makes of services and classes: health, votes, and who must never be refused.

use prometheus_client::metrics::MetricType;

use super::{Family, Value};
use crate::{
    control::protocol::Health,
    daemon::judgement::{Judgement, ServiceJudgement},
};

pub(super) fn families(judgement: &Judgement) -> Vec<Family> {
    let classes = judgement.classes.iter().map(|class| {
        let labels = vec![
            ("class", class.name.clone()),
            ("treatment", class.treatment.to_owned()),
            ("critical", class.is_critical.to_string()),
        ];
        (labels, Value::Whole(1))
    });
    let each = |labelled: fn(&ServiceJudgement) -> Vec<(&'static str, &'static str, u64)>| {
        let samples = judgement.services.iter().flat_map(move |service| {
            labelled(service).into_iter().map(|(label, value, count)| {
                (vec![("service", service.name.clone()), (label, value.to_owned())], Value::Whole(count))
            })
        });
        samples.collect()
    };
    vec![
        Family {
            name: "limiter_service_health",
            help: "1 for how well a service is, as status and /healthz say, 0 for the others",
            kind: MetricType::Gauge,
            samples: each(healths),
        },
        Family {
            name: "limiter_breaker_votes",
            help: "Distinct sources of the last window by whether they were over a limit of their own, while any is refused",
            kind: MetricType::Gauge,
            samples: each(|service| {
                vec![
                    ("vote", "over_limit", service.over_limit),
                    ("vote", "within_limits", service.within_limits),
                ]
            }),
        },
        Family {
            name: "limiter_class",
            help: "Classes: how they are treated, and whether one refused source is too many",
            kind: MetricType::Info,
            samples: classes.collect(),
        },
    ]
}

fn healths(service: &ServiceJudgement) -> Vec<(&'static str, &'static str, u64)> {
    let all = [(Health::Ok, "ok"), (Health::Degraded, "degraded"), (Health::Failing, "failing")];
    all.into_iter().map(|(health, label)| ("health", label, u64::from(service.health == health))).collect()
}
