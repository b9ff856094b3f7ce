//! How much an interceptor needs for a large cluster. Ignored: it takes minutes; `make bench-cluster` runs it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::stream::{StreamExt as _, TryStreamExt as _};
use kube::api::PostParams;
use plimsoll_testkit::{ApiServer, Folder, Port, wait_until};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::http;
use crate::objects::{Namespace, route};
use crate::program::Program;

const ROUTES: usize = 10_000;
const ENDPOINTS: usize = 5;
/// Objects that are made at once.
const AT_ONCE: usize = 32;
const LIMIT: Duration = Duration::from_secs(300);

pub(crate) async fn memory_of_10_000_routes_and_50_000_endpoints() -> Result<()> {
    let server = ApiServer::start().await?;
    let space = Namespace::on(&server, "many").await?;
    let empty = measure(&server, "empty").await?;
    let made = Instant::now();
    futures::stream::iter(0..ROUTES).map(Ok).try_for_each_concurrent(AT_ONCE, |number| make(&space, number)).await?;
    println!("{ROUTES} InterceptorRoutes, Services and EndpointSlices made in {:?}", made.elapsed());
    let full = measure(&server, "full").await?;
    let each = (full.kib - empty.kib) * 1024 / ROUTES;
    println!("an interceptor with none: {} MiB, ready after {:?}", empty.kib / 1024, empty.ready);
    println!(
        "an interceptor with {ROUTES} routes and {} endpoints: {} MiB ({each} bytes a route with its endpoints), ready after {:?}",
        ROUTES * ENDPOINTS,
        full.kib / 1024,
        full.ready
    );
    Ok(())
}

async fn make(space: &Namespace, number: usize) -> Result<()> {
    let name = format!("workload-{number}");
    let mut route = route(&name, &format!("{name}.example.com"), &name);
    route["apiVersion"] = "http.keda.sh/v1beta1".into();
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
                         "spec": {"clusterIP": "None", "ports": [{"name": "web", "port": 80}]}});
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
    for object in [service, slice, route] {
        let kind = object["kind"].as_str().context("it has no kind")?.to_owned();
        space.api(&kind).create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    }
    Ok(())
}

struct Measured {
    /// Resident memory, in KiB.
    kib: usize,
    /// From the start of the process until it was ready.
    ready: Duration,
}

async fn measure(server: &ApiServer, name: &str) -> Result<Measured> {
    let folder = Folder::new("scale")?;
    let (proxy, admin, nobody) = (Port::claim()?, Port::claim()?, Port::claim()?);
    let arguments = [
        "interceptor".to_owned(),
        "--cluster".to_owned(),
        format!("--kubeconfig={}", server.kubeconfig().display()),
        format!("--proxy-listen={}", proxy.address()),
        format!("--admin-listen={}", admin.address()),
        // It needs no broker to be ready.
        format!("--kafka={}", nobody.address()),
    ];
    let started = Instant::now();
    let mut program = Program::start(&folder, name, &arguments)?;
    program.listens(&[&admin.address()]).await?;
    wait_until("the interceptor is ready", LIMIT, async || {
        let reply = http::get(&admin.address(), "admin", "/readyz").await?;
        ensure!(reply.status == 200, "{}", reply.body);
        Ok(())
    })
    .await?;
    let ready = started.elapsed();
    // What the lists took to read is given back by then, as far as it ever is.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.process().id()))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("its memory is not told")?;
    let kib = resident.split_whitespace().next().context("its memory is not told")?.parse()?;
    Ok(Measured { kib, ready })
}
