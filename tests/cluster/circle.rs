//! The whole circle: requests wake a Deployment, load scales it, interceptors are replaced meanwhile, and silence ends it.
//!
//! Interceptors, a manager and a collector are the released program with the chart's own flags, each as the service account that the
//! chart makes for it, on a real Kafka; controllers and kwok make pods of the Deployment, and KEDA is played by the autoscaler of
//! `plimsoll dev`, on what the operator has written.

#[path = "../../src/autoscaler.rs"]
#[allow(dead_code, unused_imports, reason = "its own tests are run where it belongs")]
mod autoscaler;
mod keda;
mod line;
mod pods;
#[path = "../chart/rendered.rs"]
#[allow(dead_code, reason = "the chart's tests use the rest of it")]
mod rendered;
mod replicas;
mod resources;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use plimsoll_testkit::{ApiServer, Nodes, wait_until};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::http;
use crate::objects::Namespace;
use crate::operator::ready;
use crate::traffic::Traffic;
use keda::Keda;
use line::{COLLECTORS, Line, Part, nothing_was_refused};
use pods::Pods;
use resources::{HOST, MAX_REPLICAS};

/// Nothing here should take this long; the machine may be busy.
const LIMIT: Duration = Duration::from_secs(180);
/// Times four clients each: more than the Deployment's replicas are to have at once.
const CROWDS: usize = 10;

struct Scene {
    server: ApiServer,
    _nodes: Nodes,
    space: Namespace,
    line: Line,
    pods: Pods,
    collector: Part,
    manager: Part,
    keda: Keda,
}

pub(crate) async fn from_zero_to_many_and_back_as_the_chart_s_service_accounts() -> Result<()> {
    let scene = Scene::set().await?;
    let mut interceptors = vec![scene.line.interceptor("interceptor-0").await?];
    let played = scene.play(&mut interceptors).await;
    let all: Vec<&Part> = interceptors.iter().chain([&scene.manager, &scene.collector]).collect();
    let played = match played {
        Ok(()) => nothing_was_refused(&all),
        failed => failed,
    };
    played.with_context(|| {
        let printed = |part: &&Part| format!("=== {}\n{}\n", part.name, part.program.printed().unwrap_or_default());
        all.iter().map(printed).collect::<String>()
    })?;
    scene.keda.stop().await;
    scene.pods.stop().await;
    Ok(())
}

impl Scene {
    async fn set() -> Result<Self> {
        let server = ApiServer::start().await?;
        let nodes = server.nodes().await?;
        let space = Namespace::on(&server, "circle").await?;
        let line = Line::install(&server).await?;
        resources::workload(&space).await?;
        resources::bad_neighbours(&space).await?;
        let pods = Pods::start(&space).await?;
        let (collector, manager) = (line.collector().await?, line.manager("manager-0").await?);
        let keda = Keda::start(&space, manager.second().parse()?)?;
        Ok(Self { server, _nodes: nodes, space, line, pods, collector, manager, keda })
    }

    async fn play(&self, interceptors: &mut Vec<Part>) -> Result<()> {
        self.is_ready(&interceptors[0]).await?;
        // The manager has to come up first, and to lead.
        wait_until("the manager keeps the resource right", LIMIT, async || {
            ready(&self.space, "HTTPScaledObject", "web", "Reconciled").await
        })
        .await?;
        resources::bad_neighbours_are_named(&self.space, &[&self.manager, &interceptors[0]]).await?;
        self.wakes(&interceptors[0]).await?;
        self.grows_while_an_interceptor_is_replaced(interceptors).await?;
        self.sleeps().await?;
        self.the_fleet_is_put_right().await?;
        resources::without_scaled_object(&self.space).await?;
        resources::what_is_not_needed_is_refused(&self.line, &self.space).await
    }

    /// The first request to nothing at all is held, and answered by the first pod.
    async fn wakes(&self, interceptor: &Part) -> Result<()> {
        ensure!(self.replicas().await? == 0, "it does not begin at zero");
        let asked = Instant::now();
        let reply = http::get(&interceptor.first(), HOST, "/").await?;
        println!("the first request at zero was answered after {:?}", asked.elapsed());
        ensure!(reply.status == 200, "{} {}", reply.status, reply.body);
        let cold = reply.headers.get("x-keda-http-cold-start").and_then(|value| value.to_str().ok());
        ensure!(cold == Some("true"), "{:?}", reply.headers);
        let served = self.pods.served();
        ensure!(served.keys().map(ToString::to_string).eq([reply.body.clone()]), "{served:?}, {}", reply.body);
        Ok(())
    }

