//! An interceptor with one workload, `default/app` at host `app.test`, on free ports of loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use plimsoll_interceptor::{Config, Endpoints, Error, Interceptor, Parts};
use plimsoll_wire::log::{Append, EventLog, LogError, Pace, Subscription, Topic, TopicSpec};
use plimsoll_wire::resources::{Backend, BackendProtocol, Port, Rule, Workload};
use plimsoll_wire::topic::WorkloadId;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::certs::Authority;
use crate::client::{Client, Response};
use crate::upstream::Upstream;

/// How long anything that must happen may take.
pub const SOON: Duration = Duration::from_secs(10);

/// A log whose brokers are away: the proxy must not care.
#[derive(Debug)]
pub struct NoBroker;

#[async_trait]
impl EventLog for NoBroker {
    async fn append(&self, records: Vec<Append>) -> Vec<Result<(), LogError>> {
        records.iter().map(|_| Err(unavailable())).collect()
    }
    fn subscribe(&self, _: Pace) -> Result<Subscription, LogError> {
        Err(unavailable())
    }
    async fn create_topics(&self, topics: &[TopicSpec]) -> Vec<Result<bool, LogError>> {
        topics.iter().map(|_| Err(unavailable())).collect()
    }
    async fn delete_topics(&self, topics: &[Topic]) -> Vec<Result<bool, LogError>> {
        topics.iter().map(|_| Err(unavailable())).collect()
    }
    async fn list_topics(&self) -> Result<Vec<String>, LogError> {
        Err(unavailable())
    }
}

fn unavailable() -> LogError {
    LogError::Unavailable { log: "nowhere".to_owned(), reason: "there is none".to_owned() }
}

pub struct Scene {
    pub proxy: SocketAddr,
    pub proxy_tls: Option<SocketAddr>,
    pub admin: SocketAddr,
    pub endpoints: Endpoints,
    pub routes: watch::Sender<Arc<Vec<Workload>>>,
    pub shutdown: CancellationToken,
    pub served: JoinHandle<Result<(), Error>>,
}

pub fn app() -> WorkloadId {
    WorkloadId::new("default", "app")
}

pub fn workload() -> Workload {
    let target = Backend { service: "127.0.0.1".to_owned(), port: Port::Number(1) };
    Workload {
        rules: vec![Rule { hosts: vec!["app.test".to_owned()], paths: vec!["/".to_owned()], headers: Vec::new() }],
        ..Workload::new(app(), target)
    }
}

/// One whose workload has an endpoint.
pub async fn scene() -> (Scene, Upstream) {
    let (scene, upstream) = (Scene::start().await, Upstream::start().await);
    scene.ready(&[upstream.address]);
    (scene, upstream)
}

impl Scene {
    /// With default settings, but a shutdown without delay and two threads.
    pub async fn start() -> Self {
        Self::with(|_, _| {}).await
    }

    pub async fn with(adjust: impl FnOnce(&mut Config, &mut Workload)) -> Self {
        Self::on(Arc::new(NoBroker), adjust).await
    }

    /// With a certificate for `app.test`, and a workload of this protocol. One authority vouches for both sides; it is in the folder, too, as
    /// `authority.txt`.
    pub async fn secured(backend: BackendProtocol) -> (Self, Authority, TempDir) {
        let (authority, folder) = (Authority::new("tests"), tempfile::tempdir().unwrap());
        authority.issue(&["app.test"]).write(folder.path(), "app");
        let ca = folder.path().join("authority.txt");
        std::fs::write(&ca, &authority.pem).unwrap();
        let scene = Self::with(|config, workload| {
            config.tls.tls_cert_dirs = vec![folder.path().to_owned()];
            config.upstream_tls.upstream_tls_ca = Some(ca);
            workload.backend_protocol = Some(backend);
        });
        (scene.await, authority, folder)
    }

    /// With a log that works.
    pub async fn on(log: Arc<dyn EventLog>, adjust: impl FnOnce(&mut Config, &mut Workload)) -> Self {
        Self::try_on(log, adjust).await.unwrap()
    }

    /// As [`Scene::with`], where the settings may be refused.
    pub async fn try_with(adjust: impl FnOnce(&mut Config, &mut Workload)) -> Result<Self, Error> {
        Self::try_on(Arc::new(NoBroker), adjust).await
    }

