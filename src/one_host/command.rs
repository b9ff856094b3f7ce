//! `plimsoll autoscaler`: scales containers on one host.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use clap::Args;
use plimsoll_wire::topic::WorkloadId;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use super::containers::Containers;
use super::docker::Docker;
use crate::autoscaler::{self, Autoscaler, Make, Replicas, Troubles};
use crate::parts;

/// Settings of `plimsoll autoscaler`.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Config {
    /// The scaler of a manager, as KEDA would reach it. A name with several addresses is several managers: another one is asked when one fails.
    #[arg(long, env = "PLIMSOLL_SCALER", value_name = "HOST:PORT")]
    pub scaler: String,
    /// The routes that the managers read too: they say which workloads there are, and how many replicas each may have.
    #[arg(long, env = "PLIMSOLL_ROUTES", value_name = "FILE|FOLDER")]
    pub routes: PathBuf,
    /// The socket of the Docker engine. Its containers with the label `plimsoll.io/workload=NAMESPACE/NAME` are that workload's replicas: they
    /// are started and stopped, never made or removed. Whoever may use this socket is as mighty as root.
    #[arg(long, env = "PLIMSOLL_DOCKER", value_name = "SOCKET", default_value = "/var/run/docker.sock")]
    pub docker: PathBuf,
    /// Leave all containers alone that do not have this label too, as those of other projects. Repeat for more.
    #[arg(long, env = "PLIMSOLL_CONTAINER_LABEL", value_name = "KEY=VALUE", value_delimiter = ',')]
    pub container_label: Vec<String>,
    /// Where the probes /livez and /readyz listen. /readyz names the workloads that can't be scaled just now, and why.
    #[arg(long, env = "PLIMSOLL_AUTOSCALER_LISTEN", value_name = "ADDR:PORT", default_value = "0.0.0.0:9097")]
    pub autoscaler_listen: SocketAddr,
    #[command(flatten)]
    pub autoscaler: autoscaler::Config,
}

/// Scales until shutdown. What runs then runs on.
///
/// # Errors
/// An address that is none, or one that can't be listened on.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<()> {
    let tasks = TaskTracker::new();
    let scaler = autoscaler::scaler(&config.scaler)?;
    let listener = TcpListener::bind(config.autoscaler_listen).await;
    let listener =
        listener.with_context(|| format!("can't listen on {} (--autoscaler-listen)", config.autoscaler_listen))?;
    let workloads = parts::routes(&config.routes, &tasks, &shutdown);
    let troubles = Troubles::default();
    info!("scales containers of {}, as the scaler at {} says", config.docker.display(), config.scaler);
    let autoscaler = Autoscaler {
        config: config.autoscaler,
        scaler,
        make: make(&config.docker, config.container_label),
        troubles: troubles.clone(),
    };
    tasks.spawn(autoscaler.run(workloads, shutdown.clone()));
    plimsoll_wire::admin::serve(listener, probes(troubles), shutdown.clone()).await;
    parts::finish(tasks, &shutdown).await;
    Ok(())
}

fn make(socket: &std::path::Path, labels: Vec<String>) -> Make {
    let docker = Docker::at(socket);
    Arc::new(move |id: &WorkloadId| -> Box<dyn Replicas> { Box::new(Containers::new(docker.clone(), id, &labels)) })
}

fn probes(troubles: Troubles) -> Router {
    Router::new().route("/livez", get(async || "ok\n")).route("/readyz", get(readyz)).with_state(troubles)
}

async fn readyz(State(troubles): State<Troubles>) -> (StatusCode, String) {
    match troubles.lines() {
        lines if lines.is_empty() => (StatusCode::OK, "ok\n".to_owned()),
        lines => (StatusCode::SERVICE_UNAVAILABLE, lines.join("\n") + "\n"),
    }
}
