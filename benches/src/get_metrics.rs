//! `GetMetrics` calls a second: 50 callers on one connection, on the cores that the manager has too.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use plimsoll_wire::scaler::external_scaler_client::ExternalScalerClient;
use plimsoll_wire::scaler::{GetMetricsRequest, ScaledObjectRef};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::figures::{Latencies, cpu_time};
use crate::line::{Ground, Line};
use crate::traffic;

const CALLERS: usize = 50;

/// Prints one row.
pub async fn run(workloads: usize, seconds: u64) -> Result<()> {
    let backend = traffic::backend().await?;
    let routes: String = (0..workloads).map(|at| traffic::route(&format!("w-{at}"), backend)).collect();
    let line = Line::start(Ground::Memory, &routes, workloads).await?;
    let channel = Channel::from_shared(format!("http://{}", line.scaler))?.tcp_nodelay(true).connect().await?;
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
                let object = ScaledObjectRef {
                    name: name.clone(),
                    namespace: "default".to_owned(),
                    scaler_metadata: [("interceptorRoute".to_owned(), name.clone())].into(),
                };
                let request = GetMetricsRequest {
                    scaled_object_ref: Some(object),
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
    println!("\nGetMetrics: {workloads} workloads, one connection, {CALLERS} callers, client on the same cores");
    println!(
        "  {:.0} calls a second, {}, manager {:.1} us of CPU a call",
        calls / elapsed,
        latencies.summary(),
        cpu / calls * 1e6
    );
    Ok(())
}
