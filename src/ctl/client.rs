//! Speaks to a manager.

use std::time::Duration;

use anyhow::{Context as _, Result};
use plimsoll_manager::api::{Page, Problem};
use reqwest::{Method, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::command::Connection;
use super::exit::Failed;

/// A whole call. Trying a plan out takes seconds where topics are many.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Items asked for at a time.
const PAGE: usize = 1_000;

/// A manager's REST API.
pub struct Client {
    server: String,
    token: Option<String>,
    http: reqwest::Client,
}

/// A body, where there is one.
pub const NOTHING: Option<&Value> = None;

impl Client {
    /// Reads the token; connects when it is asked.
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
        let http = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).build();
        let http = http.context("can't make an HTTP client")?;
        Ok(Self { server: connection.server.trim_end_matches('/').to_owned(), token, http })
    }

    /// One call, and the JSON that it gives.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + ?Sized)>,
        guard: Option<&str>,
    ) -> Result<T> {
        let request = self.request(method, path).timeout(CALL_TIMEOUT);
        let request = match guard {
            Some(tag) => request.header("if-match", tag),
            None => request,
        };
        let request = match body {
            Some(body) => request.json(body),
            None => request.header("content-type", "application/json"),
        };
        let response = self.send(request).await?;
        self.read(path, response).await
    }

    /// One look.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let response = self.send(self.request(Method::GET, path).timeout(CALL_TIMEOUT)).await?;
        self.read(path, response).await
    }

    /// One look at something that has a version, and that.
    pub async fn get_tagged<T: DeserializeOwned>(&self, path: &str) -> Result<(T, Option<String>)> {
        let response = self.send(self.request(Method::GET, path).timeout(CALL_TIMEOUT)).await?;
        let tag = response.headers().get("etag").and_then(|tag| tag.to_str().ok()).map(ToOwned::to_owned);
        Ok((self.read(path, response).await?, tag))
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
    pub async fn stream(&self, path: &str, last: Option<&str>) -> Result<Response> {
        let request = self.request(Method::GET, path);
        let request = match last {
            Some(last) => request.header("last-event-id", last),
            None => request,
        };
        let response = self.send(request).await?;
        if response.status().is_success() { Ok(response) } else { Err(self.refused(path, response).await) }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}/api/v1/{path}", self.server));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response> {
        request.send().await.map_err(|error| {
            let mut reason: &dyn std::error::Error = &error;
            // The innermost one says what the system said.
            while let Some(source) = reason.source() {
                reason = source;
            }
            Failed::Unreachable { server: self.server.clone(), reason: reason.to_string() }.into()
        })
    }

    async fn read<T: DeserializeOwned>(&self, path: &str, response: Response) -> Result<T> {
        if !response.status().is_success() {
            return Err(self.refused(path, response).await);
        }
        let body = response.bytes().await.with_context(|| format!("{}/{path}: the answer broke off", self.server))?;
        serde_json::from_slice(&body)
            .with_context(|| format!("{}/{path} does not speak this version's API", self.server))
    }

    async fn refused(&self, path: &str, response: Response) -> anyhow::Error {
        let status = response.status();
        let problem = response.json::<Problem>().await;
        let message = match problem {
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
