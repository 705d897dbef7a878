//! Limits and exemptions that observed traffic suggests, as configuration to paste.
//!
//! Suggested limits are never under the usual ones ([`USUAL`]): a quiet week is
//! no reason to refuse a busy day. What was seen is said beside them.

use std::time::Duration;

use limiter_common::{limits::Treatment, map::SourceKey};

use super::{Daemon, observed::HOURS, probes};
use crate::{
    clock::Now,
    config::{self, Service},
    control::{
        error::{Kind, RequestError},
        protocol::{SuggestQuery, SuggestedProbe, SuggestedService, Suggestion},
    },
};

mod toml;

/// The share of sources that limits must not touch, and what to multiply with, where nobody says.
pub const QUANTILE: f64 = 0.99;
/// What to multiply with what was seen, where nobody says.
pub const HEADROOM: f64 = 1.5;
/// Observation that is too short to go by: a day has hours of its own.
const DAY_S: u64 = HOURS as u64 * 3_600;
/// Head-room beyond which a limit means nothing.
const HEADROOM_MAX: f64 = 100.0;

/// The usual limits of a service by one of its ports: those of `configs/limiter.toml`, which peers agree on.
struct Usual {
    port: u16,
    connections: u32,
    per_minute: u32,
    burst: u32,
}

const fn usual(port: u16, connections: u32, per_minute: u32, burst: u32) -> Usual {
    Usual { port, connections, per_minute, burst }
}

/// See [`Usual`]; the first stands for services of other ports as well.
const USUAL: [Usual; 5] = [
    usual(25, 50, 600, 100),
    usual(587, 100, 300, 60),
    usual(993, 300, 600, 200),
    usual(995, 50, 300, 60),
    usual(4190, 20, 60, 20),
];

/// What was asked for, checked.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    quantile: f64,
    headroom: f64,
    since_s: u64,
}

impl Wanted {
    fn read(query: &SuggestQuery) -> Result<Self, RequestError> {
        let invalid = |error: String, remedy: &str| Err(RequestError::new(Kind::Invalid, error, remedy));
        let quantile = query.quantile.unwrap_or(QUANTILE);
        if !(quantile > 0.0 && quantile <= 1.0) {
            return invalid(
                format!("the quantile is {quantile}"),
                "expected more than 0 and at most 1, such as 0.99",
            );
        }
        let headroom = query.headroom.unwrap_or(HEADROOM);
        if !(1.0..=HEADROOM_MAX).contains(&headroom) {
            return invalid(format!("the head-room is {headroom}"), "expected 1 to 100, such as 1.5");
        }
        let since = query.since.as_deref().map(config::duration).transpose();
        let since = match since {
            Ok(since) => since.unwrap_or(Duration::from_secs(DAY_S)),
            Err(error) => {
                return invalid(format!("that is no duration: {error}"), "write it like 90m, 2h or 1d");
            }
        };
        Ok(Self { quantile, headroom, since_s: since.as_secs().min(DAY_S) })
    }
}

impl Daemon {
    /// Returns what observed traffic suggests.
    ///
    /// # Errors
    ///
    /// When there is no such service, or the request makes no sense.
    pub fn suggest(&self, query: &SuggestQuery, now: Now) -> Result<Suggestion, RequestError> {
        let wanted = Wanted::read(query)?;
        let services = match &query.service {
            Some(name) => vec![self.intent.service(name)?.clone()],
            None => self.intent.config.services.clone(),
        };
        let mut suggested = Vec::new();
        let mut probes = Vec::new();
        for service in &services {
            let Some(id) = self.ids.service(&service.name) else {
                continue;
            };
            let found = self.probes_of(service, id);
            suggested.push(self.service_suggestion(
                service,
                id,
                |key| self.is_exempt(key) || is_probe(&found, key),
                wanted,
                now,
            ));
            probes.extend(found.into_iter().map(|(_, probe)| probe));
        }
        let observed_s = self.observed.seconds();
        let remarks = remarks(observed_s, wanted.since_s, self.observed.not_followed());
        let mut suggestion =
            Suggestion { observed_s, services: suggested, probes, remarks, toml: String::new() };
        suggestion.toml = toml::text(&suggestion, &services, wanted.quantile, wanted.headroom);
        Ok(suggestion)
    }

    /// Returns whether a source is exempt by the policy in force.
    fn is_exempt(&self, key: &SourceKey) -> bool {
        let class = self.compiled.ranges.class_of(key.addr, key.service);
        self.compiled.policy.limits_of(key.service, class).treatment() == Treatment::Exempt
    }

