//! One request per command, and what its outcome means to a script.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use hyper::StatusCode;
use serde::Serialize;

use super::{
    args::{Args, Command, HostAct},
    follow,
    history::{self, HistoryError},
    host,
    panic::{self, PanicError},
    render::Render,
    selftest,
};
use crate::{
    chain::chain,
    control::{
        client::{Client, ClientError},
        protocol::{
            self, ApplyRequest, Check, CheckQuery, DiffAnswer, DiffRequest, Drops, DropsQuery, ErrorBody,
            HostAck, HostAckRequest, HostView, ImportChange, ImportRequest, ModeRequest, Origin,
            PolicyChange, RuleChange, RuleList, RuleQuery, RuleRemoval, RuleRequest, Status, SuggestQuery,
            Suggestion, Top, TopQuery, Verb,
        },
    },
    selftest::SelftestError,
};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It was done.
    Done = 0,
    /// The daemon refused it, or there is no such thing.
    Refused = 1,
    /// It makes no sense.
    Usage = 2,
    /// The daemon cannot be reached.
    Unreachable = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("cannot write the answer")]
    Output(#[from] io::Error),
    #[error("cannot write the answer as JSON")]
    Json(#[from] serde_json::Error),
    #[error("limiterd ended")]
    Ended,
    #[error("{0}")]
    Direct(String),
    #[error(transparent)]
    History(HistoryError),
    #[error(transparent)]
    Selftest(#[from] SelftestError),
    #[error("the selftest failed")]
    Unwell,
    #[error("cannot read {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl From<PanicError> for CommandError {
    fn from(error: PanicError) -> Self {
        match error {
            PanicError::Client(error) => Self::Client(error),
            direct @ PanicError::Direct { .. } => Self::Direct(direct.to_string()),
        }
    }
}

impl From<HistoryError> for CommandError {
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::Client(error) => Self::Client(error),
            other => Self::History(other),
        }
    }
}

/// Where an answer goes, and how it looks.
pub(super) struct Output<'a> {
    pub(super) out: &'a mut (dyn Write + Send),
    /// For what scripts must not read as the answer.
    pub(super) remarks: &'a mut (dyn Write + Send),
    pub(super) render: Render,
    pub(super) is_terminal: bool,
    pub(super) json: bool,
}

impl Output<'_> {
    fn show<T: Serialize>(
        &mut self,
        answer: &T,
        text: impl FnOnce(Render, &T) -> String,
    ) -> Result<(), CommandError> {
        if self.json {
            serde_json::to_writer_pretty(&mut self.out, answer)?;
            self.out.write_all(b"\n")?;
        } else {
            self.out.write_all(text(self.render, answer).as_bytes())?;
        }
        Ok(self.out.flush()?)
    }

    /// Shows how far it is, to people only.
    fn progress(&mut self, line: &str) {
        if !self.json {
            // What cannot be written fails again where the answer is.
            drop(self.out.write_all(line.as_bytes()).and_then(|()| self.out.flush()));
        }
    }

    /// Shows one of many: JSON on one line, since they may never end.
    pub(super) fn show_line<T: Serialize>(
        &mut self,
        answer: &T,
        text: impl FnOnce(Render, &T) -> String,
    ) -> Result<(), CommandError> {
        if self.json {
            serde_json::to_writer(&mut self.out, answer)?;
            self.out.write_all(b"\n")?;
        } else {
            self.out.write_all(text(self.render, answer).as_bytes())?;
        }
        Ok(self.out.flush()?)
    }
}

/// What answers are shown on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Screen {
    /// Whether it is a terminal, on which something can be drawn over.
    pub is_terminal: bool,
    /// Whether colours are wanted.
    pub colour: bool,
}

/// Does what was typed; answers go to `out`, errors to `errors`.
pub async fn run(
    args: Args,
    screen: Screen,
    out: &mut (dyn Write + Send),
    errors: &mut (dyn Write + Send),
) -> Exit {
    let Args { socket, json, command } = args;
    let client = Client::new(&socket);
    let Screen { is_terminal, colour } = screen;
    let mut output = Output { out, remarks: &mut *errors, render: Render { colour }, is_terminal, json };
    let Err(error) = dispatch(command, &client, &mut output).await else {
        return Exit::Done;
    };
    if is_closed_pipe(&error) {
        // `limiterctl drops --follow | head` has seen enough.
        return Exit::Done;
    }
    let (exit, body) = outcome(&error, &socket);
    let text = if json {
        serde_json::to_string(&body).unwrap_or_default()
    } else {
        format!("limiterctl: {}\n{}", body.error, body.remedy)
    };
    // Without a place for errors the exit code has to do.
    drop(writeln!(errors, "{}", text.trim_end()));
    exit
}

