//! The daemon side of the control socket: one route per verb.
//!
//! Whoever can connect may read. Only root and the daemon's own user may write:
//! the kernel says who is at the other end.

use std::{convert::Infallible, pin::Pin, task::Poll};

use axum::{
    Json, Router,
    body::{Body, HttpBody},
    extract::{
        ConnectInfo, FromRequestParts, Query, State,
        connect_info::Connected,
        rejection::{JsonRejection, QueryRejection},
    },
    http::{Method, Uri, header, request::Parts},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::IncomingStream,
};
use bytes::Bytes;
use hyper::body::Frame;
use serde::Serialize;
use tokio::{
    net::UnixListener,
    sync::{broadcast::error::RecvError, mpsc},
};

use super::{
    error::{Kind, RequestError},
    protocol::{
        self, Check, CheckQuery, Drops, DropsQuery, ModeRequest, PolicyChange, Refusal, RuleChange, RuleList,
        RuleQuery, RuleRemoval, RuleRequest, Status, Top, TopQuery,
    },
};
use crate::{
    clock::Now,
    daemon::{Daemon, Handle, Stopped},
};

/// Lines that may wait for a follower that reads slowly.
const LINES: usize = 64;

/// Answers on the control socket until `stop` comes.
pub async fn serve(listener: UnixListener, daemon: Handle, stop: impl Future<Output = ()> + Send + 'static) {
    let service = router(daemon).into_make_service_with_connect_info::<Caller>();
    if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(stop).await {
        tracing::error!(%error, "the control socket is gone");
    }
}

fn router(daemon: Handle) -> Router {
    Router::new()
        .route(protocol::STATUS, get(status))
        .route(protocol::RULES, get(list).post(add).delete(remove))
        .route(protocol::CHECK, get(check))
        .route(protocol::TOP, get(top))
        .route(protocol::DROPS, get(drops))
        .route(protocol::MODE, post(mode))
        .route(protocol::RELOAD, post(reload))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_route)
        .with_state(daemon)
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    uid: Option<u32>,
    pid: Option<i32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Caller {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        // SO_PEERCRED: the kernel's word. Whom it does not name may not write.
        let credentials = stream.io().peer_cred().ok();
        Self {
            uid: credentials.map(|credentials| credentials.uid()),
            pid: credentials.and_then(|credentials| credentials.pid()),
        }
    }
}

impl Caller {
    /// Returns whether the caller may change anything at a daemon of user `own_uid`.
    fn may_write(self, own_uid: u32) -> bool {
        self.uid.is_some_and(|uid| uid == 0 || uid == own_uid)
    }

    /// Returns the caller as rules and logs name it.
    fn name(self) -> String {
        let number = |n: Option<i64>| n.map_or_else(|| "unknown".to_owned(), |n| n.to_string());
        format!("uid {} pid {}", number(self.uid.map(i64::from)), number(self.pid.map(i64::from)))
    }
}

/// A caller that may write.
struct Writer(Caller);

impl<S: Send + Sync> FromRequestParts<S> for Writer {
    type Rejection = RequestError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, RequestError> {
        let forbidden = || {
            RequestError::new(
                Kind::Forbidden,
                "only root and the user of limiterd may change anything",
                "run limiterctl as root",
            )
        };
        let caller =
            ConnectInfo::<Caller>::from_request_parts(parts, state).await.map_err(|_| forbidden())?;
        let own_uid = nix::unistd::geteuid().as_raw();
        if caller.0.may_write(own_uid) { Ok(Self(caller.0)) } else { Err(forbidden()) }
    }
}

impl From<Stopped> for RequestError {
    fn from(stopped: Stopped) -> Self {
        Self::new(Kind::Stopping, stopped.to_string(), "start it again, then repeat the command")
    }
}

type Reply<T> = Result<Json<T>, RequestError>;

async fn status(State(daemon): State<Handle>) -> Reply<Status> {
    Ok(Json(daemon.ask(Daemon::status).await?))
}

async fn list(State(daemon): State<Handle>) -> Reply<RuleList> {
    Ok(Json(daemon.ask(|daemon, now| daemon.list_rules(now)).await?))
}

async fn add(
    State(daemon): State<Handle>,
    Writer(caller): Writer,
    request: Result<Json<RuleRequest>, JsonRejection>,
) -> Reply<RuleChange> {
    let Json(request) = request?;
    let (verb, logged) = (request.verb.word(), request.clone());
    change(&daemon, caller, verb, logged, |daemon, who, now| daemon.add_rule(request, who.to_owned(), now))
        .await
}