    /// While EndpointSlices change with each replica, one interceptor gives its place to another; no request is lost.
    async fn grows_while_an_interceptor_is_replaced(&self, interceptors: &mut Vec<Part>) -> Result<()> {
        // As kube-proxy has it: where new requests go.
        let (leads_to, place) = watch::channel(interceptors[0].first());
        let began = Instant::now();
        let crowds: Vec<Traffic> = (0..CROWDS).map(|_| Traffic::follow(place.clone(), HOST)).collect();
        let new = self.line.interceptor("interceptor-1").await?;
        self.is_ready(&new).await?;
        let old = &mut interceptors[0];
        old.program.process().signal(Signal::SIGTERM)?;
        wait_until("the old interceptor is not ready any more", LIMIT, async || {
            let status = http::get(&old.second(), "admin", "/readyz").await?.status;
            ensure!(status == 503, "{status}");
            Ok(())
        })
        .await?;
        leads_to.send_replace(new.first());
        let ended = old.program.process().wait(LIMIT).await?;
        ensure!(ended.success(), "{ended}: {}", old.program.printed()?);
        interceptors.push(new);
        wait_until("the load has as many pods as it needs, and all have their share", LIMIT, async || {
            let (asked, served) = (self.replicas().await?, self.pods.served());
            ensure!(asked == MAX_REPLICAS && served.len() >= MAX_REPLICAS, "{asked} replicas, and {served:?}");
            Ok(())
        })
        .await?;
        println!("under load there were {MAX_REPLICAS} pods after {:?}", began.elapsed());
        let before = self.pods.served();
        wait_until("requests go on", LIMIT, async || {
            let grown = self.pods.served().iter().filter(|(pod, now)| before.get(*pod) < Some(*now)).count();
            ensure!(grown == MAX_REPLICAS, "{grown} pods have had requests");
            Ok(())
        })
        .await?;
        let (mut all, mut lost) = (0, BTreeMap::<String, usize>::new());
        for crowd in crowds {
            let (answered, failures) = crowd.stop().await;
            all += answered;
            failures.into_iter().for_each(|failure| *lost.entry(failure).or_default() += 1);
        }
        println!("{all} requests were answered while an interceptor was replaced, and {} were not", lost.len());
        ensure!(all > 100 && lost.is_empty(), "{all} were answered, and {lost:?}");
        Ok(())
    }

    async fn sleeps(&self) -> Result<()> {
        let silent = Instant::now();
        wait_until("silence ends it", LIMIT, async || {
            let replicas = self.replicas().await?;
            ensure!(replicas == 0, "there are {replicas} replicas");
            Ok(())
        })
        .await?;
        println!("it was at zero {:?} after the last request", silent.elapsed());
        Ok(())
    }

    /// The manager may set the number of collectors, and nobody else should.
    async fn the_fleet_is_put_right(&self) -> Result<()> {
        let kubectl = async |verb: &[&str], more: &str| {
            let arguments = [verb, &["statefulset", COLLECTORS, "-n", rendered::RELEASE, more]].concat();
            self.server.kubectl(&arguments).await
        };
        kubectl(&["scale"], "--replicas=3").await?;
        wait_until("there are as many collectors as are needed", LIMIT, async || {
            let replicas = kubectl(&["get"], "-ojsonpath={.spec.replicas}").await?;
            ensure!(replicas.trim() == "1", "there are {replicas}");
            Ok(())
        })
        .await
    }

    async fn replicas(&self) -> Result<usize> {
        let deployment = self.space.get("Deployment", "web").await?.context("it has gone")?;
        let replicas = deployment.data["spec"]["replicas"].as_u64().context("it says no replicas")?;
        Ok(usize::try_from(replicas)?)
    }

    async fn is_ready(&self, interceptor: &Part) -> Result<()> {
        wait_until("the interceptor is ready", LIMIT, async || {
            let reply = http::get(&interceptor.second(), "admin", "/readyz").await?;
            ensure!(reply.status == 200, "{}", reply.body);
            Ok(())
        })
        .await
    }
}
