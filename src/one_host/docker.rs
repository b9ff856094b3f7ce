//! What scaling needs of the Docker engine's API.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::net::UnixStream;
use tokio_util::task::AbortOnDropHandle;

/// A list, or a start.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// A stop takes as long as the container may take (`stop_grace_period`), which is the engine's to know.
const STOP_TIMEOUT: Duration = Duration::from_secs(3600);
/// An engine lists some hundred bytes for each container; more than this is none.
const ANSWER_MAX: usize = 16 << 20;

/// A container, as the engine lists it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Container {
    pub id: String,
    /// None while it is being removed.
    names: Option<Vec<String>>,
    state: String,
}

/// An engine's refusal.
#[derive(Deserialize)]
struct Refusal {
    message: String,
}

/// The engine behind a socket. Each call has a connection of its own.
#[derive(Debug, Clone)]
pub struct Docker {
    socket: PathBuf,
}

impl Container {
    /// Its name, as `docker ps` shows it.
    pub fn name(&self) -> &str {
        self.names.iter().flatten().next().map_or(self.id.as_str(), |name| name.trim_start_matches('/'))
    }

    /// Whether its program runs, or is about to again.
    pub fn runs(&self) -> bool {
        matches!(self.state.as_str(), "running" | "restarting" | "paused")
    }

    /// Whether it can be started.
    pub fn can_start(&self) -> bool {
        matches!(self.state.as_str(), "created" | "exited")
    }

    #[cfg(test)]
    pub fn of(name: &str, state: &str) -> Self {
        Self { id: name.to_owned(), names: Some(vec![format!("/{name}")]), state: state.to_owned() }
    }
}

impl Docker {
    /// The engine that listens on this socket.
    pub fn at(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// All containers with these labels (`KEY=VALUE`), whether they run or not; by number, where Compose has numbered them.
    ///
    /// # Errors
    /// The engine does not answer, or not with a list.
    pub async fn containers(&self, labels: &[String]) -> Result<Vec<Container>> {
        let filters = serde_json::json!({ "label": labels }).to_string();
        let filters = utf8_percent_encode(&filters, NON_ALPHANUMERIC);
        let path = format!("/containers/json?all=true&filters={filters}");
        let answer = self.call(Method::GET, &path, CALL_TIMEOUT).await?;
        let mut containers: Vec<Container> =
            serde_json::from_slice(&answer).with_context(|| format!("{}: that is no list", self.place()))?;
        sort(&mut containers);
        Ok(containers)
    }

    /// Starts a container. One that runs is left alone.
    ///
    /// # Errors
    /// The engine does not answer, or can't.
    pub async fn start(&self, container: &Container) -> Result<()> {
        let path = format!("/containers/{}/start", container.id);
        self.call(Method::POST, &path, CALL_TIMEOUT).await.map(drop)
    }

    /// Asks a container to stop, and waits until it has; it is killed when its own time to stop is over.
    ///
    /// # Errors
    /// The engine does not answer, or can't.
    pub async fn stop(&self, container: &Container) -> Result<()> {
        let path = format!("/containers/{}/stop", container.id);
        self.call(Method::POST, &path, STOP_TIMEOUT).await.map(drop)
    }

    /// Without a version in its path a call is of the engine's own version: old engines do not know new ones, and new engines refuse old ones.
    async fn call(&self, method: Method, path: &str, within: Duration) -> Result<Bytes> {
        let answered = tokio::time::timeout(within, self.answer(method, path)).await;
        let (status, body) = answered
            .map_err(|_| anyhow!("it did not answer within {} s", within.as_secs()))
            .flatten()
            .with_context(|| self.place())?;
        // 304: it is so already.
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(body);
        }
        let told = serde_json::from_slice::<Refusal>(&body).map(|refusal| refusal.message);
        bail!("{} says {status}: {}", self.place(), told.unwrap_or_default());
    }

    async fn answer(&self, method: Method, path: &str) -> Result<(StatusCode, Bytes)> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .context("can't connect (is it there, and may this user write to it? In Compose it is mounted, and `user:` says who)")?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // What breaks it, the answer tells too.
        let _connection = AbortOnDropHandle::new(tokio::spawn(async move { drop(connection.await) }));
        let request =
            Request::builder().method(method).uri(path).header("host", "docker").body(Full::<Bytes>::default())?;
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, ANSWER_MAX).collect().await;
        let body = body.map_err(|error| anyhow!("its answer can't be read: {error}"))?;
        Ok((head.status, body.to_bytes()))
    }

    fn place(&self) -> String {
        format!("the Docker engine at {} (--docker)", self.socket.display())
    }
}

/// `x-2` before `x-10`.
fn sort(containers: &mut [Container]) {
    containers.sort_by(|a, b| (a.name().len(), a.name()).cmp(&(b.name().len(), b.name())));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_in_the_order_of_their_numbers() {
        let mut containers: Vec<Container> =
            ["demo-10", "demo-2", "demo-1"].iter().map(|name| Container::of(name, "exited")).collect();
        sort(&mut containers);
        assert_eq!(containers.iter().map(Container::name).collect::<Vec<_>>(), ["demo-1", "demo-2", "demo-10"]);
    }

    #[tokio::test]
    async fn an_engine_that_is_not_there_is_named_with_its_flag() {
        let error = Docker::at(Path::new("/nowhere/docker.sock")).containers(&[]).await.unwrap_err();
        let told = format!("{error:#}");
        assert!(told.contains("/nowhere/docker.sock (--docker): can't connect"), "{told}");
    }
}
