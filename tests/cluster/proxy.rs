//! An interceptor that has its routes and endpoints from the cluster.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use kube::Client;
use plimsoll_interceptor::{Config, Endpoints, Interceptor, Parts, Resources, resolve_by_cluster};
use plimsoll_testkit::wait_until;
use plimsoll_wire::log::memory::MemoryLog;
use plimsoll_wire::resources::cluster;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{SOON, http};

/// A running interceptor.
pub(crate) struct Proxy {
    pub(crate) address: String,
    admin: String,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Proxy {
    /// Starts one for a namespace; it need not be ready yet.
    pub(crate) async fn start(client: &Client, namespace: &str) -> Result<Self> {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        // The cluster is followed until the last request is answered, as in the program.
        let behind = CancellationToken::new();
        let routes = cluster::watch(client.clone(), Some(namespace), behind.clone());
        let resources = Resources { workloads: routes.workloads(), known: routes.known() };
        tasks.spawn(routes.finished());
        let endpoints = Endpoints::new();
        let cluster = resolve_by_cluster(client.clone(), Some(namespace), resources, endpoints.clone(), behind.clone());
        let (routes, known) = (cluster.routes.clone(), cluster.known.clone());
        tasks.spawn(cluster.finished());
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut config = Config::from_environment()?;
        (config.proxy_listen, config.admin_listen) = (anywhere, anywhere);
        config.shutdown_delay = Duration::ZERO;
        let parts = Parts { log: Arc::new(MemoryLog::new()), routes, endpoints };
        let interceptor = Interceptor::bind(config, parts).await?.ready_when(known);
        let (address, admin) = (interceptor.proxy_addr().to_string(), interceptor.admin_addr().to_string());
        let serving = interceptor.serve(stop.clone());
        tasks.spawn(async move {
            serving.await.expect("the interceptor serves");
            behind.cancel();
        });
        tasks.close();
        Ok(Self { address, admin, stop, tasks })
    }

    /// As [`Proxy::start`], and waits until it is ready.
    pub(crate) async fn ready(client: &Client, namespace: &str) -> Result<Self> {
        let proxy = Self::start(client, namespace).await?;
        wait_until("the interceptor is ready", SOON, async || {
            ensure!(proxy.is_ready().await?, "it is not");
            Ok(())
        })
        .await?;
        Ok(proxy)
    }

    /// What `/readyz` says.
    pub(crate) async fn is_ready(&self) -> Result<bool> {
        Ok(http::get(&self.admin, "admin", "/readyz").await?.status == 200)
    }

    /// A page of its admin port.
    pub(crate) async fn page(&self, path: &str) -> Result<String> {
        Ok(http::get(&self.admin, "admin", path).await?.body)
    }

    /// What it answers to `GET /` of a host.
    pub(crate) async fn get(&self, host: &str) -> Result<http::Reply> {
        http::get(&self.address, host, "/").await
    }

    /// Waits until `GET /` of a host is answered so.
    pub(crate) async fn answers(&self, host: &str, status: u16, body: &str) -> Result<()> {
        wait_until(&format!("{host} is answered {status} {body}"), SOON, async || {
            let reply = self.get(host).await?;
            ensure!(reply.status == status && reply.body.contains(body), "it is {} {:?}", reply.status, reply.body);
            Ok(())
        })
        .await
    }

    /// Stops it.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}
