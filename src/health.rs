//! `plimsoll health`: asks a probe, for who has no curl, as a container's health check.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use clap::Args;
use http_body_util::Full;
use hyper::{Request, Uri};
use plimsoll_wire::go_duration;

use crate::ctl::connection::{Place, TlsFiles};

/// Of an answer that is not well, so much is shown.
const SHOWN: usize = 2000;

/// Settings of `plimsoll health`.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Config {
    /// What to ask: `http://127.0.0.1:9091/readyz` of an interceptor, port 9096 of a collector, `http://127.0.0.1:8088/readyz` of a manager.
    #[arg(value_name = "URL")]
    pub url: String,
    /// How long the answer may take.
    #[arg(long, env = "PLIMSOLL_HEALTH_TIMEOUT", value_name = "DURATION", default_value = "3s", value_parser = go_duration::parse)]
    pub timeout: Duration,
    /// Authorities in PEM form that vouch for an https server; the machine's own if unsaid.
    #[arg(long, env = "PLIMSOLL_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

/// Returns where the answer is a success (2xx).
///
/// # Errors
/// There is no answer in time, or it is another one: then with its status and text.
pub async fn run(config: Config) -> Result<()> {
    let url = &config.url;
    let asked = tokio::time::timeout(config.timeout, ask(&config)).await;
    asked
        .map_err(|_| anyhow!("no answer within {} ms (--timeout)", config.timeout.as_millis()))
        .flatten()
        .with_context(|| format!("{url} is not well"))
}

async fn ask(config: &Config) -> Result<()> {
    let uri: Uri = config.url.parse().context("that is no URL: write http://HOST:PORT/PATH")?;
    let (Some(scheme @ ("http" | "https")), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        bail!("that is no URL of a probe: write http://HOST:PORT/PATH")
    };
    let tls = TlsFiles { ca: config.ca_file.clone(), certificate: None };
    let place = Place::new(&format!("{scheme}://{authority}"), &tls)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let answer = place.send(Request::get(path).body(Full::<Bytes>::default())?).await?;
    let status = answer.response.status();
    if status.is_success() {
        return Ok(());
    }
    let body = answer.body().await?;
    let text = String::from_utf8_lossy(&body[..body.len().min(SHOWN)]);
    bail!("{status}: {}", text.trim())
}
