//! What an interceptor and a manager need for a large cluster. Ignored: it takes minutes; `make bench-cluster` runs it.

mod first_request;
mod started;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::stream::{StreamExt as _, TryStreamExt as _};
use kube::api::PostParams;
use plimsoll_testkit::{ApiServer, wait_until};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::objects::{Namespace, route};
use started::Started;

const ROUTES: usize = 10_000;
const ENDPOINTS: usize = 5;
/// Objects that are made at once.
const AT_ONCE: usize = 32;
/// What the manager may take to say of each resource whether it can be used.
const LIMIT: Duration = Duration::from_secs(900);

pub(crate) async fn figures_of_10_000_routes_and_50_000_endpoints() -> Result<()> {
    let server = ApiServer::start().await?;
    let space = Namespace::on(&server, "many").await?;
    let (interceptor, manager) = (
        Started::interceptor(&server).await?.settled().await?,
        Started::manager(&server, None).await?.settled().await?,
    );
    let made = Instant::now();
    futures::stream::iter(0..ROUTES).map(Ok).try_for_each_concurrent(AT_ONCE, |number| make(&space, number)).await?;
    println!("{ROUTES} InterceptorRoutes, Services and EndpointSlices made in {:?}", made.elapsed());

    let full = Started::interceptor(&server).await?;
    let (kib, ready) = (full.settled_kib().await?, full.ready);
    println!("an interceptor with nothing to know: {} MiB", interceptor / 1024);
    println!(
        "an interceptor with {ROUTES} routes and {} endpoints: {} MiB ({} bytes a route with its endpoints), ready after {ready:?}",
        ROUTES * ENDPOINTS,
        kib / 1024,
        (kib - interceptor) * 1024 / ROUTES,
    );
    first_request::measure(&space, full.first()).await?;
    drop(full);

    let last = format!("workload-{}", ROUTES - 1);
    let full = Started::manager(&server, Some(&last)).await?;
    println!("a manager with nothing to know: {} MiB", manager / 1024);
    let ready = full.ready;
    let began = Instant::now();
    wait_until("each resource says whether it can be used", LIMIT, async || {
        let (said, all) = said(&space).await?;
        ensure!(said == all, "{said} of {all} do");
        Ok(())
    })
    .await?;
    let wrote = began.elapsed();
    let kib = full.settled_kib().await?;
    println!(
        "a manager with {ROUTES} routes: {} MiB ({} bytes a route), answers KEDA after {ready:?}, and has written all conditions {wrote:?} later",
        kib / 1024,
        (kib - manager) * 1024 / ROUTES,
    );
    Ok(())
}

/// How many routes have a condition, and how many there are: those of the first requests are more than [`ROUTES`].
async fn said(space: &Namespace) -> Result<(usize, usize)> {
    let all = space.api("InterceptorRoute").list(&Default::default()).await?;
    // One look at 10,000 costs the server more than what it writes in the meantime.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let said = all.items.iter().filter(|route| !route.data["status"]["conditions"].is_null()).count();
    Ok((said, all.items.len()))
}

async fn make(space: &Namespace, number: usize) -> Result<()> {
    let name = format!("workload-{number}");
    let mut route = route(&name, &format!("{name}.example.com"), &name);
    route["apiVersion"] = "http.keda.sh/v1beta1".into();
    let endpoint = |which: usize| {
        let (at, pod) = (number * ENDPOINTS + which, format!("{name}-{which}"));
        let address = format!("10.{}.{}.{}", 100 + at / 65_536, at / 256 % 256, at % 256);
        json!({"addresses": [address], "conditions": {"ready": true, "serving": true, "terminating": false}, "nodeName": "node",
               "targetRef": {"kind": "Pod", "namespace": space.name, "name": pod}})
    };
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4", "ports": [{"name": "web", "port": 8080}],
        "endpoints": (0..ENDPOINTS).map(endpoint).collect::<Vec<Value>>(),
    });
    for object in [service(&name), slice, route] {
        let kind = object["kind"].as_str().context("it has no kind")?.to_owned();
        space.api(&kind).create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    }
    Ok(())
}

fn service(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
           "spec": {"clusterIP": "None", "ports": [{"name": "web", "port": 80}]}})
}
