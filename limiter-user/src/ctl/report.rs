//! A post-mortem page of a moment, as Markdown: what happened, how much of it,
//! who, what was in force, and where to look next.

use super::{
    history::{figures, in_one_line},
    spark,
};
use crate::{
    clock::utc_ms,
    control::protocol::{History, HistoryService, HistoryState},
};

/// How long before the moment a change is worth a second look.
const SUSPECT_MS: u64 = 15 * 60 * 1_000;

/// Returns the page.
pub(super) fn page(history: &History, at_ms: Option<u64>) -> String {
    let at_ms = at_ms.unwrap_or(history.until_ms);
    let mut page = format!("# What happened around {}\n\n", utc_ms(at_ms));
    line(
        &mut page,
        &format!(
            "From {} to {}, all times in UTC; {} records, a point each {} s.",
            utc_ms(history.from_ms),
            utc_ms(history.until_ms),
            history.records,
            history.step_ms / 1_000
        ),
    );
    if let Some(gap) = gap(history) {
        line(&mut page, &gap);
    }
    page.push_str("\n## In force\n\n");
    match &history.state {
        Some(state) => in_force(&mut page, state),
        None => line(&mut page, "Nothing was recorded by then."),
    }
    page.push_str("\n## Timeline\n\n");
    timeline(&mut page, history, at_ms);
    for service in &history.services {
        of_service(&mut page, service);
    }
    page.push_str("\n## Where to look next\n\n");
    for hint in hints(history, at_ms) {
        line(&mut page, &format!("- {hint}"));
    }
    page
}

fn line(page: &mut String, text: &str) {
    page.extend([text, "\n"]);
}

/// Says that a part of the window has no records.
fn gap(history: &History) -> Option<String> {
    let longest = history.services.iter().flat_map(|service| &service.lines).map(|line| {
        let present = line.points.iter().flatten().count();
        line.points.len() - present
    });
    let missing = longest.min()?;
    (missing > 0).then(|| {
        let missing_s = missing as u64 * history.step_ms / 1_000;
        format!("For some {missing_s} s of it nothing was recorded: limiterd was not running, the disk took nothing, or it is yet to come.")
    })
}

fn in_force(page: &mut String, state: &HistoryState) {
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    let revision = state.revision.map_or_else(|| "unknown".to_owned(), |revision| revision.to_string());
    let mut item = |what: &str, value: &str| line(page, &format!("- {what}: {value}"));
    item("As of", &utc_ms(state.at_ms));
    item("Policy", &format!("revision {revision}, configuration {}", known(&state.hash)));
    item("limiterd", &known(&state.version));
    let modes: Vec<String> = state.modes.iter().map(|(service, mode)| format!("{service} {mode}")).collect();
    item("Modes", &modes.join(", "));
    if !state.suspended.is_empty() {
        item("Circuit breaker open or on trial", &state.suspended.join(", "));
    }
    if state.is_panic {
        item("Panic", "everything was detached");
    }
    let attached: Vec<String> =
        state.attachments.iter().map(|(interface, mode)| format!("{interface} {mode}")).collect();
    item("Interfaces", &if attached.is_empty() { "none".to_owned() } else { attached.join(", ") });
}

fn timeline(page: &mut String, history: &History, at_ms: u64) {
    if history.events.is_empty() {
        line(page, "No events.");
        return;
    }
    if history.events_left_out > 0 {
        line(page, &format!("{} events before these are left out.\n", history.events_left_out));
    }
    line(page, "| time | event | service | what |");
    line(page, "| --- | --- | --- | --- |");
    let mut is_marked = false;
    let mark =
        |page: &mut String| line(page, &format!("| **{}** | | | **the moment asked for** |", utc_ms(at_ms)));
    for event in &history.events {
        if !is_marked && event.at_ms > at_ms {
            is_marked = true;
            mark(page);
        }
        let service = event.service.as_deref().unwrap_or("");
        let what = cell(&event.text);
        line(page, &format!("| {} | {} | {service} | {what} |", event.at, event.kind));
    }
    if !is_marked {
        mark(page);
    }
}

fn of_service(page: &mut String, service: &HistoryService) {
    line(page, &format!("\n## Service {}\n", service.service));
    line(page, "| what | total | last | most | trend |");
    line(page, "| --- | ---: | ---: | ---: | --- |");
    for entry in &service.lines {
        let [total, last, most] = figures(entry);
        let trend = spark::line(&entry.points);
        line(page, &format!("| {} | {total} | {last} | {most} | `{trend}` |", entry.what));
    }
    if service.sources.is_empty() {
        return;
    }
    page.push_str("\nSources, as far as they were among the first of their minute:\n\n");
    line(page, "| source | refused | new | most open |");
    line(page, "| --- | ---: | ---: | ---: |");
    for source in &service.sources {
        let (refused, new, open) = (source.refused, source.new, source.open_max);
        line(page, &format!("| {} | {refused} | {new} | {open} |", source.source));
    }
}

/// Returns a text as it may stand in a cell.
fn cell(text: &str) -> String {
    in_one_line(text).replace('|', "\\|")
}

/// Returns what the figures and events point to, with the commands that tell more.
fn hints(history: &History, at_ms: u64) -> Vec<String> {
    let mut hints = Vec::new();
    let before =
        history.events.iter().filter(|event| event.at_ms <= at_ms && event.at_ms + SUSPECT_MS >= at_ms);
    for event in before.filter(|event| ["policy", "mode", "attach", "host"].contains(&event.kind.as_str())) {
        hints.push(format!("A change came before it, at {}: {}.", event.at, in_one_line(&event.text)));
    }
    for service in &history.services {
        let name = &service.service;
        let total = |start: &str| -> f64 {
            let lines = service.lines.iter().filter(|line| line.what.starts_with(start));
            lines.map(|line| line.total).sum()
        };
        if total("established drops") > 0.0 {
            hints.push(format!(
                "Packets of open connections of {name} were dropped by the kernel: `nft list ruleset`, and `limiterctl drops` for the reasons."
            ));
        }
        if total("kernel drops") > 0.0 {
            hints.push(format!("The kernel dropped packets of {name}: `limiterctl drops` says why."));
        }
        if total("refused") > 0.0 {
            let who = service.sources.first().map_or("ADDRESS", |source| source.source.as_str());
            let address = who.split('/').next().unwrap_or(who);
            hints.push(format!(
                "{name} refused {}: `limiterctl top --service {name} --by refused` for who, `limiterctl check {address}` for why.",
                spark::number(total("refused"))
            ));
        }
        if total("would refuse") > 0.0 {
            hints.push(format!(
                "{name} would have refused {}: `limiterctl suggest --service {name}` before it enforces.",
                spark::number(total("would refuse"))
            ));
        }
    }
    if history.events.iter().any(|event| event.kind == "breaker") {
        hints.push("A circuit breaker moved: `limiterctl status` says why it is where it is.".to_owned());
    }
    if history.events.iter().any(|event| event.kind == "fault") {
        hints.push("A step of limiterd failed: `journalctl -u limiterd` around the time.".to_owned());
    }
    if hints.is_empty() {
        hints.push(
            "Nothing here points to limiter; `limiterctl history` with a wider window shows more.".to_owned(),
        );
    }
    hints
}
