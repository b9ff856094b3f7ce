//! Load on a proxy by `wrk` (as much as goes) and by `h2load` (at a rate). Every answer must be a success.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use super::contenders::{GRPC_HOST, HOST};
use crate::figures::Latencies;

/// What has been answered.
pub(super) struct Answered {
    pub(super) count: f64,
    pub(super) per_second: f64,
}

/// As many requests as go over so many connections.
pub(super) async fn at_most(address: &str, path: &str, connections: u32, seconds: u64) -> Result<Answered> {
    let text = output(Command::new("wrk").args([
        "-t1",
        "-c",
        &connections.to_string(),
        "-d",
        &format!("{seconds}s"),
        "-H",
        &format!("Host: {HOST}"),
        &format!("http://{address}{path}"),
    ]))
    .await?;
    ensure!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "wrk: {text}");
    let count = text.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok());
    let rate = text.lines().find_map(|line| line.strip_prefix("Requests/sec:")?.trim().parse().ok());
    Ok(Answered { count: count.with_context(|| text.clone())?, per_second: rate.with_context(|| text.clone())? })
}

/// So many requests a second over so many connections: how long each one took.
pub(super) async fn at_rate(address: &str, rate: f64, connections: u32, seconds: u64, log: &Path) -> Result<Latencies> {
    // It writes to the end of a log that is there.
    let _none_yet = std::fs::remove_file(log);
    let text = output(Command::new("h2load").args([
        "--h1",
        "-t1",
        "-c",
        &connections.to_string(),
        "--rps",
        &format!("{:.1}", rate / f64::from(connections)),
        "-D",
        &seconds.to_string(),
        "--warm-up-time=1",
        "-H",
        &format!(":authority: {HOST}"),
        "--log-file",
        &log.display().to_string(),
        &format!("http://{address}/"),
    ]))
    .await?;
    ensure!(text.contains(" 0 failed, 0 errored, 0 timeout"), "h2load: {text}");
    let mut latencies = Latencies::new()?;
    for line in std::fs::read_to_string(log).context("h2load wrote no log")?.lines() {
        // Start in microseconds, status, duration in microseconds.
        let mut fields = line.split_whitespace().skip(1);
        let (status, micros) = (fields.next(), fields.next().and_then(|micros| micros.parse().ok()));
        ensure!(status == Some("200"), "h2load: status {status:?}");
        latencies.add(Duration::from_micros(micros.with_context(|| format!("h2load: {line}"))?));
    }
    ensure!(latencies.count() > 0, "h2load: {text}");
    Ok(latencies)
}

/// As many gRPC calls as go, so many at once on each connection. `message` is a file with one.
pub(super) async fn calls(address: &str, load: Calls, message: &Path, seconds: u64) -> Result<Answered> {
    let text = output(Command::new("h2load").args([
        "-t1",
        "-c",
        &load.connections.to_string(),
        "-m",
        &load.at_once.to_string(),
        "-D",
        &seconds.to_string(),
        "-d",
        &message.display().to_string(),
        "-H",
        &format!(":authority: {GRPC_HOST}"),
        "-H",
        "content-type: application/grpc",
        "-H",
        "te: trailers",
        &format!("http://{address}/bench.Echo/Echo"),
    ]))
    .await?;
    // `requests: 10 total, 10 started, 10 done, 10 succeeded, 0 failed, 0 errored, 0 timeout`
    let line = text.lines().find(|line| line.starts_with("requests: ")).with_context(|| text.clone())?;
    ensure!(line.contains(" 0 failed, 0 errored, 0 timeout"), "h2load: {text}");
    let succeeded = line.split(", ").find_map(|part| part.strip_suffix(" succeeded")?.parse::<f64>().ok());
    let count = succeeded.filter(|count| *count > 0.0).with_context(|| text.clone())?;
    Ok(Answered { count, per_second: count / seconds as f64 })
}

/// How many calls are open.
#[derive(Clone, Copy)]
pub(super) struct Calls {
    pub(super) connections: u32,
    pub(super) at_once: u32,
}

async fn output(command: &mut Command) -> Result<String> {
    let name = command.as_std().get_program().to_string_lossy().into_owned();
    let output =
        command.output().await.with_context(|| format!("{name} can't be run: `make bench-proxy` installs it"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{name}: {text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(text)
}
