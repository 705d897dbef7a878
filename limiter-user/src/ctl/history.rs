//! What the flight recorder holds: from the daemon, or from its file where none answers.

use std::{io, io::Write, path::Path, time::Duration};

use super::{
    Exit,
    render::Render,
    spark,
    table::{Cell, Style, Table},
    when::{millis, moment},
};
use crate::{
    clock::{Now, utc_ms},
    config::duration,
    control::{
        client::{Client, ClientError},
        protocol::{self, History, HistoryEvent, HistoryLine, HistoryQuery, HistoryService},
    },
    recorder::{self, FILE, ReadError},
};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum HistoryError {
    /// The daemon says no, or something that is not understood.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What was typed is no window.
    #[error("{0}")]
    Window(String),
    /// No daemon answers, and the file is of no help.
    #[error("no limiterd answers")]
    File(#[source] ReadError),
    /// Remarks cannot be written.
    #[error("cannot write the answer")]
    Output(#[from] io::Error),
}

impl HistoryError {
    /// Returns what it means to a script, and what helps.
    pub(super) fn outcome(&self) -> (Exit, &'static str) {
        match self {
            Self::Window(_) => (
                Exit::Usage,
                "write 2h for two hours ago, 14:30 for today, or 2026-03-01T14:30:00Z; all in UTC",
            ),
            Self::File(ReadError::Absent { .. }) => {
                (Exit::Unreachable, "start limiterd, or name its state directory with --state-dir")
            }
            Self::File(ReadError::NoSuchService { .. }) => (Exit::Refused, "name one of those"),
            Self::File(_) => (Exit::Refused, "run limiterctl as root, or name another --state-dir"),
            Self::Client(_) | Self::Output(_) => (Exit::Refused, "`limiterctl status` shows how limiterd is"),
        }
    }
}

/// Returns the question for a window.
pub(super) fn query(since: &str, until: &str, service: Option<String>) -> Result<HistoryQuery, HistoryError> {
    let now_ms = Now::read().unix_ms;
    let moment = |text| moment(text, now_ms).map_err(HistoryError::Window);
    let (from_ms, until_ms) = (moment(since)?, moment(until)?);
    if from_ms >= until_ms {
        let window = format!("from {} to {} is no window", utc_ms(from_ms), utc_ms(until_ms));
        return Err(HistoryError::Window(window));
    }
    Ok(HistoryQuery { from_ms, until_ms, service, at_ms: None, sources: false })
}

/// Returns the question for a moment and what is around it.
pub(super) fn query_around(
    at: &str,
    window: &str,
    service: Option<String>,
) -> Result<HistoryQuery, HistoryError> {
    let now_ms = Now::read().unix_ms;
    let at_ms = moment(at, now_ms).map_err(HistoryError::Window)?;
    let wide = duration(window).ok().filter(|wide| *wide >= Duration::from_secs(2));
    let wide = wide.ok_or_else(|| HistoryError::Window(format!("`{window}` is no window")))?;
    let half_ms = millis(wide) / 2;
    let (from_ms, until_ms) = (at_ms.saturating_sub(half_ms), at_ms.saturating_add(half_ms));
    Ok(HistoryQuery { from_ms, until_ms, service, at_ms: Some(at_ms), sources: true })
}

/// Asks the daemon, or reads its file and says so.
pub(super) async fn ask(
    client: &Client,
    query: &HistoryQuery,
    state_dir: &Path,
    remarks: &mut (dyn Write + Send),
) -> Result<History, HistoryError> {
    match client.get(protocol::HISTORY, query).await {
        Err(ClientError::Unreachable { source, .. }) if source.kind() != io::ErrorKind::PermissionDenied => {}
        answer => return Ok(answer?),
    }
    let path = state_dir.join(FILE);
    let history = recorder::history(&path, query).map_err(HistoryError::File)?;
    writeln!(remarks, "limiterctl: no limiterd answers; this is from {}", path.display())?;
    Ok(history)
}

impl Render {
    /// Returns events in order, and a table by service.
    #[must_use]
    pub fn history(self, history: &History) -> String {
        let step = humantime::format_duration(Duration::from_millis(history.step_ms));
        let mut text = format!(
            "{} to {}, {} records, a point each {step}\n",
            utc_ms(history.from_ms),
            utc_ms(history.until_ms),
            history.records
        );
        if let Some(oldest_ms) = history.oldest_ms.filter(|oldest_ms| *oldest_ms > history.from_ms) {
            let remark = format!("the recording begins at {}", utc_ms(oldest_ms));
            text.extend([&Style::Warning.paint(&remark, self.colour), "\n"]);
        }
        text.push('\n');
        text.push_str(&self.events(&history.events, history.events_left_out));
        for service in &history.services {
            text.extend(["\n", &Style::Bold.paint(&service.service, self.colour), "\n"]);
            text.push_str(&self.lines(service));
        }
        text
    }

    fn events(self, events: &[HistoryEvent], left_out: u64) -> String {
        if events.is_empty() {
            return "no events\n".to_owned();
        }
        let mut table = Table::new(["TIME", "EVENT", "SERVICE", "WHAT"]);
        for event in events {
            table.row([
                Cell::styled(&event.at, Style::Faint),
                Cell::styled(&event.kind, style(&event.kind)),
                Cell::text(event.service.as_deref().unwrap_or("-")),
                Cell::text(in_one_line(&event.text)),
            ]);
        }
        let before = if left_out > 0 { format!("{left_out} events before these\n") } else { String::new() };
        before + &table.lines(self.colour)
    }

    fn lines(self, service: &HistoryService) -> String {
        let mut table = Table::new(["WHAT", "TOTAL", "LAST", "MOST", "TREND"]);
        for line in &service.lines {
            let [total, last, most] = figures(line);
            table.row([
                Cell::text(&line.what),
                Cell::right(total),
                Cell::right(last),
                Cell::right(most),
                Cell::text(spark::line(&line.points)),
            ]);
        }
        table.lines(self.colour)
    }
}

/// Returns what was counted in all, the last point and the highest one.
pub(super) fn figures(line: &HistoryLine) -> [String; 3] {
    let last = line.points.iter().rev().flatten().next().copied().unwrap_or_default();
    match line.unit.as_str() {
        "per_second" => [
            spark::number(line.total),
            format!("{}/s", spark::number(last)),
            format!("{}/s", spark::number(line.max)),
        ],
        _ => ["-".to_owned(), spark::number(last), spark::number(line.max)],
    }
}

/// Returns a text without line breaks.
pub(super) fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn style(kind: &str) -> Style {
    match kind {
        "breaker" | "panic" | "fault" | "canary" => Style::Bad,
        "drift" | "mode" | "conntrack" | "host" => Style::Warning,
        _ => Style::Plain,
    }
}
