//! The daemon side of the control socket: one route per verb.
//!
//! [`access`] has decided who comes this far: a handler serves whoever it meets,
//! and names the [`Peer`] where something changes.

use std::{convert::Infallible, pin::Pin, sync::Arc, task::Poll};

use axum::{
    Extension, Json, Router,
    body::{Body, HttpBody},
    extract::{
        DefaultBodyLimit, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    http::{Method, Uri, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use hyper::body::Frame;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::{
    net::UnixListener,
    sync::{broadcast::error::RecvError, mpsc},
};

use super::{
    access::{self, Access},
    error::{Kind, RequestError},
    peer::{Caller, Peer},
    protocol::{
        self, ApplyRequest, Check, CheckQuery, DiffAnswer, DiffRequest, Drops, DropsQuery, HostAck,
        HostAckRequest, HostView, ImportChange, ImportRequest, ModeRequest, PanicRequest, PanicState,
        PolicyChange, Refusal, ResumeRequest, RuleChange, RuleList, RuleQuery, RuleRemoval, RuleRequest,
        Status, SuggestQuery, Suggestion, Top, TopQuery,
    },
};
use crate::{
    clock::Now,
    daemon::{Daemon, Handle, Stopped, changes},
    state::file::hex,
};

/// Bytes of a request with a file in it: the largest configuration, escaped.
const FILE_BODY_BYTES: usize = 40 << 20;
/// Lines that may wait for a follower that reads slowly.
const LINES: usize = 64;

/// Answers on the control socket until `stop` comes.
pub async fn serve(
    listener: UnixListener,
    access: Access,
    daemon: Handle,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    let service = router(access, daemon).into_make_service_with_connect_info::<Caller>();
    if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(stop).await {
        tracing::error!(%error, "the control socket is gone");
    }
}

fn router(access: Access, daemon: Handle) -> Router {
    Router::new()
        .route(protocol::STATUS, get(status))
        .route(protocol::RULES, get(list).post(add).delete(remove))
        .route(protocol::IMPORT, post(import).layer(DefaultBodyLimit::max(FILE_BODY_BYTES)))
        .route(protocol::CHECK, get(check))
        .route(protocol::TOP, get(top))
        .route(protocol::SUGGEST, get(suggest))
        .route(protocol::DROPS, get(drops))
        .route(protocol::HISTORY, get(super::history::history))
        .route(protocol::MODE, post(mode))
        .route(protocol::RELOAD, post(reload))
        .route(protocol::APPLY, post(apply).layer(DefaultBodyLimit::max(FILE_BODY_BYTES)))
        .route(protocol::CONFIRM, post(confirm))
        .route(protocol::PANIC, post(panic))
        .route(protocol::RESUME, post(resume))
        .route(protocol::HOST, get(host))
        .route(protocol::HOST_ACK, post(host_ack))
        .route(protocol::DIFF, post(diff).layer(DefaultBodyLimit::max(FILE_BODY_BYTES)))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_route)
        // Last, and so in front of everything above.
        .layer(middleware::from_fn_with_state(Arc::new(access), access::guard))
        .with_state(daemon)
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
    Extension(peer): Extension<Peer>,
    request: Result<Json<RuleRequest>, JsonRejection>,
) -> Reply<RuleChange> {
    let Json(request) = request?;
    let (verb, logged) = (request.verb.word(), request.clone());
    change(&daemon, peer, verb, logged, |daemon, who, now| daemon.add_rule(request, who.to_owned(), now))
        .await
}

async fn import(
    State(daemon): State<Handle>,
    Extension(peer): Extension<Peer>,
    request: Result<Json<ImportRequest>, JsonRejection>,
) -> Reply<ImportChange> {
    let Json(request) = request?;
    // Not the list itself: what tells it from another one.
    let (lines, digest) = (request.text.lines().count(), Sha256::digest(request.text.as_bytes()));
    let text = format!("{lines} lines, SHA-256 {}", hex(&digest));
    let logged = ImportRequest { text, ..request.clone() };
    change(&daemon, peer, "import", logged, move |daemon, who, now| daemon.import(&request, who, now)).await
}

async fn remove(
    State(daemon): State<Handle>,
    Extension(peer): Extension<Peer>,
    query: Result<Query<RuleQuery>, QueryRejection>,
) -> Reply<RuleRemoval> {
    let Query(query) = query?;
    let logged = query.clone();
    change(&daemon, peer, "remove", logged, move |daemon, who, now| daemon.remove_rules(&query, who, now))
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

async fn suggest(
    State(daemon): State<Handle>,
    query: Result<Query<SuggestQuery>, QueryRejection>,
) -> Reply<Suggestion> {
    let Query(query) = query?;
    Ok(Json(daemon.ask(move |daemon, now| daemon.suggest(&query, now)).await??))
}

async fn mode(
    State(daemon): State<Handle>,
    Extension(peer): Extension<Peer>,
    request: Result<Json<ModeRequest>, JsonRejection>,
) -> Reply<PolicyChange> {
    let Json(request) = request?;
    let logged = request.clone();
    change(&daemon, peer, "mode", logged, move |daemon, who, now| daemon.set_mode(&request, who, now)).await
}

async fn reload(State(daemon): State<Handle>, Extension(peer): Extension<Peer>) -> Reply<PolicyChange> {
    tracing::info!(who = peer.who(), "reload asked for");
    change(&daemon, peer, "reload", (), Daemon::reload).await
}

async fn apply(
    State(daemon): State<Handle>,
    Extension(peer): Extension<Peer>,
    request: Result<Json<ApplyRequest>, JsonRejection>,
) -> Reply<PolicyChange> {
    let Json(request) = request?;
    let logged = (request.path.clone(), request.confirm.clone());
    change(&daemon, peer, "apply", logged, move |daemon, who, now| daemon.apply_file(&request, who, now))
        .await
}

async fn confirm(State(daemon): State<Handle>, Extension(peer): Extension<Peer>) -> Reply<PolicyChange> {
    change(&daemon, peer, "confirm", (), Daemon::confirm).await
}

async fn panic(
    State(daemon): State<Handle>,
    Extension(peer): Extension<Peer>,
    request: Result<Json<PanicRequest>, JsonRejection>,
) -> Reply<PanicState> {
    let Json(request) = request?;
    let logged = request.clone();
    change(&daemon, peer, "panic", logged, move |daemon, who, now| daemon.panic(&request, who, now)).await
}

async fn resume(
    State(daemon): State<Handle>,
    Extension(peer): Extension<Peer>,
    request: Bytes,
) -> Reply<PanicState> {
    // Scripts need not send anything.
    let sent_ms =
        serde_json::from_slice::<Option<ResumeRequest>>(&request).ok().flatten().and_then(|r| r.sent_ms);
    change(&daemon, peer, "resume", (), move |daemon, who, now| daemon.resume(sent_ms, who, now)).await
}

async fn diff(
    State(daemon): State<Handle>,
    request: Result<Json<DiffRequest>, JsonRejection>,
) -> Reply<DiffAnswer> {
    let Json(request) = request?;
    Ok(Json(daemon.ask(move |daemon, _| daemon.diff(&request)).await??))
}

async fn host(State(daemon): State<Handle>) -> Reply<HostView> {
    Ok(Json(changes::look(&daemon).await?))
}

async fn host_ack(
    State(daemon): State<Handle>,
    Extension(peer): Extension<Peer>,
    request: Result<Json<HostAckRequest>, JsonRejection>,
) -> Reply<HostAck> {
    let Json(request) = request?;
    let logged = request.clone();
    change(&daemon, peer, "host ack", logged, move |daemon, who, now| {
        daemon.acknowledge_host(&request, who, now)
    })
    .await
}

/// Makes a change on behalf of a peer, and notes in the audit log what became of it.
async fn change<T: Send + 'static>(
    daemon: &Handle,
    peer: Peer,
    what: &'static str,
    logged: impl Serialize + Send + 'static,
    act: impl FnOnce(&mut Daemon, &str, Now) -> Result<T, RequestError> + Send + 'static,
) -> Reply<T> {
    let job = move |daemon: &mut Daemon, now: Now| {
        let outcome = act(daemon, &peer.who(), now);
        let said = outcome.as_ref().err().map_or_else(|| "done".to_owned(), ToString::to_string);
        daemon.audit((Some(peer.uid), peer.pid), what, &logged, &said, now);
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
