//! `--follow`: refusals as they come, and the same table again and again.
//!
//! On a terminal a table is drawn over the one before. Elsewhere it is added
//! below, and with `--json` each is one line. A daemon that goes away is waited
//! for: it may be an upgrade that somebody watches.

use std::{
    io,
    time::{Duration, UNIX_EPOCH},
};

use clap::{ValueEnum as _, builder::PossibleValue};
use hyper::StatusCode;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    commands::{CommandError, Output},
    render::Render,
    table::Style,
};
use crate::{
    chain::chain,
    control::{
        client::{Client, ClientError},
        protocol::{self, DropsQuery, Refusal, Top, TopBy, TopQuery},
    },
};

/// How long an answer may take: a recount of the largest table takes less than a second.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// Hides the cursor, cuts what is too wide, and clears the terminal.
const BEGIN: &str = "\x1b[?25l\x1b[?7l\x1b[2J";
/// Undoes the first two.
const END: &str = "\x1b[?7h\x1b[?25h";
/// The upper left corner.
const HOME: &str = "\x1b[H";
/// Ends a line over what was there.
const END_LINE: &str = "\x1b[K\n";
/// Clears what is below.
const CLEAR_REST: &str = "\x1b[J";
/// Lines around the sources: above, what is wrong, the heading, the sum, and where the cursor stays.
const OTHER_LINES: usize = 5;

/// Shows refusals until somebody ends it, or the daemon ends.
pub(super) async fn drops(client: &Client, output: &mut Output<'_>) -> Result<(), CommandError> {
    let mut lines = client.follow(protocol::DROPS, &DropsQuery { follow: true }).await?;
    until_told(async {
        while let Some(refusal) = lines.next::<Refusal>().await? {
            output.show_line(&refusal, Render::refusal)?;
        }
        Err(CommandError::Ended)
    })
    .await
}

/// Shows the sources with most of something at every `every`, until somebody ends it.
pub(super) async fn top(
    client: &Client,
    output: &mut Output<'_>,
    query: &TopQuery,
    every: Duration,
) -> Result<(), CommandError> {
    let mut view = View { output, by: query.by, every, last: None, away: None };
    view.begin()?;
    let outcome = until_told(view.go_on(client, query)).await;
    view.end();
    outcome
}

/// Goes on until somebody ends it, which is no failure.
async fn until_told(shown: impl Future<Output = Result<(), CommandError>>) -> Result<(), CommandError> {
    tokio::select! {
        outcome = shown => outcome,
        told = told_to_stop() => told.map_err(CommandError::Output),
    }
}

/// Waits for Ctrl-C, or another signal that ends a program.
async fn told_to_stop() -> io::Result<()> {
    let (mut interrupt, mut terminate, mut hang_up) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
    Ok(())
}

/// What is shown, and where.
struct View<'a, 'b> {
    output: &'a mut Output<'b>,
    by: TopBy,
    every: Duration,
    /// The last answer.
    last: Option<Top>,
    /// Why there is none any more.
    away: Option<String>,
}

impl View<'_, '_> {
    /// Whether the next table is drawn over the one before.
    fn draws_over(&self) -> bool {
        self.output.is_terminal && !self.output.json
    }

    fn begin(&mut self) -> io::Result<()> {
        if self.draws_over() { self.output.out.write_all(BEGIN.as_bytes()) } else { Ok(()) }
    }

    /// Leaves the terminal as it was, with the last table on it.
    fn end(&mut self) {
        if self.draws_over() {
            // Who has gone away needs no cursor.
            drop(self.output.out.write_all(END.as_bytes()).and_then(|()| self.output.out.flush()));
        }
    }

    async fn go_on(&mut self, client: &Client, query: &TopQuery) -> Result<(), CommandError> {
        let mut beats = interval(self.every);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beats.tick().await;
            match timeout(ANSWER_TIME, client.get(protocol::TOP, query)).await {
                Ok(Ok(top)) => self.answered(top)?,
                // One that was never there is an error, as for every command.
                Ok(Err(error)) if self.last.is_none() || !is_away(&error) => return Err(error.into()),
                Ok(Err(error)) => self.unanswered(&chain(&error))?,
                Err(_) => self.unanswered(&format!("no answer within {} s", ANSWER_TIME.as_secs()))?,
            }
        }
    }

    fn answered(&mut self, top: Top) -> Result<(), CommandError> {
        let was_away = self.away.take().is_some();
        if self.draws_over() {
            self.last = Some(top);
            return Ok(self.draw()?);
        }
        if was_away {
            self.remark("limiterd answers again");
        }
        let first = self.last.is_none();
        let head = self.head(&top);
        self.output.show_line(&top, |render, top| {
            format!("{}{head}\n{}", if first { "" } else { "\n" }, render.top(top))
        })?;
        self.last = Some(top);
        Ok(())
    }

    fn unanswered(&mut self, why: &str) -> Result<(), CommandError> {
        let was_away = self.away.replace(why.to_owned()).is_some();
        if self.draws_over() {
            return Ok(self.draw()?);
        }
        if !was_away {
            self.remark(&format!("{why}; waiting for limiterd"));
        }
        Ok(())
    }

    /// Says something that is not the answer.
    fn remark(&mut self, text: &str) {
        // Without a place for remarks the answers have to do.
        drop(writeln!(self.output.remarks, "limiterctl: {text}"));
    }

    /// Draws the last answer over the one before it.
    fn draw(&mut self) -> io::Result<()> {
        let mut text = String::new();
        if let Some(why) = &self.away {
            let why = format!("{why}; waiting for limiterd, and this is what was last seen");
            text.extend([&*Style::Bad.paint(&why, self.output.render.colour), "\n"]);
        }
        if let Some(top) = &self.last {
            let mut top = top.clone();
            if let Some((_, height)) = terminal_size::terminal_size() {
                top.sources.truncate(usize::from(height.0).saturating_sub(OTHER_LINES).max(1));
            }
            let head = self.head(&top);
            text = format!("{head}, every {}\n{text}", humantime::format_duration(self.every))
                + &self.output.render.top(&top);
        }
        let text = format!("{HOME}{}{CLEAR_REST}", text.replace('\n', END_LINE));
        self.output.out.write_all(text.as_bytes())?;
        self.output.out.flush()
    }

    /// Says when it was, and what is shown.
    fn head(&self, top: &Top) -> String {
        let at = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(top.at_ms));
        let by = self.by.to_possible_value();
        format!("{at}  sources by {}", by.as_ref().map_or("", PossibleValue::get_name))
    }
}

/// Whether a daemon is gone that may come back.
fn is_away(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { source, .. } => source.kind() != io::ErrorKind::PermissionDenied,
        ClientError::HungUp(_) => true,
        // It is stopping.
        ClientError::Refused { status, .. } => *status == StatusCode::SERVICE_UNAVAILABLE,
        ClientError::Protocol(_) | ClientError::Request(_) => false,
    }
}