    async fn try_on(log: Arc<dyn EventLog>, adjust: impl FnOnce(&mut Config, &mut Workload)) -> Result<Self, Error> {
        Self::writing(log, std::io::sink(), adjust).await
    }

    /// With an access log that goes to `output`.
    pub async fn writing(
        log: Arc<dyn EventLog>,
        output: impl std::io::Write + Send + 'static,
        adjust: impl FnOnce(&mut Config, &mut Workload),
    ) -> Result<Self, Error> {
        let mut config = Config::from_environment().unwrap();
        config.proxy_listen = (Ipv4Addr::LOCALHOST, 0).into();
        config.tls.proxy_tls_listen = (Ipv4Addr::LOCALHOST, 0).into();
        config.admin_listen = (Ipv4Addr::LOCALHOST, 0).into();
        config.proxy_threads = Some(2.try_into().unwrap());
        config.shutdown_delay = Duration::ZERO;
        let mut workload = workload();
        adjust(&mut config, &mut workload);
        let (routes, routes_rx) = watch::channel(Arc::new(vec![workload]));
        let endpoints = Endpoints::new();
        let parts = Parts { log, routes: routes_rx, endpoints: endpoints.clone() };
        let interceptor = Interceptor::bind(config, parts).await?.access_log_to(output);
        let (proxy, admin) = (interceptor.proxy_addr(), interceptor.admin_addr());
        let proxy_tls = interceptor.proxy_tls_addr();
        let shutdown = CancellationToken::new();
        let served = tokio::spawn(interceptor.serve(shutdown.clone()));
        Ok(Self { proxy, proxy_tls, admin, endpoints, routes, shutdown, served })
    }

    /// Where clients come in over TLS.
    pub fn proxy_tls(&self) -> SocketAddr {
        self.proxy_tls.expect("certificates are configured")
    }

    /// The workload's endpoints are these from now on.
    pub fn ready(&self, addresses: &[SocketAddr]) {
        self.endpoints.set(&app(), addresses.to_vec());
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.proxy).await
    }

    /// One request on a connection of its own.
    pub async fn get(&self, path: &str) -> Response {
        let mut client = self.client().await;
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: app.test\r\n\r\n")).await;
        client.response().await
    }

    /// A page of the admin listener.
    pub async fn page(&self, path: &str) -> Response {
        let mut client = Client::connect(self.admin).await;
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: admin\r\n\r\n")).await;
        client.response().await
    }

    /// Requests in flight and admitted, as `/queue` says.
    pub async fn queue(&self) -> (u64, u64) {
        let page: serde_json::Value = serde_json::from_slice(&self.page("/queue").await.body).unwrap();
        let number = |name: &str| page["default/app"][name].as_u64().unwrap();
        (number("Concurrency"), number("RequestCount"))
    }

    /// Requests held, as `/metrics` says.
    pub async fn held(&self) -> u64 {
        self.metric("interceptor_request_held{route_name=\"app\",route_namespace=\"default\"}").await.unwrap_or(0)
    }

    /// The value of one series.
    pub async fn metric(&self, series: &str) -> Option<u64> {
        let page = self.page("/metrics").await;
        let text = String::from_utf8(page.body).unwrap();
        text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }

    /// Waits until so many requests have been admitted and so many of them are in flight.
    pub async fn until_queue(&self, in_flight: u64, admitted: u64) {
        let deadline = Instant::now() + SOON;
        loop {
            let queue = self.queue().await;
            if queue == (in_flight, admitted) {
                return;
            }
            assert!(Instant::now() < deadline, "in flight and admitted are {queue:?}, not ({in_flight}, {admitted})");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until so many requests are held.
    pub async fn until_held(&self, held: u64) {
        until(async || self.held().await == held, &format!("{held} requests are held")).await;
    }

    /// Ends it and says how it went.
    pub async fn stop(self) -> Result<(), Error> {
        self.shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(60), self.served)
            .await
            .expect("stops in time")
            .expect("does not panic")
    }
}

/// Waits until something is so.
pub async fn until(is_so: impl AsyncFnMut() -> bool, what: &str) {
    until_within(SOON, is_so, what).await;
}

/// Waits until something is so, for so long.
pub async fn until_within(patience: Duration, mut is_so: impl AsyncFnMut() -> bool, what: &str) {
    let deadline = Instant::now() + patience;
    while !is_so().await {
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
