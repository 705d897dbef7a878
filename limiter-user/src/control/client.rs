//! The client side of the control socket: one request, one answer, or lines without end.

use std::{
    io,
    path::{Path, PathBuf},
};

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use super::protocol::ErrorBody;

/// Why there is no answer, or not the one that was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody answers on the socket.
    #[error("cannot reach limiterd on {}", socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The daemon went away in the middle.
    #[error("limiterd hung up")]
    HungUp(#[source] hyper::Error),
    /// The daemon said no.
    #[error("{}; {}", body.error, body.remedy)]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// What it said.
        body: ErrorBody,
    },
    /// The answer is not what this version expects.
    #[error("limiterd answered something that this limiterctl does not understand; are both of one version?")]
    Protocol(#[source] serde_json::Error),
    /// The request could not be put together.
    #[error("cannot make the request")]
    Request(#[source] hyper::http::Error),
}

/// A client of one daemon.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// Returns a client of the daemon behind `socket`; it connects anew for each request.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Asks for something.
    ///
    /// # Errors
    ///
    /// When the daemon cannot be reached, says no, or is not understood.
    pub async fn get<T: DeserializeOwned>(
        &self,
        route: &str,
        query: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.call(Method::GET, &with_query(route, query)?, Bytes::new()).await
    }

    /// Asks for a change.
    ///
    /// # Errors
    ///
    /// As [`Client::get`].
    pub async fn post<T: DeserializeOwned>(
        &self,
        route: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(ClientError::Protocol)?;
        self.call(Method::POST, route, body.into()).await
    }

    /// Asks for a removal.
    ///
    /// # Errors
    ///
    /// As [`Client::get`].
    pub async fn delete<T: DeserializeOwned>(
        &self,
        route: &str,
        query: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.call(Method::DELETE, &with_query(route, query)?, Bytes::new()).await
    }

    /// Asks for something that comes line by line.
    ///
    /// # Errors
    ///
    /// As [`Client::get`].
    pub async fn follow(&self, route: &str, query: &impl Serialize) -> Result<Lines, ClientError> {
        let response = self.send(Method::GET, &with_query(route, query)?, Bytes::new()).await?;
        Ok(Lines { body: response.into_body(), pending: BytesMut::new() })
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        uri: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let response = self.send(method, uri, body).await?;
        let body = response.into_body().collect().await.map_err(ClientError::HungUp)?.aggregate();
        serde_json::from_reader(body.reader()).map_err(ClientError::Protocol)
    }

    /// Sends a request and returns the response if it is a yes.
    async fn send(&self, method: Method, uri: &str, body: Bytes) -> Result<Response<Incoming>, ClientError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| ClientError::Unreachable { socket: self.socket.clone(), source })?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(ClientError::HungUp)?;
        // What goes wrong with the connection shows in the answer that does not come.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(header::HOST, "limiterd")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(ClientError::Request)?;
        let response = sender.send_request(request).await.map_err(ClientError::HungUp)?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.into_body().collect().await.map_err(ClientError::HungUp)?.aggregate();
        let body = serde_json::from_reader(body.reader()).map_err(ClientError::Protocol)?;
        Err(ClientError::Refused { status, body })
    }
}

/// An answer that comes line by line.
#[derive(Debug)]
pub struct Lines {
    body: Incoming,
    pending: BytesMut,
}

impl Lines {
    /// Waits for a line and returns what it says; `None` when the daemon ended the answer.
    ///
    /// # Errors
    ///
    /// When the daemon goes away in the middle, or is not understood.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line = self.pending.split_to(end + 1);
                return serde_json::from_slice(&line).map(Some).map_err(ClientError::Protocol);
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(ClientError::HungUp(error)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.pending.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}

/// Returns a route with the fields of `query` behind it.
fn with_query(route: &str, query: &impl Serialize) -> Result<String, ClientError> {
    let value = serde_json::to_value(query).map_err(ClientError::Protocol)?;
    let fields = value.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let pairs: Vec<String> = fields
        .map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("{name}={}", percent_encoded(&text))
        })
        .collect();
    if pairs.is_empty() { Ok(route.to_owned()) } else { Ok(format!("{route}?{}", pairs.join("&"))) }
}

/// Returns text as it may stand in a query: everything but RFC 3986's unreserved characters is escaped.
fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::protocol::{RuleQuery, TopQuery};

    /// A prefix and a name with a space survive the query string; what is absent is left out.
    #[test]
    fn queries_are_escaped() {
        let rules = RuleQuery { prefix: "2001:db8::/32".into(), service: Some("a b".into()) };
        let uri = with_query("/v1/rules", &rules).unwrap();
        assert_eq!(uri, "/v1/rules?prefix=2001%3Adb8%3A%3A%2F32&service=a%20b");
        let top = TopQuery { service: None, by: crate::control::protocol::TopBy::New, limit: None };
        assert_eq!(with_query("/v1/top", &top).unwrap(), "/v1/top?by=new");
        assert_eq!(with_query("/v1/status", &()).unwrap(), "/v1/status");
    }
}
