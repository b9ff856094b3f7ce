//! A manager with what it stands on, and a client.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use clap::Parser as _;
use plimsoll_manager::fleet::Given;
use plimsoll_manager::{Config, Error, Manager, Parts};
use plimsoll_scheduler::directives::Directives;
use plimsoll_scheduler::store::{Member, MemoryStore, Registration, Store};
use plimsoll_wire::log::memory::MemoryLog;
use plimsoll_wire::resources::{Backend, Port, Workload};
use plimsoll_wire::topic::WorkloadId;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

#[derive(clap::Parser)]
struct Alone {
    #[command(flatten)]
    config: Config,
}

/// A manager that runs. `end` awaits its end.
pub struct Scene {
    pub address: SocketAddr,
    pub store: Arc<MemoryStore>,
    pub workloads: watch::Sender<Arc<Vec<Workload>>>,
    client: reqwest::Client,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
    registered: Vec<Registration>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A problem with this status, in its whole form.
    #[track_caller]
    pub fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.headers.get("content-type").map(String::as_str), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], status, "{problem}");
        assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{problem}");
        problem
    }

    /// That status, and its JSON.
    #[track_caller]
    pub fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.json()
    }
}

/// The manager's settings, with these flags.
pub fn config(flags: &[&str]) -> Config {
    let mut all = vec!["manager", "--manager-name=m", "--scaler-listen=127.0.0.1:0"];
    if !flags.iter().any(|flag| flag.starts_with("--api-listen")) {
        all.push("--api-listen=127.0.0.1:0");
    }
    all.extend(flags);
    Alone::parse_from(all).config
}

/// A workload that a resource describes.
pub fn workload(name: &str, provider: &str) -> Workload {
    let target = Backend { service: "localhost".into(), port: Port::Number(1) };
    Workload { provider: provider.into(), ..Workload::new(WorkloadId::new("shop", name), target) }
}

impl Scene {
    pub async fn start(flags: &[&str]) -> Self {
        Self::on(Arc::new(MemoryStore::new()), flags).await
    }

    /// A second manager on the same store.
    pub async fn another(&self) -> Self {
        Self::on(self.store.clone(), &[]).await
    }

    /// A manager that has not read its resources until it is told so.
    pub async fn unknowing(known: watch::Receiver<bool>) -> Self {
        Self::with(Arc::new(MemoryStore::new()), &[], known).await
    }

    async fn on(store: Arc<MemoryStore>, flags: &[&str]) -> Self {
        Self::with(store, flags, watch::channel(true).1).await
    }

    async fn with(store: Arc<MemoryStore>, flags: &[&str], known: watch::Receiver<bool>) -> Self {
        let (workloads, receiver) = watch::channel(Arc::new(vec![workload("web", "aws"), workload("api", "gcp")]));
        let parts = Parts {
            log: Arc::new(MemoryLog::new()),
            store: store.clone(),
            workloads: receiver,
            fleet: Arc::new(Given),
        };
        let manager = Manager::bind(config(flags), parts).await.unwrap().ready_when(known);
        let address = manager.api_addr();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(manager.serve(shutdown.clone()));
        let client = reqwest::Client::new();
        Self { address, store, workloads, client, shutdown, task, registered: Vec::new() }
    }

    /// Why a manager with these flags does not start.
    pub async fn refused(flags: &[&str]) -> String {
        let (_sender, workloads) = watch::channel(Arc::default());
        let parts = Parts {
            log: Arc::new(MemoryLog::new()),
            store: Arc::new(MemoryStore::new()),
            workloads,
            fleet: Arc::new(Given),
        };
        Manager::bind(config(flags), parts).await.expect_err("it starts").to_string()
    }

    /// What operators have asked for, as the store has it.
    pub async fn store_directives(&self) -> Directives {
        self.store.load_directives().await.unwrap().directives
    }

    /// Registers a collector that nobody can reach: known, and never heard.
    pub async fn collector(&mut self, id: &str) {
        let member =
            Member { id: id.into(), address: "127.0.0.1:9".into(), provider: "default".into(), incarnation: 1 };
        self.registered.push(self.store.register(member).await.unwrap());
        self.until(&format!("/api/v1/collectors/{id}"), |answer| answer.status == 200).await;
    }

    /// Asks with headers and a body.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Answer {
        let port = self.address.port();
        let mut request = self
            .client
            .request(Method::from_bytes(method.as_bytes()).unwrap(), format!("http://127.0.0.1:{port}{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body.to_owned());
        }
        let response = request.send().await.unwrap();
        let headers = response.headers().iter();
        let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        Answer { status: response.status().as_u16(), headers, text: response.text().await.unwrap() }
    }

    /// As a program asks: writes say JSON.
    pub async fn ask(&self, method: &str, path: &str, body: Option<&str>) -> Answer {
        let json = [("content-type", "application/json")];
        self.send(method, path, if method == "GET" { &[] } else { &json }, body).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, None).await
    }

    /// Asks again until the answer is as wanted; what operators ask for comes back by way of the store.
    pub async fn until(&self, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
        loop {
            let answer = self.get(path).await;
            if wanted(&answer) {
                return answer;
            }
            assert!(tokio::time::Instant::now() < deadline, "{path} stays {answer:?}");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// Stops the manager, and awaits its end; the store goes on.
    pub async fn stop(self) -> Arc<MemoryStore> {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
        for registration in self.registered {
            registration.leave().await;
        }
        self.store
    }

    /// The end of it all.
    pub async fn end(self) {
        self.stop().await.close().await;
    }
}

/// What is there already comes as 200.
pub const OK: u16 = StatusCode::OK.as_u16();
