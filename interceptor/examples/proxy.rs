//! The proxy alone, for measuring it: `proxy LISTEN THREADS UPSTREAM...` forwards every host to the upstreams, and publishes to
//! nowhere.

#![allow(missing_docs, reason = "an example")]

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use plimsoll_interceptor::{Config, Endpoints, Parts};
use plimsoll_wire::log::{Append, EventLog, LogError, Pace, Subscription, Topic, TopicSpec};
use plimsoll_wire::resources::{Backend, Port, Rule, Workload};
use plimsoll_wire::topic::WorkloadId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

#[derive(Debug)]
struct Nowhere;

fn unavailable() -> LogError {
    LogError::Unavailable { log: "nowhere".to_owned(), reason: "this is a measurement".to_owned() }
}

#[async_trait]
impl EventLog for Nowhere {
    async fn append(&self, records: Vec<Append>) -> Vec<Result<(), LogError>> {
        records.iter().map(|_| Ok(())).collect()
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

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut argument =
        |what| arguments.next().with_context(|| format!("{what} is missing: proxy LISTEN THREADS UPSTREAM..."));
    let mut config = Config::from_environment()?;
    config.proxy_listen = argument("LISTEN")?.parse()?;
    config.admin_listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.proxy_threads = Some(argument("THREADS")?.parse::<NonZeroUsize>()?);
    let upstreams = arguments.map(|upstream| Ok(upstream.parse()?)).collect::<Result<Vec<SocketAddr>>>()?;

    let id = WorkloadId::new("default", "all");
    let target = Backend { service: "127.0.0.1".to_owned(), port: Port::Number(1) };
    let workload = Workload {
        rules: vec![Rule { hosts: vec!["*".to_owned()], paths: vec!["/".to_owned()], headers: Vec::new() }],
        ..Workload::new(id.clone(), target)
    };
    let (_routes, routes) = watch::channel(Arc::new(vec![workload]));
    let endpoints = Endpoints::new();
    endpoints.set(&id, upstreams);
    plimsoll_interceptor::run(config, Parts { log: Arc::new(Nowhere), routes, endpoints }, CancellationToken::new())
        .await?;
    Ok(())
}
