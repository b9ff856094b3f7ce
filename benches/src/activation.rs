//! First request at idle to `StreamIsActive` true.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use plimsoll_wire::scaler::ScaledObjectRef;
use plimsoll_wire::scaler::external_scaler_client::ExternalScalerClient;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::figures::Latencies;
use crate::line::{Ground, Line};
use crate::traffic;

/// A wake-up that takes longer is a failure.
const LIMIT: Duration = Duration::from_secs(10);
/// Requests that keep a workload busy take this long each.
const BUSY_MS: u32 = 5_000;
/// How long the busy ones run before measuring: past the first ticks.
const SETTLE: Duration = Duration::from_secs(8);

/// Prints a row for each ground, idle and busy.
pub async fn run(wakes: usize, busy: usize) -> Result<()> {
    println!("\nactivation: first request at idle -> StreamIsActive true ({wakes} idle workloads, each woken once)");
    for ground in [Ground::Memory, Ground::Kafka] {
        for busy in [0, busy] {
            let latencies = measure(ground, wakes, busy).await?;
            let ground = if ground == Ground::Memory { "in memory " } else { "real Kafka" };
            println!("  {ground}, {busy:>5} other topics busy: {}", latencies.summary());
        }
    }
    Ok(())
}

async fn measure(ground: Ground, wakes: usize, busy: usize) -> Result<Latencies> {
    let backend = traffic::backend().await?;
    let idle = (0..wakes).map(|at| format!("idle-{at}"));
    let others = (0..busy).map(|at| format!("busy-{at}"));
    let routes: String = idle.clone().chain(others.clone()).map(|name| traffic::route(&name, backend)).collect();
    let line = Line::start(ground, &routes, wakes + busy).await?;

    let mut load = JoinSet::new();
    for (at, name) in others.enumerate() {
        let proxy = line.proxy.clone();
        load.spawn(async move {
            // Spread over a tick, as real workloads are.
            tokio::time::sleep(Duration::from_millis(at as u64 % 1_000)).await;
            let host = format!("{name}.localhost");
            loop {
                if traffic::get(&proxy, &host, &format!("/?ms={BUSY_MS}")).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        });
    }
    if busy > 0 {
        tokio::time::sleep(SETTLE).await;
    }

    let channel = Channel::from_shared(format!("http://{}", line.scaler))?.connect().await?;
    let mut latencies = Latencies::new()?;
    for name in idle {
        latencies.add(wake(&channel, &line.proxy, &name).await.with_context(|| name.clone())?);
        // Not in step with the ticks.
        tokio::time::sleep(Duration::from_millis(13)).await;
    }
    load.abort_all();
    Ok(latencies)
}

async fn wake(channel: &Channel, proxy: &str, name: &str) -> Result<Duration> {
    let object = ScaledObjectRef {
        name: name.to_owned(),
        namespace: "default".to_owned(),
        scaler_metadata: BTreeMap::from([("interceptorRoute".to_owned(), name.to_owned())]).into_iter().collect(),
    };
    let mut states = ExternalScalerClient::new(channel.clone()).stream_is_active(object).await?.into_inner();
    match states.message().await? {
        Some(state) if !state.result => {}
        state => bail!("the stream began with {state:?}: the workload is not idle"),
    }
    let host = format!("{name}.localhost");
    let started = Instant::now();
    let request = traffic::get(proxy, &host, "/");
    let active = async {
        let state = tokio::time::timeout(LIMIT, states.message()).await.context("not active in time")??;
        anyhow::ensure!(state.is_some_and(|state| state.result), "the stream ended, or said inactive again");
        Ok(started.elapsed())
    };
    let (answer, latency) = tokio::join!(request, active);
    answer?;
    latency
}
