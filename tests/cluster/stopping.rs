//! An interceptor that is asked to stop while the cluster goes on changing.

use anyhow::{Context as _, Result, ensure};
use plimsoll_testkit::{ApiServer, Folder, Port, wait_until};

use crate::backend::Backend;
use crate::objects::Namespace;
use crate::program::Program;
use crate::{SOON, http};

const HOST: &str = "sleeping.test";

pub(crate) async fn a_request_that_is_held_at_sigterm_goes_to_the_pod_that_comes_then() -> Result<()> {
    let server = ApiServer::shared().await?;
    let space = Namespace::new("stopping").await?;
    space.service("web").await?;
    space.route("sleeping", HOST, "web").await?;
    let folder = Folder::new("stopping")?;
    let (proxy, admin, nobody) = (Port::claim()?, Port::claim()?, Port::claim()?);
    let arguments = [
        "interceptor".to_owned(),
        "--cluster".to_owned(),
        format!("--kubeconfig={}", server.kubeconfig().display()),
        format!("--watch-namespace={}", space.name),
        format!("--proxy-listen={}", proxy.address()),
        format!("--admin-listen={}", admin.address()),
        // It needs no broker for its requests.
        format!("--kafka={}", nobody.address()),
        "--shutdown-delay=1s".to_owned(),
        "--drain-timeout=50s".to_owned(),
    ];
    let mut program = Program::start(&folder, "stopping", &arguments)?;
    program.listens(&[&proxy.address(), &admin.address()]).await?;
    wait_until("the interceptor is ready", SOON, async || {
        let reply = http::get(&admin.address(), "admin", "/readyz").await?;
        ensure!(reply.status == 200, "{}", reply.body);
        Ok(())
    })
    .await?;

    let asked = proxy.address();
    let held = tokio::spawn(async move { http::get(&asked, HOST, "/").await });
    wait_until("a request is held", SOON, async || {
        let queue = http::get(&admin.address(), "admin", "/queue").await?.body;
        let queue: serde_json::Value = serde_json::from_str(&queue)?;
        ensure!(queue["stopping/sleeping"]["Concurrency"] == 1, "{queue}");
        Ok(())
    })
    .await?;
    program.process().signal(nix::sys::signal::Signal::SIGTERM)?;
    // The delay is over: what is left of it is the request that is held.
    wait_until("it takes no new clients", SOON, async || {
        let taken = tokio::net::TcpStream::connect(proxy.address()).await.is_ok();
        ensure!(!taken, "it does");
        Ok(())
    })
    .await?;
    let pod = Backend::start().await?;
    space.slice("web", "web-1", &[pod.address()], &[]).await?;
    let reply = held.await?.with_context(|| program.printed().unwrap_or_default())?;
    let by_the_pod = reply.status == 200 && reply.body.starts_with(&format!("{} ", pod.address()));
    ensure!(by_the_pod, "{} {:?}: {}", reply.status, reply.body, program.printed()?);
    let ended = program.process().wait(SOON).await?;
    ensure!(ended.success(), "{ended}: {}", program.printed()?);
    pod.stop().await;
    Ok(())
}
