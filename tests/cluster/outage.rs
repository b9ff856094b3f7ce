//! An API server that is away.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use kube::Error;
use kube::api::{WatchEvent, WatchParams};
use plimsoll_testkit::{ApiServer, wait_until};
use serde_json::Value;

use crate::SOON;
use crate::backend::Backend;
use crate::objects::{Namespace, client};
use crate::proxy::Proxy;
use crate::relay::Relay;
use crate::traffic::Traffic;

const AWAY: Duration = Duration::from_secs(30);

pub(crate) async fn an_api_server_that_is_away_for_30_s_fails_no_request() -> Result<()> {
    let mut server = ApiServer::start().await?;
    let space = Namespace::on(&server, "away").await?;
    let (one, two) = (Backend::start().await?, Backend::start().await?);
    space.service("web").await?;
    space.slice("web", "web-1", &[one.address()], &[]).await?;
    space.route("web", "web.test", "web").await?;
    space.route("gone", "gone.test", "web").await?;
    let proxy = Proxy::ready(&space.client, &space.name).await?;
    proxy.answers("web.test", 200, &one.address().to_string()).await?;
    proxy.answers("gone.test", 200, &one.address().to_string()).await?;

    let traffic = Traffic::start(&proxy.address, "web.test");
    server.stop()?;
    let late = Proxy::start(&space.client, &space.name).await?;
    tokio::time::sleep(AWAY).await;
    ensure!(proxy.is_ready().await?, "it goes on with what it knows");
    ensure!(!late.is_ready().await?, "it knows nothing yet");
    let during = traffic.answered();
    server.restart().await?;
    // What changes from now on is seen, whether the old watches could go on or not.
    space.delete("InterceptorRoute", "gone").await?;
    space.slice("web", "web-1", &[two.address()], &[]).await?;
    space.route("new", "new.test", "web").await?;
    for proxy in [&proxy, &late] {
        proxy.answers("new.test", 200, &two.address().to_string()).await?;
        proxy.answers("web.test", 200, &two.address().to_string()).await?;
        proxy.answers("gone.test", 404, "").await?;
        ensure!(proxy.is_ready().await?, "it is not ready");
    }
    let (answered, failures) = traffic.stop().await;
    println!("{answered} requests answered, {during} of them by the end of the outage");
    ensure!(during > 100 && failures.is_empty(), "{answered} answered, and {failures:?}");
    proxy.stop().await;
    late.stop().await;
    one.stop().await;
    two.stop().await;
    Ok(())
}

pub(crate) async fn a_watch_that_is_too_old_to_go_on_is_begun_anew() -> Result<()> {
    let mut server = ApiServer::start().await?;
    let space = Namespace::on(&server, "gone").await?;
    let (one, two) = (Backend::start().await?, Backend::start().await?);
    space.service("web").await?;
    space.slice("web", "web-1", &[one.address()], &[]).await?;
    space.route("web", "web.test", "web").await?;
    space.route("gone", "gone.test", "web").await?;
    let relay = Relay::start(server.url().replace("https://", "")).await?;
    let kubeconfig = server.folder().join("relayed.kubeconfig");
    let direct = std::fs::read_to_string(server.kubeconfig())?;
    std::fs::write(&kubeconfig, direct.replace(&server.url(), &format!("https://{}", relay.address())))?;
    let proxy = Proxy::ready(&client(kubeconfig).await?, &space.name).await?;
    proxy.answers("gone.test", 200, &one.address().to_string()).await?;
    let traffic = Traffic::start(&proxy.address, "web.test");

    // While it hears nothing, everything changes, and how it came to that is forgotten.
    let known = space.api("InterceptorRoute").list(&Default::default()).await?;
    let known = known.metadata.resource_version.context("a list has a version")?;
    relay.cut();
    space.delete("InterceptorRoute", "gone").await?;
    space.route("new", "new.test", "web").await?;
    space.slice("web", "web-1", &[one.address(), two.address()], &[]).await?;
    server.restart().await?;
    compact(&server).await?;
    wait_until("a watch can't go on from before", SOON, async || is_gone(&space, &known).await).await?;
    ensure!(proxy.get("gone.test").await?.status == 200 && proxy.is_ready().await?, "it goes on with what it knows");
    ensure!(two.served() == 0, "it can't know of this one");
    relay.mend();
    proxy.answers("new.test", 200, "").await?;
    proxy.answers("gone.test", 404, "").await?;
    proxy.answers("web.test", 200, &two.address().to_string()).await?;
    ensure!(proxy.is_ready().await?, "it is not ready");
    let (answered, failures) = traffic.stop().await;
    ensure!(answered > 0 && failures.is_empty(), "{answered} answered, and {failures:?}");
    proxy.stop().await;
    relay.stop().await;
    one.stop().await;
    two.stop().await;
    Ok(())
}

/// Has etcd forget what was before now.
async fn compact(server: &ApiServer) -> Result<()> {
    let status = server.etcd().etcdctl(&["endpoint", "status", "-w", "json"]).await?;
    let status: Value = serde_json::from_str(&status)?;
    let revision = status[0]["Status"]["header"]["revision"].as_u64().with_context(|| status.to_string())?;
    server.etcd().etcdctl(&["compact", &revision.to_string()]).await.map(drop)
}

/// Whether a watch from this version is answered with 410.
async fn is_gone(space: &Namespace, version: &str) -> Result<()> {
    let routes = space.api("InterceptorRoute");
    let mut watching = match routes.watch(&WatchParams::default().timeout(5), version).await {
        Ok(watching) => watching.boxed(),
        Err(Error::Api(status)) if status.code == 410 => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    match watching.next().await {
        Some(Ok(WatchEvent::Error(status))) if status.code == 410 => Ok(()),
        Some(Err(Error::Api(status))) if status.code == 410 => Ok(()),
        other => anyhow::bail!("it goes on: {other:?}"),
    }
}
