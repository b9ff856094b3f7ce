//! An API server that is away.

use std::time::Duration;

use anyhow::{Result, ensure};
use plimsoll_testkit::ApiServer;

use crate::backend::Backend;
use crate::objects::Namespace;
use crate::proxy::Proxy;
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