    /// Returns the sources of a service that look like probes and are not exempt.
    fn probes_of(&self, service: &Service, id: u32) -> Vec<(SourceKey, SuggestedProbe)> {
        let interval_s = self.observed.interval_s();
        let mut found: Vec<(SourceKey, SuggestedProbe)> = self
            .observed
            .of_service(id)
            .filter(|(key, _)| !self.is_exempt(key))
            .filter_map(|(key, source)| {
                let evidence = probes::judge(source, interval_s)?;
                let probe = SuggestedProbe {
                    prefix: self.source_name(*key),
                    service: service.name.clone(),
                    interval_s: evidence.interval_s,
                    ended: source.ended,
                    silent: evidence.silent,
                    brief: evidence.brief,
                    dispersion: evidence.dispersion,
                    windows: evidence.windows,
                };
                Some((*key, probe))
            })
            .collect();
        found.sort_by_key(|(key, _)| *key);
        found
    }

    fn service_suggestion(
        &self,
        service: &Service,
        id: u32,
        spared: impl Fn(&SourceKey) -> bool,
        wanted: Wanted,
        now: Now,
    ) -> SuggestedService {
        let limited = self.observed.of_service(id).filter(|(key, _)| !spared(key));
        let peaks: Vec<_> = limited
            .map(|(_, source)| source.peak(now, wanted.since_s))
            .filter(|peak| peak.open > 0 || peak.per_minute > 0)
            .collect();
        let ranked = |of: fn(&super::observed::Peak) -> u32| {
            let mut all: Vec<u32> = peaks.iter().map(of).collect();
            all.sort_unstable();
            (quantile(&all, wanted.quantile), all.last().copied().unwrap_or(0))
        };
        let (open, open_max) = ranked(|peak| peak.open);
        let (per_minute, per_minute_max) = ranked(|peak| peak.per_minute);
        let (at_once, _) = ranked(|peak| peak.at_once);
        let usual = USUAL.iter().find(|usual| service.ports.contains(&usual.port)).unwrap_or(&USUAL[0]);
        let grown = |seen: u32, usual: u32| sensible(f64::from(seen) * wanted.headroom).max(usual);
        SuggestedService {
            name: service.name.clone(),
            sources: peaks.len(),
            open,
            open_max,
            per_minute,
            per_minute_max,
            total: self.observed.total(id, now, wanted.since_s),
            connections_per_source: grown(open, usual.connections),
            new_per_minute: grown(per_minute, usual.per_minute),
            burst: grown(at_once, usual.burst),
        }
    }
}

/// Returns whether a source is among the probes, which are sorted by source.
fn is_probe(probes: &[(SourceKey, SuggestedProbe)], key: &SourceKey) -> bool {
    probes.binary_search_by_key(key, |(probe, _)| *probe).is_ok()
}

/// Returns the value that a share of all values does not exceed (nearest rank); 0 of none.
fn quantile(sorted: &[u32], share: f64) -> u32 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a rank among at most ten thousand, from a share within 0 to 1"
    )]
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

/// Returns the next number that people would write: whole up to 10, then to 5, to 50, and two digits beyond.
fn sensible(number: f64) -> u32 {
    let step = match number {
        ..=10.0 => 1.0,
        ..=100.0 => 5.0,
        ..=1_000.0 => 50.0,
        _ => 10_f64.powf(number.log10().floor() - 1.0),
    };
    #[expect(clippy::cast_sign_loss, reason = "counts are positive, and the cast saturates")]
    let rounded = ((number / step).ceil() * step) as u32;
    rounded
}

/// Returns what an operator should know before pasting anything.
fn remarks(observed_s: u64, since_s: u64, not_followed: usize) -> Vec<String> {
    let seen_s = observed_s.min(since_s);
    let seen = humantime::format_duration(Duration::from_secs(seen_s));
    let mut remarks = vec![if seen_s < DAY_S {
        format!(
            "this rests on {seen}: too short to go by, a day has hours of its own and Monday morning is another"
        )
    } else {
        format!("this rests on {seen}; rare peaks, such as the first of a month, may be missing")
    }];
    if not_followed > 0 {
        remarks.push(format!("{not_followed} sources at once were too many to follow, and are not in it"));
    }
    remarks.push(
        "limits are never under the usual ones, whatever was seen; sources that are exempt are not in it"
            .to_owned(),
    );
    remarks
}

#[cfg(test)]
mod tests;
