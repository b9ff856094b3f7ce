//! Routes in files and the addresses behind them, while an interceptor finishes its last requests.

use std::fs;

use anyhow::{Context, Result, ensure};
use plimsoll_testkit::{Folder, wait_until};
use tokio::{net::TcpStream, time::Instant};

use crate::{
    PATIENCE,
    driver::{
        backend::Backend,
        http, rest,
        routes::{self, Route},
        side_by_side,
    },
    replicas::Replica,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_held_at_sigterm_follows_the_route_file_that_changes_then() -> Result<()> {
    let _turn = side_by_side().await;
    let backend = Backend::start(Instant::now()).await?.address();
    let route = Route::new("late", backend);
    let written = routes::file(std::slice::from_ref(&route));
    let (address, nowhere) = (format!("\"{}\"", backend.ip()), "\"no-such-host.invalid\"");
    ensure!(written.contains(&address), "{written}");
    let folder = Folder::new("late")?;
    let file = folder.join("routes.yaml");
    fs::write(&file, written.replace(&address, nowhere))?;
    // It needs no broker for its requests.
    let mut replica = Replica::start(&folder, "late", "127.0.0.1:1").await?;

    let (proxy, host) = (replica.proxy.address(), route.host());
    let held = tokio::spawn(async move { http::get(&proxy, &host, "/").await });
    wait_until("a request is held", PATIENCE, async || {
        let queue = rest::json(&replica.admin.address(), "/queue").await?;
        ensure!(queue[route.workload()]["Concurrency"] == 1, "{queue}");
        Ok(())
    })
    .await?;
    replica.program.process().signal(nix::sys::signal::Signal::SIGTERM)?;
    wait_until("it takes no new clients", PATIENCE, async || {
        let taken = TcpStream::connect(replica.proxy.address()).await.is_ok();
        ensure!(!taken, "it does");
        Ok(())
    })
    .await?;
    fs::write(&file, &written)?;
    let reply = held.await?.with_context(|| replica.program.printed().unwrap_or_default())?;
    ensure!(reply.status.as_u16() == 200, "{} {}: {}", reply.status, reply.body, replica.program.printed()?);
    let ended = replica.program.process().wait(PATIENCE).await?;
    ensure!(ended.success(), "{ended}: {}", replica.program.printed()?);
    Ok(())
}
