//! The HTTP routes on the metrics address: metrics, and health for machines.

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use super::collect;
use crate::{
    control::{error::RequestError, protocol::Health},
    daemon::{Daemon, Handle},
};

/// What `OpenMetrics` text calls itself.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The answer of `/healthz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthReport {
    /// The worst of what follows; [`Health::Failing`] is status 503.
    pub health: Health,
    /// Every service.
    pub services: Vec<ServiceHealth>,
}

/// How well one service is, in the answer of `/healthz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceHealth {
    /// Its name.
    pub name: String,
    /// How well it is.
    pub health: Health,
    /// Why: one sentence, or several joined by semicolons.
    pub reason: String,
}

/// Answers on the metrics address until `stop` comes.
pub async fn serve(listener: TcpListener, daemon: Handle, stop: impl Future<Output = ()> + Send + 'static) {
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .route("/readyz", get(ready))
        .route("/livez", get(live))
        .with_state(daemon);
    if let Err(error) = axum::serve(listener, routes).with_graceful_shutdown(stop).await {
        tracing::error!(%error, "metrics are no longer served");
    }
}

async fn metrics(State(daemon): State<Handle>) -> Result<Response, RequestError> {
    let snapshot = daemon.ask(Daemon::snapshot).await?;
    Ok(match collect::text(&snapshot) {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics could not be written as text");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    })
}

/// One condition that covers every service: 503 when any is failing.
async fn health(State(daemon): State<Handle>) -> Result<(StatusCode, Json<HealthReport>), RequestError> {
    let status = daemon.ask(Daemon::status).await?;
    let services = status.services.into_iter().map(|service| ServiceHealth {
        name: service.name,
        health: service.health,
        reason: if service.reasons.is_empty() {
            "all is well".to_owned()
        } else {
            service.reasons.join("; ")
        },
    });
    let report = HealthReport { health: status.health, services: services.collect() };
    let code = match report.health {
        Health::Ok | Health::Degraded => StatusCode::OK,
        Health::Failing => StatusCode::SERVICE_UNAVAILABLE,
    };
    Ok((code, Json(report)))
}

/// A policy is in force: this answers only once the packet path has started.
async fn ready(State(daemon): State<Handle>) -> Result<String, RequestError> {
    let revision = daemon.ask(|daemon, _| daemon.revision()).await?;
    Ok(format!("revision {revision} is in force\n"))
}

/// The process answers, however the packet path is.
async fn live() -> &'static str {
    "alive\n"
}
