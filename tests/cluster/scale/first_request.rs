//! From an EndpointSlice to the first request on the endpoint that it names.

use std::time::Duration;

use anyhow::{Result, ensure};
use kube::api::PostParams;
use serde_json::json;
use tokio::time::Instant;

use super::service;
use crate::backend::Backend;
use crate::http;
use crate::objects::{Namespace, route};

const ROUNDS: usize = 200;
/// A request is held by then.
const HELD: Duration = Duration::from_millis(50);
const AIM: Duration = Duration::from_millis(50);

/// Prints the median and the 99th percentile: a request waits for a workload that gets its first endpoint.
pub(super) async fn measure(space: &Namespace, proxy: String) -> Result<()> {
    let pod = Backend::start().await?;
    for round in 0..ROUNDS {
        let name = format!("first-{round}");
        let mut route = route(&name, &format!("{name}.example.com"), &name);
        route["apiVersion"] = "http.keda.sh/v1beta1".into();
        space.api("Service").create(&PostParams::default(), &serde_json::from_value(service(&name))?).await?;
        space.api("InterceptorRoute").create(&PostParams::default(), &serde_json::from_value(route)?).await?;
    }
    // The routes are all known when the last one is: they come in order.
    let last = format!("first-{}.example.com", ROUNDS - 1);
    while let Ok(reply) = tokio::time::timeout(Duration::from_millis(500), http::get(&proxy, &last, "/")).await {
        ensure!(reply?.status == 404, "it is answered without an endpoint");
    }
    let (mut sent, mut taken) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let (name, proxy) = (format!("first-{round}"), proxy.clone());
        let host = format!("{name}.example.com");
        let waiting = tokio::spawn(async move {
            let reply = http::get(&proxy, &host, "/").await?;
            ensure!(reply.status == 200, "{} {}", reply.status, reply.body);
            anyhow::Ok(Instant::now())
        });
        tokio::time::sleep(HELD).await;
        let slice = json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}}, "addressType": "IPv4",
            "ports": [{"name": "web", "port": crate::backend::PORT}], "endpoints": [{"addresses": [pod.address()]}],
        });
        let began = Instant::now();
        space.api("EndpointSlice").create(&PostParams::default(), &serde_json::from_value(slice)?).await?;
        let known = Instant::now();
        let answered = waiting.await??;
        sent.push(answered - began);
        taken.push(answered.saturating_duration_since(known));
    }
    println!(
        "from an EndpointSlice to the answer of the request that waits for it, {ROUNDS} times (aim: p99 {AIM:?}):"
    );
    println!("  since it was sent to the API server: {}", percentiles(sent));
    println!("  since the API server had taken it: {}", percentiles(taken));
    pod.stop().await;
    Ok(())
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    format!("p50 {:?}, p99 {:?}, most {:?}", at(50), at(99), at(100))
}