async fn dispatch(command: Command, client: &Client, output: &mut Output<'_>) -> Result<(), CommandError> {
    match command {
        Command::Status => {
            let status: Status = client.get(protocol::STATUS, &()).await?;
            output.show(&status, Render::status)
        }
        Command::Allow(rule) => add(client, output, rule.request(Verb::Allow)).await,
        Command::Deny(rule) => add(client, output, rule.request(Verb::Deny)).await,
        Command::Remove { prefix, service } => {
            let removal: RuleRemoval = client.delete(protocol::RULES, &RuleQuery { prefix, service }).await?;
            output.show(&removal, Render::removal)
        }
        Command::Import { file, deny, service, ttl, note, replace } => {
            let verb = if deny { Verb::Deny } else { Verb::Allow };
            let (name, text) = read_list(&file)?;
            let request = ImportRequest { verb, name, text, service, ttl, note, replace };
            let change: ImportChange = client.post(protocol::IMPORT, &request).await?;
            output.show(&change, Render::import)
        }
        Command::Export { deny, service } => export(client, output, deny, service).await,
        Command::List => {
            let list: RuleList = client.get(protocol::RULES, &()).await?;
            output.show(&list, Render::rules)
        }
        Command::Top { service, by, limit, follow: is_followed, interval } => {
            let query = TopQuery { service, by, limit: Some(limit) };
            if is_followed {
                return follow::top(client, output, &query, interval).await;
            }
            let top: Top = client.get(protocol::TOP, &query).await?;
            output.show(&top, Render::top)
        }
        Command::Drops { follow: true } => follow::drops(client, output).await,
        Command::Drops { follow: false } => {
            let drops: Drops = client.get(protocol::DROPS, &DropsQuery::default()).await?;
            output.show(&drops, |render, drops| {
                drops.drops.iter().map(|refusal| render.refusal(refusal)).collect()
            })
        }
        Command::Selftest { port } => {
            let report = selftest::run(client, &port, |line| output.progress(line)).await?;
            output.show(&report, |_, report| report.summary())?;
            if report.well { Ok(()) } else { Err(CommandError::Unwell) }
        }
        Command::Check { address, port } => {
            let check: Check = client.get(protocol::CHECK, &CheckQuery { address, port }).await?;
            output.show(&check, Render::check)
        }
        Command::Suggest { service, quantile, headroom, since } => {
            let query = SuggestQuery { service, quantile: Some(quantile), headroom: Some(headroom), since };
            let suggestion: Suggestion = client.get(protocol::SUGGEST, &query).await?;
            output.show(&suggestion, |_, suggestion| suggestion.toml.clone())
        }
        Command::History { since, until, service, state_dir } => {
            let query = history::query(&since, &until, service)?;
            let found = history::ask(client, &query, &state_dir, output.remarks).await?;
            output.show(&found, Render::history)
        }
        Command::Report { at, window, service, state_dir } => {
            let query = history::query_around(&at, &window, service)?;
            let found = history::ask(client, &query, &state_dir, output.remarks).await?;
            output.show(&found, |_, found| super::report::page(found, query.at_ms))
        }
        Command::Mode { mode, service } => {
            let change: PolicyChange = client.post(protocol::MODE, &ModeRequest { mode, service }).await?;
            output.show(&change, Render::policy_change)
        }
        Command::Diff { file } => {
            let (path, text) = (file.display().to_string(), read(&file)?);
            let answer: DiffAnswer = client.post(protocol::DIFF, &DiffRequest { path, text }).await?;
            output.show(&answer, Render::diff)
        }
        Command::Apply { file, confirm } => {
            let (path, text) = (file.display().to_string(), read(&file)?);
            let request = ApplyRequest { path, text, confirm };
            let change: PolicyChange = client.post(protocol::APPLY, &request).await?;
            output.show(&change, Render::policy_change)
        }
        Command::Confirm => {
            let change: PolicyChange = client.post(protocol::CONFIRM, &()).await?;
            output.show(&change, Render::policy_change)
        }
        Command::Panic { note, config } => {
            let state = panic::panic(client, note, &config).await?;
            output.show(&state, Render::panic_state)
        }
        Command::Resume { config } => {
            let state = panic::resume(client, &config).await?;
            output.show(&state, Render::panic_state)
        }
        Command::Host { act } => of_host(client, output, act).await,
        Command::Reload => {
            let change: PolicyChange = client.post(protocol::RELOAD, &()).await?;
            output.show(&change, Render::policy_change)
        }
    }
}

