//! The answer to `limiterctl history` and `report`: events in order, lines by
//! service, and what was in force.

use std::{collections::BTreeMap, path::Path};

use super::{
    encoding::{Samples, decode},
    read::{ReadError, Reader, Series},
    trend::{Key, Measure, Trends},
};
use crate::{
    clock::utc_ms,
    control::protocol::{History, HistoryEvent, HistoryLine, HistoryQuery, HistoryService, HistoryState},
};

/// Events of an answer at most: the last ones.
const EVENTS: usize = 1_000;
/// Sources of a service in an answer at most.
const SOURCES: usize = 10;

/// Reads a window of a recording.
///
/// # Errors
///
/// When there is none, it cannot be read, or holds nothing of the service that is asked for.
pub fn history(path: &Path, query: &HistoryQuery) -> Result<History, ReadError> {
    let reader = Reader::open(path)?;
    let series = reader.series()?;
    let service = query.service.as_deref();
    let names = services(&series);
    if let Some(name) = service.filter(|name| !names.iter().any(|known| known == name)) {
        return Err(ReadError::NoSuchService { name: name.to_owned(), known: names.join(", ") });
    }
    let window = (query.from_ms, query.until_ms.max(query.from_ms));
    let at_ms = query.at_ms.unwrap_or(window.1).clamp(window.0, window.1);
    let mut trends = Trends::new(window, &series, |series| meaning(series, service));
    let (mut samples, mut state) = (Samples::new(), None);
    reader.records(window, |record_ms, bytes| {
        if record_ms <= at_ms {
            decode(bytes, |series, value| {
                match value {
                    Some(value) => samples.insert(series, value),
                    None => samples.remove(&series),
                };
            })?;
            state = Some(record_ms);
        }
        trends.take(record_ms, bytes)
    })?;
    let (events, events_left_out) = reader.events(window, service, EVENTS)?;
    let sources = if query.sources { reader.sources(window, service, SOURCES)? } else { Vec::new() };
    let lines = lines(&trends);
    let mut services: Vec<HistoryService> = names
        .iter()
        .filter(|name| service.is_none_or(|service| service == name.as_str()))
        .map(|name| HistoryService {
            service: name.clone(),
            lines: lines.get(name).cloned().unwrap_or_default(),
            sources: sources.iter().filter(|row| row.service == *name).map(Into::into).collect(),
        })
        .collect();
    services.retain(|service| !service.lines.is_empty());
    Ok(History {
        from_ms: window.0,
        until_ms: window.1,
        step_ms: trends.step_ms,
        records: trends.records,
        oldest_ms: reader.oldest_ms()?,
        events: events
            .into_iter()
            .map(|row| HistoryEvent {
                at_ms: row.at_ms,
                at: utc_ms(row.at_ms),
                kind: row.kind,
                service: row.service,
                text: row.text,
            })
            .collect(),
        events_left_out,
        services,
        state: state.map(|record_ms| state_of(&series, &samples, record_ms)),
    })
}

/// Returns the services that anything is recorded of, in alphabetical order.
fn services(series: &[Series]) -> Vec<String> {
    let mut names: Vec<String> =
        series.iter().filter_map(|series| series.labels.get("service").cloned()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The lines by service, as an answer has them.
fn lines(trends: &Trends) -> BTreeMap<String, Vec<HistoryLine>> {
    let mut by_service: BTreeMap<String, Vec<HistoryLine>> = BTreeMap::new();
    for ((service, what), line) in &trends.lines {
        let points = line.points(trends.step_ms);
        // A line of a service that was not there in the window.
        if points.iter().all(Option::is_none) {
            continue;
        }
        let max = points.iter().flatten().copied().fold(0.0, f64::max);
        let unit = match line.measure {
            Measure::Rate => "per_second",
            Measure::Level => "level",
        };
        by_service.entry(service.clone()).or_default().push(HistoryLine {
            what: what.clone(),
            unit: unit.to_owned(),
            total: line.total,
            max,
            points,
        });
    }
    for lines in by_service.values_mut() {
        lines.sort_by_key(|line| (place(&line.what), line.what.clone()));
    }
    by_service
}

/// Returns where a line stands among those of its service.
fn place(what: &str) -> usize {
    let order = ["accepted", "open", "refused", "would refuse", "kernel drops", "established drops"];
    let family = what.split(": ").next().unwrap_or_default();
    order.iter().position(|word| *word == family).unwrap_or(order.len())
}

/// Returns which lines of which service a series belongs to.
fn meaning(series: &Series, service: Option<&str>) -> Option<(Vec<Key>, Measure)> {
    let label = |name: &str| series.labels.get(name).map(String::as_str).unwrap_or_default();
    let of = series.labels.get("service")?;
    if service.is_some_and(|service| service != of) {
        return None;
    }
    let reason = |what: &str| vec![format!("{what}: {}", label("reason"))];
    let only = |what: &str| vec![what.to_owned()];
    let (what, measure) = match series.name.as_str() {
        "limiter_packets_total" => {
            let what = match (label("verdict"), label("point")) {
                // Who is let in is counted at `syn` and again at `gate`.
                ("pass", "gate") => only("accepted"),
                ("refuse", _) => reason("refused"),
                ("would_refuse", "gate") => vec!["accepted".to_owned(), "would refuse".to_owned()],
                ("would_refuse", _) => only("would refuse"),
                _ => return None,
            };
            (what, Measure::Rate)
        }
        "limiter_connections" => (only("open"), Measure::Level),
        "limiter_kernel_drops_total" => (reason("kernel drops"), Measure::Rate),
        "limiter_established_drops_total" => (reason("established drops"), Measure::Rate),
        "limiter_silent_connections" => (only("silent"), Measure::Level),
        "limiter_retransmits_total" => (only("retransmits"), Measure::Rate),
        _ => return None,
    };
    Some((what.into_iter().map(|what| (of.clone(), what)).collect(), measure))
}

/// Returns what was in force at a record.
fn state_of(series: &[Series], samples: &Samples, record_ms: u64) -> HistoryState {
    let present: Vec<(&Series, f64)> = series
        .iter()
        .filter_map(|series| samples.get(&series.id).map(|value| (series, value.number())))
        .filter(|(_, value)| *value > 0.0)
        .collect();
    let named = |name: &'static str| present.iter().filter(move |(series, _)| series.name == name);
    let label = |series: &Series, name: &str| series.labels.get(name).cloned().unwrap_or_default();
    let modes = named("limiter_mode").map(|(series, _)| (label(series, "service"), label(series, "mode")));
    let suspended = named("limiter_breaker_open").map(|(series, _)| label(series, "service"));
    let revision = named("limiter_policy_revision").next().map(|(_, value)| *value);
    HistoryState {
        at_ms: record_ms,
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it was a u32")]
        revision: revision.map(|revision| revision as u32),
        hash: named("limiter_policy_info").next().map(|(series, _)| label(series, "hash")),
        version: named("limiter_build_info").next().map(|(series, _)| label(series, "version")),
        modes: modes.collect(),
        suspended: suspended.collect(),
        is_panic: named("limiter_panic").next().is_some(),
        attachments: named("limiter_attach_info")
            .map(|(series, _)| (label(series, "interface"), label(series, "mode")))
            .collect(),
    }
}
