//! `panic` and `resume`, with a daemon and without: a daemon that is dead or
//! hangs must not stand between an operator and an open port 25.

use std::path::Path;

use nix::unistd::Uid;
use tokio::time::timeout;

use crate::{
    chain::chain,
    clock::Now,
    control::{
        client::{Client, ClientError},
        protocol::{self, PANIC_ANSWER_TIME, PanicRequest, PanicState, ResumeRequest},
    },
    daemon::boot::directories,
    dataplane::kernel::pins,
    state::{Panic, marker},
};

/// Why a panic or its end did not come about.
#[derive(Debug, thiserror::Error)]
pub(super) enum PanicError {
    /// The daemon said no.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Without a daemon, and this did not work either.
    #[error("no daemon answers, and {what} failed: {why}")]
    Direct {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        why: String,
    },
}

/// Detaches everything: by the daemon, or by hand where none answers.
pub(super) async fn panic(client: &Client, note: String, config: &Path) -> Result<PanicState, PanicError> {
    let request = PanicRequest { note, sent_ms: Some(Now::read().unix_ms) };
    match asked(client.post(protocol::PANIC, &request)).await {
        Some(answer) => Ok(answer?),
        None => panic_directly(request.note, config),
    }
}

/// Attaches everything again: by the daemon, or, where none answers, by the next one that starts.
pub(super) async fn resume(client: &Client, config: &Path) -> Result<PanicState, PanicError> {
    let request = ResumeRequest { sent_ms: Some(Now::read().unix_ms) };
    match asked(client.post(protocol::RESUME, &request)).await {
        Some(answer) => Ok(answer?),
        None => resume_directly(config),
    }
}

/// Waits for an answer; nothing if there is no daemon, or one that hangs.
async fn asked(
    answer: impl Future<Output = Result<PanicState, ClientError>>,
) -> Option<Result<PanicState, ClientError>> {
    match timeout(PANIC_ANSWER_TIME, answer).await {
        Err(_) | Ok(Err(ClientError::Unreachable { .. } | ClientError::HungUp(_))) => None,
        Ok(answer) => Some(answer),
    }
}

fn panic_directly(note: String, config: &Path) -> Result<PanicState, PanicError> {
    let (state_dir, pin_dir) = directories(config);
    let who = format!("uid {} without limiterd", Uid::current());
    let panic = Panic { since_s: Now::read().unix_s(), who, note };
    // What can be detached is, whether or not the mark can be made.
    let not_saved = marker::write(&state_dir, &panic).err().map(|error| chain(&error));
    let removed = pins::clear(&pin_dir)
        .map_err(|error| PanicError::Direct { what: "removing the pins", why: chain(&error) })?;
    let done = vec![
        "no daemon answers: done without it".to_owned(),
        format!("{}: {} pins removed, and so everything is detached", pin_dir.display(), removed.len()),
    ];
    Ok(PanicState { is_panic: true, not_saved, done })
}

fn resume_directly(config: &Path) -> Result<PanicState, PanicError> {
    let (state_dir, _) = directories(config);
    marker::remove(&state_dir)
        .map_err(|error| PanicError::Direct { what: "removing the mark", why: chain(&error) })?;
    let done = vec![
        "no daemon answers: done without it".to_owned(),
        "the next limiterd that starts attaches everything".to_owned(),
    ];
    Ok(PanicState { is_panic: false, not_saved: None, done })
}