async fn remove(
    State(daemon): State<Handle>,
    Writer(caller): Writer,
    query: Result<Query<RuleQuery>, QueryRejection>,
) -> Reply<RuleRemoval> {
    let Query(query) = query?;
    let logged = query.clone();
    change(&daemon, caller, "remove", logged, move |daemon, who, now| daemon.remove_rules(&query, who, now))
        .await
}

async fn check(
    State(daemon): State<Handle>,
    query: Result<Query<CheckQuery>, QueryRejection>,
) -> Reply<Check> {
    let Query(query) = query?;
    Ok(Json(daemon.ask(move |daemon, now| daemon.check(&query, now)).await??))
}

async fn top(State(daemon): State<Handle>, query: Result<Query<TopQuery>, QueryRejection>) -> Reply<Top> {
    let Query(query) = query?;
    Ok(Json(daemon.ask(move |daemon, now| daemon.top(&query, now)).await??))
}

async fn mode(
    State(daemon): State<Handle>,
    Writer(caller): Writer,
    request: Result<Json<ModeRequest>, JsonRejection>,
) -> Reply<PolicyChange> {
    let Json(request) = request?;
    let logged = request.clone();
    change(&daemon, caller, "mode", logged, move |daemon, who, now| daemon.set_mode(&request, who, now)).await
}

async fn reload(State(daemon): State<Handle>, Writer(caller): Writer) -> Reply<PolicyChange> {
    tracing::info!(who = caller.name(), "reload asked for");
    change(&daemon, caller, "reload", (), Daemon::reload).await
}

/// Makes a change on behalf of a caller, and notes in the audit log what became of it.
async fn change<T: Send + 'static>(
    daemon: &Handle,
    caller: Caller,
    what: &'static str,
    logged: impl Serialize + Send + 'static,
    act: impl FnOnce(&mut Daemon, &str, Now) -> Result<T, RequestError> + Send + 'static,
) -> Reply<T> {
    let job = move |daemon: &mut Daemon, now: Now| {
        let outcome = act(daemon, &caller.name(), now);
        let said = outcome.as_ref().err().map_or_else(|| "done".to_owned(), ToString::to_string);
        daemon.audit((caller.uid, caller.pid), what, &logged, &said, now);
        outcome
    };
    Ok(Json(daemon.ask(job).await??))
}

async fn drops(
    State(daemon): State<Handle>,
    query: Result<Query<DropsQuery>, QueryRejection>,
) -> Result<Response, RequestError> {
    let Query(query) = query?;
    let (drops, mut coming) = daemon.ask(|daemon, _| daemon.follow_refusals()).await?;
    if !query.follow {
        return Ok(Json(Drops { drops }).into_response());
    }
    let (sender, lines) = mpsc::channel(LINES);
    tokio::spawn(async move {
        for refusal in &drops {
            if sender.send(line(refusal)).await.is_err() {
                return;
            }
        }
        loop {
            tokio::select! {
                // Without this a follower that hung up would be kept until the next refusal.
                () = sender.closed() => return,
                refusal = coming.recv() => match refusal {
                    Ok(refusal) if sender.send(line(&refusal)).await.is_ok() => {}
                    // Samples are samples: a slow follower misses some.
                    Err(RecvError::Lagged(_)) => {}
                    Ok(_) | Err(RecvError::Closed) => return,
                },
            }
        }
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::new(Lines(lines))).into_response())
}

/// Returns a refusal as one line of JSON.
fn line(refusal: &Refusal) -> Bytes {
    // Strings, numbers and addresses always serialise.
    let mut line = serde_json::to_vec(refusal).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

/// A body that ends when nobody sends lines any more.
struct Lines(mpsc::Receiver<Bytes>);

impl HttpBody for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

async fn no_such_route(method: Method, uri: Uri) -> RequestError {
    let error = format!("{method} {} is no route of this limiterd", uri.path());
    RequestError::new(Kind::NotFound, error, "are limiterd and its client of one version?")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Root and the daemon's user may write, nobody else, and nobody the kernel does not name.
    #[test]
    fn only_root_and_the_daemon_may_write() {
        let caller = |uid| Caller { uid, pid: Some(1) };
        assert!(caller(Some(0)).may_write(900));
        assert!(caller(Some(900)).may_write(900));
        assert!(!caller(Some(1000)).may_write(900));
        assert!(!caller(None).may_write(0));
        assert_eq!(caller(None).name(), "uid unknown pid 1");
    }
}
