//! `/v1/history`: read on a thread that holds neither the daemon nor other answers.

use std::path::PathBuf;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use tokio::sync::Semaphore;

use super::{
    error::{Kind, RequestError},
    protocol::{History, HistoryQuery},
};
use crate::{
    chain::chain,
    daemon::Handle,
    recorder::{self, ReadError},
};

/// Windows that are read at once: more callers wait, so that they cannot take the host's disk for themselves.
static READERS: Semaphore = Semaphore::const_new(2);

/// Answers with a window of the recording.
pub(super) async fn history(
    State(daemon): State<Handle>,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Json<History>, RequestError> {
    let Query(query) = query?;
    if query.from_ms >= query.until_ms {
        let error = "the window ends before it begins";
        return Err(RequestError::new(Kind::Invalid, error, "name an earlier --since, or a later --until"));
    }
    let path: Option<PathBuf> = daemon.ask(|daemon, _| daemon.recording().map(ToOwned::to_owned)).await?;
    let path = path.ok_or_else(|| {
        RequestError::new(Kind::NotFound, "nothing is recorded", "set `enabled = true` in [recorder]")
    })?;
    // Never closed.
    let _permit = READERS.acquire().await.ok();
    let read = tokio::task::spawn_blocking(move || recorder::history(&path, &query)).await;
    match read {
        Ok(Ok(history)) => Ok(Json(history)),
        Ok(Err(error)) => Err(refusal(&error)),
        Err(_) => {
            Err(RequestError::new(Kind::Rejected, "reading the recording broke off", "please report this"))
        }
    }
}

fn refusal(error: &ReadError) -> RequestError {
    let (kind, remedy) = match error {
        ReadError::Absent { .. } => (Kind::NotFound, "the first record is made ten seconds after the start"),
        ReadError::NoSuchService { .. } => (Kind::NotFound, "name one of those"),
        _ => (Kind::Rejected, "`limiterctl status` says what the recorder lacks"),
    };
    RequestError::new(kind, chain(error), remedy)
}
