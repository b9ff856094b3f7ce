//! Speaks to a manager.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, StatusCode};
use plimsoll_manager::api::{Page, Problem};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::command::Connection;
use super::connection::{Answer, Place, TlsFiles};
use super::exit::Failed;

/// A whole call. Trying a plan out takes seconds where topics are many.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Items asked for at a time.
const PAGE: usize = 1_000;

/// A manager's REST API.
pub struct Client {
    server: String,
    place: Place,
    token: Option<String>,
}

/// No body.
pub const NOTHING: Option<&Value> = None;

/// What goes with a call, beside its path.
#[derive(Default)]
struct With {
    body: Option<Vec<u8>>,
    if_match: Option<String>,
    last_event: Option<String>,
}

impl Client {
    /// Reads the token and the certificates; connects when it is asked.
    pub fn new(connection: &Connection) -> Result<Self> {
        let token = match (&connection.token, &connection.token_file) {
            (Some(token), _) => Some(token.trim().to_owned()),
            (None, Some(path)) => {
                let read = std::fs::read_to_string(path);
                let read =
                    read.with_context(|| format!("can't read the token in {} (--token-file)", path.display()))?;
                Some(read.trim().to_owned())
            }
            (None, None) => None,
        };
        let certificate = connection.client_cert.clone().zip(connection.client_key.clone());
        let files = TlsFiles { ca: connection.ca_file.clone(), certificate };
        let server = connection.server.trim_end_matches('/').to_owned();
        let place = Place::new(&server, &files).map_err(|error| Failed::Usage(format!("{error:#}")))?;
        Ok(Self { server, place, token })
    }

    /// One call, and the JSON that it gives.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + ?Sized)>,
        guard: Option<&str>,
    ) -> Result<T> {
        let body = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        let with = With { body: Some(body), if_match: guard.map(ToOwned::to_owned), ..With::default() };
        Ok(self.whole(method, path, with).await?.0)
    }

    /// One look.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        Ok(self.whole(Method::GET, path, With::default()).await?.0)
    }

    /// One look at something that has a version, and that.
    pub async fn get_tagged<T: DeserializeOwned>(&self, path: &str) -> Result<(T, Option<String>)> {
        self.whole(Method::GET, path, With::default()).await
    }

    /// All pages of a list as one.
    pub async fn all<T: DeserializeOwned>(&self, list: &str, filters: &[(&str, Option<&String>)]) -> Result<Page<T>> {
        let mut query = format!("{list}?limit={PAGE}");
        for (name, value) in filters {
            if let Some(value) = value {
                query.push_str(&format!("&{name}={}", encoded(value)));
            }
        }
        let mut all = self.get::<Page<T>>(&query).await?;
        while all.items.len() < all.total {
            let next = self.get::<Page<T>>(&format!("{query}&offset={}", all.items.len())).await?;
            if next.items.is_empty() {
                break;
            }
            all.items.extend(next.items);
        }
        Ok(all)
    }

    /// A stream that goes on until somebody ends it.
    pub async fn stream(&self, path: &str, last: Option<&str>) -> Result<Answer> {
        let with = With { last_event: last.map(ToOwned::to_owned), ..With::default() };
        let answer = self.send(Method::GET, path, with).await?;
        if answer.response.status().is_success() { Ok(answer) } else { Err(self.refused(path, answer).await) }
    }

    /// One call with its whole answer: the JSON, and its version.
    async fn whole<T: DeserializeOwned>(&self, method: Method, path: &str, with: With) -> Result<(T, Option<String>)> {
        let read = async {
            let answer = self.send(method, path, with).await?;
            if !answer.response.status().is_success() {
                return Err(self.refused(path, answer).await);
            }
            let tag = answer.response.headers().get("etag").and_then(|tag| tag.to_str().ok()).map(ToOwned::to_owned);
            let body = answer.body().await.with_context(|| format!("{}/{path}: the answer broke off", self.server))?;
            let parsed = serde_json::from_slice(&body);
            let parsed = parsed.with_context(|| format!("{}/{path} does not speak this version's API", self.server))?;
            Ok((parsed, tag))
        };
        let late = || self.unreachable(format!("no answer within {} s", CALL_TIMEOUT.as_secs()));
        tokio::time::timeout(CALL_TIMEOUT, read).await.unwrap_or_else(|_| Err(late()))
    }

    async fn send(&self, method: Method, path: &str, with: With) -> Result<Answer> {
        let mut request = Request::builder().method(method).uri(format!("/api/v1/{path}"));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in [("if-match", with.if_match), ("last-event-id", with.last_event)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        if with.body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(Full::new(Bytes::from(with.body.unwrap_or_default())));
        let request = request.context("no request can be made of that")?;
        self.place.send(request).await.map_err(|error| {
            // The innermost one says what the system said.
            self.unreachable(error.root_cause().to_string())
        })
    }

    fn unreachable(&self, reason: String) -> anyhow::Error {
        Failed::Unreachable { server: self.server.clone(), reason }.into()
    }

    async fn refused(&self, path: &str, answer: Answer) -> anyhow::Error {
        let status: StatusCode = answer.response.status();
        let body = answer.body().await.unwrap_or_default();
        let message = match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => format!("{}: {}", problem.title, problem.detail),
            Err(_) => format!("{}/{path} answered {status}", self.server),
        };
        Failed::Refused { status, message }.into()
    }
}

/// A part of a path or query, with everything escaped that means something there (RFC 3986, section 2.3).
pub fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(one).collect()
}
