//! A manager with one workload, and KEDA.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Parser as _;
use plimsoll_manager::fleet::Given;
use plimsoll_manager::{Config, Manager, Parts};
use plimsoll_scheduler::store::MemoryStore;
use plimsoll_wire::log::memory::MemoryLog;
use plimsoll_wire::resources::{Backend, Port, Workload};
use plimsoll_wire::scaler::ScaledObjectRef;
use plimsoll_wire::scaler::external_scaler_client::ExternalScalerClient;
use plimsoll_wire::topic::WorkloadId;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

#[derive(clap::Parser)]
struct Alone {
    #[command(flatten)]
    config: Config,
}

/// A running manager that knows the InterceptorRoute `default/web`.
pub struct Scene {
    pub address: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<Result<(), plimsoll_manager::Error>>,
    known: watch::Sender<bool>,
    _workloads: watch::Sender<Arc<Vec<Workload>>>,
}

impl Scene {
    /// With these flags.
    pub async fn start(flags: &[String]) -> Self {
        Self::with(flags, true).await
    }

    /// One that has not read its resources.
    pub async fn unknown() -> Self {
        Self::with(&[], false).await
    }

    async fn with(flags: &[String], known: bool) -> Self {
        let target = Backend { service: "web".to_owned(), port: Port::Number(80) };
        let web = Workload::new(WorkloadId::new("default", "web"), target);
        let (table, workloads) = watch::channel(Arc::new(vec![web]));
        let own = ["manager", "--api-listen=127.0.0.1:0", "--scaler-listen=127.0.0.1:0"].map(str::to_owned);
        let config = Alone::try_parse_from(own.iter().chain(flags)).unwrap().config;
        let (log, store) = (Arc::new(MemoryLog::new()), Arc::new(MemoryStore::new()));
        let parts = Parts { log, store, workloads, fleet: Arc::new(Given) };
        let (known, told) = watch::channel(known);
        let manager = Manager::bind(config, parts).await.unwrap().ready_when(told);
        let (address, stop) = (manager.scaler_addr(), CancellationToken::new());
        let serving = tokio::spawn(manager.serve(stop.clone()));
        Self { address, stop, serving, known, _workloads: table }
    }

    pub fn become_known(&self) {
        self.known.send_replace(true);
    }

    /// A connection without TLS.
    pub async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    pub async fn keda(&self) -> ExternalScalerClient<Channel> {
        ExternalScalerClient::new(self.channel().await)
    }

    /// Asks it to stop; it ends in its own time.
    pub fn ask_to_stop(&self) {
        self.stop.cancel();
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.serving.await.unwrap().unwrap();
    }
}

/// KEDA's reference to the InterceptorRoute of this name.
pub fn trigger(name: &str) -> ScaledObjectRef {
    ScaledObjectRef {
        name: name.to_owned(),
        namespace: "default".to_owned(),
        scaler_metadata: [("interceptorRoute".to_owned(), name.to_owned())].into(),
    }
}