/// Shows the rules made at run time, as a list that `import` takes.
async fn export(
    client: &Client,
    output: &mut Output<'_>,
    deny: bool,
    service: Option<String>,
) -> Result<(), CommandError> {
    let mut list: RuleList = client.get(protocol::RULES, &()).await?;
    let treatment = if deny { "denied" } else { "exempt" };
    let services: Vec<String> = service.into_iter().collect();
    list.rules.retain(|rule| {
        rule.origin == Origin::Runtime && rule.treatment == treatment && rule.services == services
    });
    output.show(&list, |_, list| Render::export(list))
}

/// Shows what of the host changed, or acknowledges it.
async fn of_host(client: &Client, output: &mut Output<'_>, act: Option<HostAct>) -> Result<(), CommandError> {
    match act {
        None => {
            let view: HostView = client.get(protocol::HOST, &()).await?;
            output.show(&view, |_, view| host::view(view))
        }
        Some(HostAct::Ack { note }) => {
            let ack: HostAck = client.post(protocol::HOST_ACK, &HostAckRequest { note }).await?;
            output.show(&ack, |_, ack| host::acknowledged(ack))
        }
    }
}

/// Reads a configuration; whether it makes sense is for the daemon to say.
fn read(path: &Path) -> Result<String, CommandError> {
    std::fs::read_to_string(path).map_err(|source| CommandError::File { path: path.to_owned(), source })
}

/// Reads a list of prefixes, and says what it is called.
fn read_list(path: &Path) -> Result<(String, String), CommandError> {
    if path != Path::new("-") {
        return Ok((path.display().to_string(), read(path)?));
    }
    let text = io::read_to_string(io::stdin());
    let text = text.map_err(|source| CommandError::File { path: path.to_owned(), source })?;
    Ok(("standard input".to_owned(), text))
}

async fn add(client: &Client, output: &mut Output<'_>, request: RuleRequest) -> Result<(), CommandError> {
    let change: RuleChange = client.post(protocol::RULES, &request).await?;
    output.show(&change, Render::rule_change)
}

/// Returns whether whoever read the answer has gone away.
fn is_closed_pipe(error: &CommandError) -> bool {
    match error {
        CommandError::Output(error) => error.kind() == io::ErrorKind::BrokenPipe,
        CommandError::Json(error) => error.io_error_kind() == Some(io::ErrorKind::BrokenPipe),
        CommandError::Client(_)
        | CommandError::Ended
        | CommandError::File { .. }
        | CommandError::History(_)
        | CommandError::Direct(_)
        | CommandError::Selftest(_)
        | CommandError::Unwell => false,
    }
}

/// Returns what an error means to a script and to people.
fn outcome(error: &CommandError, socket: &Path) -> (Exit, ErrorBody) {
    let body = |remedy: String| ErrorBody { error: chain(error), remedy };
    let start = || {
        format!(
            "start it with `systemctl start limiterd` or `limiterd --config FILE`, \
             or name its socket with --socket if it is not {}",
            socket.display()
        )
    };
    match error {
        CommandError::Client(ClientError::Refused { status, body }) => {
            let usage = *status == StatusCode::BAD_REQUEST;
            (if usage { Exit::Usage } else { Exit::Refused }, body.clone())
        }
        CommandError::Client(ClientError::Unreachable { source, .. }) => {
            if source.kind() == io::ErrorKind::PermissionDenied {
                // A daemon that this user may not even ask is no daemon that is gone.
                let remedy = "run limiterctl as root, or as a member of the group in [runtime] control_group";
                return (Exit::Refused, body(remedy.to_owned()));
            }
            (Exit::Unreachable, body(start()))
        }
        CommandError::Client(ClientError::HungUp(_)) | CommandError::Ended => {
            (Exit::Unreachable, body(start()))
        }
        CommandError::History(error) => {
            let (exit, remedy) = error.outcome();
            (exit, body(remedy.to_owned()))
        }
        CommandError::Selftest(error) => (Exit::Refused, body(error.remedy().to_owned())),
        CommandError::Unwell => {
            (Exit::Refused, body("each step that failed says what to look at".to_owned()))
        }
        CommandError::Direct(_) => (
            Exit::Refused,
            body("run limiterctl as root, and name the configuration with --config".to_owned()),
        ),
        CommandError::File { .. } => (Exit::Usage, body("name a file that can be read".to_owned())),
        CommandError::Client(_) | CommandError::Output(_) | CommandError::Json(_) => {
            (Exit::Refused, body("`limiterctl --version` and `limiterd --version` should agree".to_owned()))
        }
    }
}
