//! `GetMetrics` calls a second: 50 callers on one connection, on the cores that the manager has too; alone, and beside the streams that
//! KEDA keeps open on the same connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::stream::{StreamExt as _, TryStreamExt as _};
use plimsoll_wire::scaler::external_scaler_client::ExternalScalerClient;
use plimsoll_wire::scaler::{GetMetricsRequest, IsActiveResponse, ScaledObjectRef};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::figures::{Latencies, cpu_time, resident_mib};
use crate::line::{Ground, Line};
use crate::traffic;

const CALLERS: usize = 50;
/// Streams that are open meanwhile, in the second row: 20,000 objects of KEDA's.
const STREAMS: usize = 20_000;
/// Streams that are being opened at once.
const OPENING: usize = 200;
/// What is aimed at.
const AIM: &str = "30000 calls a second at p99 6 ms";

/// Prints a row without streams and one with them.
pub async fn run(workloads: usize, seconds: u64) -> Result<()> {
    let backend = traffic::backend().await?;
    let routes: String = (0..workloads).map(|at| traffic::route(&format!("w-{at}"), backend)).collect();
    let line = Line::start(Ground::Memory, &routes, workloads).await?;
    let channel = Channel::from_shared(format!("http://{}", line.scaler))?.tcp_nodelay(true).connect().await?;
    println!(
        "\nGetMetrics: {workloads} workloads, one connection, {CALLERS} callers, client on the same cores (aim: {AIM})"
    );
    let before = resident_mib(line.interceptor.id())?;
    measure(&line, &channel, workloads, seconds, "no streams").await?;
    let opened = Instant::now();
    let streams = open(&channel, workloads).await?;
    let (count, took) = (streams.len(), opened.elapsed());
    println!(
        "  {count} streams opened in {:.1} s; {before} MiB before, {} MiB with them",
        took.as_secs_f64(),
        resident_mib(line.interceptor.id())?
    );
    measure(&line, &channel, workloads, seconds, &format!("{count} streams open")).await
}

/// The reference that KEDA sends for a route.
fn object(name: &str) -> ScaledObjectRef {
    ScaledObjectRef {
        name: name.to_owned(),
        namespace: "default".to_owned(),
        scaler_metadata: [("interceptorRoute".to_owned(), name.to_owned())].into(),
    }
}

/// Opens the streams, and takes what each says first: the client's HTTP/2 ends a connection with thousands of messages that nobody
/// takes. They say nothing more while nothing changes.
async fn open(channel: &Channel, workloads: usize) -> Result<Vec<Streaming<IsActiveResponse>>> {
    let one = |at: usize| {
        let mut client = ExternalScalerClient::new(channel.clone());
        async move {
            let opened = client.stream_is_active(object(&format!("w-{}", at % workloads))).await;
            let mut stream = opened.with_context(|| format!("stream {at}"))?.into_inner();
            stream.message().await.with_context(|| format!("the first message of stream {at}"))?;
            anyhow::Ok(stream)
        }
    };
    futures::stream::iter(0..STREAMS).map(one).buffer_unordered(OPENING).try_collect().await
}

async fn measure(line: &Line, channel: &Channel, workloads: usize, seconds: u64, what: &str) -> Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let (started, cpu) = (Instant::now(), cpu_time(line.interceptor.id())?);
    let until = started + Duration::from_secs(seconds);
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (mut client, next) = (ExternalScalerClient::new(channel.clone()), next.clone());
        callers.spawn(async move {
            let mut latencies = Latencies::new()?;
            while Instant::now() < until {
                let name = format!("w-{}", next.fetch_add(1, Ordering::Relaxed) % workloads);
                let request = GetMetricsRequest {
                    scaled_object_ref: Some(object(&name)),
                    metric_name: format!("http_{name}_concurrency"),
                };
                let called = Instant::now();
                client.get_metrics(request).await?;
                latencies.add(called.elapsed());
            }
            anyhow::Ok(latencies)
        });
    }
    let mut latencies = Latencies::new()?;
    while let Some(caller) = callers.join_next().await {
        latencies.merge(&caller??)?;
    }
    let elapsed = started.elapsed().as_secs_f64();
    let cpu = (cpu_time(line.interceptor.id())? - cpu).as_secs_f64();
    #[allow(clippy::cast_precision_loss, reason = "calls are far below 2^52")]
    let calls = latencies.count() as f64;
    println!(
        "  {what}: {:.0} calls a second, {}, manager {:.1} us of CPU a call",
        calls / elapsed,
        latencies.summary(),
        cpu / calls * 1e6
    );
    Ok(())
}
