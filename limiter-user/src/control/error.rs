//! Why a request was not granted, as the HTTP side tells it.

use axum::{
    Json,
    extract::rejection::{JsonRejection, QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::protocol::ErrorBody;

/// What kind of a no it is; it picks the HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request makes no sense.
    Invalid,
    /// The caller may not do this.
    Forbidden,
    /// What it names does not exist.
    NotFound,
    /// It makes sense, and the policy or the kernel does not take it.
    Rejected,
    /// The daemon is stopping.
    Stopping,
}

/// A request that was not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}; {}", body.error, body.remedy)]
pub struct RequestError {
    /// What kind of a no it is.
    pub kind: Kind,
    /// What the caller is told.
    pub body: ErrorBody,
}

impl RequestError {
    /// Returns an error of this kind; `error` says what is wrong, `remedy` what helps.
    pub fn new(kind: Kind, error: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { kind, body: ErrorBody { error: error.into(), remedy: remedy.into() } }
    }

    /// Returns the error for a service that does not exist, which names those that do.
    #[must_use]
    pub fn no_such_service<'a>(name: &str, services: impl IntoIterator<Item = &'a str>) -> Self {
        let known = services.into_iter().collect::<Vec<_>>().join(", ");
        Self::new(Kind::NotFound, format!("no service is named `{name}`"), format!("services are: {known}"))
    }

    /// Returns the HTTP status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self.kind {
            Kind::Invalid => StatusCode::BAD_REQUEST,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Rejected => StatusCode::CONFLICT,
            Kind::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl IntoResponse for RequestError {
    fn into_response(self) -> Response {
        (self.status(), Json(self.body)).into_response()
    }
}

impl From<QueryRejection> for RequestError {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(
            Kind::Invalid,
            rejection.body_text(),
            "`limiterctl COMMAND --help` lists what each command takes",
        )
    }
}

impl From<JsonRejection> for RequestError {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(
            Kind::Invalid,
            rejection.body_text(),
            "`limiterctl COMMAND --help` lists what each command takes",
        )
    }
}
