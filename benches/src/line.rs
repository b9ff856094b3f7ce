//! Plimsoll as processes: all in one (`dev`), or one for each part on real Kafka and etcd.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use plimsoll_testkit::{Etcd, Folder, Kafka, KafkaSettings, Port, Process};
use tokio::net::TcpStream;

/// How long the parts may take to come up with thousands of workloads.
const UP: Duration = Duration::from_secs(120);

/// Clients of the interceptor at once. Unsaid it is half of the files that it may open: too few, on many machines, for 10,000 idle ones.
const MAX_CONNECTIONS: &str = "16000";

/// A running line.
pub struct Line {
    pub proxy: String,
    pub api: String,
    pub scaler: String,
    /// The process that proxies.
    pub interceptor: Process,
    _others: Vec<Process>,
    _servers: Option<(Kafka, Etcd)>,
    _folder: Folder,
}

/// What it stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// One process, in memory.
    Memory,
    /// Separate processes on real Kafka and etcd.
    Kafka,
}

impl Line {
    /// Starts a line for these route documents, and waits until every workload is known.
    pub async fn start(ground: Ground, routes: &str, workloads: usize) -> Result<Self> {
        Self::start_with(ground, routes, workloads, &[]).await
    }

    /// As [`Line::start`], with further arguments for what proxies.
    pub async fn start_with(ground: Ground, routes: &str, workloads: usize, more: &[&str]) -> Result<Self> {
        let folder = Folder::new("plimsoll-bench")?;
        let file = folder.join("routes.yaml");
        std::fs::write(&file, routes)?;
        let routes = file.display().to_string();
        let ports = (Port::claim()?, Port::claim()?, Port::claim()?, Port::claim()?);
        let [proxy, admin, api, scaler] = [ports.0.address(), ports.1.address(), ports.2.address(), ports.3.address()];
        let spawn = |name: &str, arguments: &[&str]| {
            let mut command = Command::new(program()?);
            command.args(arguments).args(["--log", "warn"]).env("PLIMSOLL_MAX_CONNECTIONS", MAX_CONNECTIONS);
            Process::spawn(name, &command, &folder.join(&format!("{name}.log")))
        };
        let inside = [&["--proxy-listen", &proxy, "--admin-listen", &admin][..], more].concat();
        let outside =
            ["--api-listen", &api, "--scaler-listen", &scaler, "--activity-window", "5s", "--max-per-host", "20000"];
        let mut others = Vec::new();
        let (interceptor, servers) = match ground {
            Ground::Memory => {
                let arguments = [&["dev", "--routes", &routes][..], &inside, &outside].concat();
                (spawn("dev", &arguments)?, None)
            }
            Ground::Kafka => {
                let kafka = Kafka::start_with(KafkaSettings { heap_mib: 2048, ..KafkaSettings::default() }).await?;
                let etcd = Etcd::start().await?;
                let (brokers, store) = (kafka.bootstrap(), etcd.endpoint());
                others.push(spawn(
                    "manager",
                    &[&["manager", "--routes", &routes, "--kafka", &brokers, "--etcd", &store][..], &outside].concat(),
                )?);
                let (grpc, probes) = (Port::claim()?, Port::claim()?);
                let (grpc, probes) = (grpc.address(), probes.address());
                let listen = [
                    "--collector-id",
                    "bench",
                    "--collector-listen",
                    &grpc,
                    "--collector-advertise",
                    &grpc,
                    "--collector-admin-listen",
                    &probes,
                ];
                others.push(spawn(
                    "collector",
                    &[&["collector", "--kafka", &brokers, "--etcd", &store][..], &listen].concat(),
                )?);
                let arguments = [&["interceptor", "--routes", &routes, "--kafka", &brokers][..], &inside].concat();
                (spawn("interceptor", &arguments)?, Some((kafka, etcd)))
            }
        };
        let mut line = Self { proxy, api, scaler, interceptor, _others: others, _servers: servers, _folder: folder };
        let (proxy, api) = (line.proxy.clone(), line.api.clone());
        line.interceptor
            .ready(UP, async || {
                TcpStream::connect(&proxy).await.context("the proxy does not listen")?;
                let known = known_workloads(&api).await?;
                ensure!(known == workloads, "{known} of {workloads} workloads are known");
                Ok(())
            })
            .await?;
        Ok(line)
    }
}

async fn known_workloads(api: &str) -> Result<usize> {
    let body = crate::traffic::get(api, "localhost", "/api/v1/workloads?limit=10000").await?;
    let page: serde_json::Value = serde_json::from_slice(&body)?;
    let items = page["items"].as_array().context("no items")?;
    Ok(items.iter().filter(|item| item["known"] == true).count())
}

/// The released program, which stands beside this one.
fn program() -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("plimsoll");
    ensure!(path.exists(), "{} is not there: `make build` makes it", path.display());
    Ok(path)
}
