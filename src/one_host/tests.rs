//! The autoscaler, with a scaler and replicas that do as they are told.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use async_trait::async_trait;
use clap::Parser as _;
use futures::{Stream, StreamExt as _, stream};
use parking_lot::Mutex;
use plimsoll_wire::resources::{Backend, Port, Workload};
use plimsoll_wire::scaler::external_scaler_server::{ExternalScaler, ExternalScalerServer};
use plimsoll_wire::scaler::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, ScaledObjectRef,
};
use plimsoll_wire::topic::WorkloadId;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::autoscaler::{self, Autoscaler, Replicas, Troubles};

const LIMIT: Duration = Duration::from_secs(20);

#[derive(clap::Parser)]
struct Alone {
    #[command(flatten)]
    config: autoscaler::Config,
}

/// A scaler that says at once, and once, that a request has come.
struct Wakes;

#[tonic::async_trait]
impl ExternalScaler for Wakes {
    type StreamIsActiveStream = Pin<Box<dyn Stream<Item = Result<IsActiveResponse, Status>> + Send>>;

    async fn is_active(&self, _: Request<ScaledObjectRef>) -> Result<Response<IsActiveResponse>, Status> {
        Ok(Response::new(IsActiveResponse { result: true }))
    }

    async fn stream_is_active(
        &self,
        _: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        let woken = stream::iter([Ok(IsActiveResponse { result: true })]);
        Ok(Response::new(woken.chain(stream::pending()).boxed()))
    }

    async fn get_metric_spec(&self, _: Request<ScaledObjectRef>) -> Result<Response<GetMetricSpecResponse>, Status> {
        Ok(Response::new(GetMetricSpecResponse { metric_specs: Vec::new() }))
    }

    async fn get_metrics(&self, _: Request<GetMetricsRequest>) -> Result<Response<GetMetricsResponse>, Status> {
        Ok(Response::new(GetMetricsResponse { metric_values: Vec::new() }))
    }
}

/// Three replicas that run already, and that can't be seen at the first look.
#[derive(Default)]
struct Hidden {
    looks: usize,
    seen: usize,
    asked: Vec<usize>,
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Hidden>>);

#[async_trait]
impl Replicas for Shared {
    fn count(&self) -> usize {
        self.0.lock().seen
    }

    async fn look(&mut self) -> Result<Vec<String>> {
        let mut hidden = self.0.lock();
        hidden.looks += 1;
        if hidden.looks == 1 {
            bail!("they can't be seen yet");
        }
        hidden.seen = 3;
        Ok(Vec::new())
    }

    async fn scale_to(&mut self, wanted: usize) -> Result<()> {
        self.0.lock().asked.push(wanted);
        Ok(())
    }

    async fn end(self: Box<Self>) {}
}

#[tokio::test]
async fn a_request_that_comes_before_the_replicas_have_been_seen_stops_none_of_them() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let stop = CancellationToken::new();
    let server = tonic::transport::Server::builder().add_service(ExternalScalerServer::new(Wakes));
    let ended = stop.clone().cancelled_owned();
    let serving = tokio::spawn(server.serve_with_incoming_shutdown(TcpListenerStream::new(listener), ended));

    let replicas = Shared::default();
    let known = replicas.clone();
    let scaler = Autoscaler {
        // One poll only, the one that sees nothing.
        config: Alone::try_parse_from(["autoscaler", "--poll-interval=1h"])?.config,
        scaler: autoscaler::scaler(&address.to_string())?,
        make: Arc::new(move |_: &WorkloadId| -> Box<dyn Replicas> { Box::new(known.clone()) }),
        troubles: Troubles::default(),
    };
    let target = Backend { service: "web".to_owned(), port: Port::Number(80) };
    let workload = Workload::new(WorkloadId::new("default", "web"), target);
    let (_table, workloads) = watch::channel(Arc::new(vec![workload]));
    let scaling = tokio::spawn(scaler.run(workloads, stop.clone()));

    let deadline = Instant::now() + LIMIT;
    let is_heard = || {
        let hidden = replicas.0.lock();
        hidden.looks >= 2 || !hidden.asked.is_empty()
    };
    while !is_heard() {
        anyhow::ensure!(Instant::now() < deadline, "the request is not heard of");
        sleep(Duration::from_millis(5)).await;
    }
    stop.cancel();
    scaling.await?;
    serving.await??;
    assert_eq!(replicas.0.lock().asked, Vec::<usize>::new(), "three run, and one would be left");
    Ok(())
}
