//! All routes are replaced while requests go on: how long it takes until the new ones hold, and what requests notice.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use plimsoll_interceptor::{Config, Endpoints, Interceptor, Parts};
use plimsoll_wire::log::memory::MemoryLog;
use plimsoll_wire::resources::{FixedBody, FixedResponse, ResponseMode, Rule, StaticRoute, Workload};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Kind;
use crate::figures::{Latencies, cpu_time, median};

/// Clients that ask one request after the other, each after a pause: a few thousand requests a second, and a core to spare.
const CLIENTS: usize = 8;
const PAUSE: Duration = Duration::from_millis(2);
/// How long requests run before a table is replaced, and between two.
const QUIET: Duration = Duration::from_secs(2);
const REPLACED: u64 = 5;
/// One route after the other changes, a second apart; and for as long nothing does.
const CHANGED: u64 = 10;
const APART: Duration = Duration::from_secs(1);
/// A new table that does not hold by then is a failure.
const LIMIT: Duration = Duration::from_secs(30);
const PROBE: &str = "probe.example.com";

/// Prints how long replacing so many routes takes, and how long requests took meanwhile.
pub async fn run(routes: usize) -> Result<()> {
    let (replace, current) = watch::channel(table(routes, 0));
    // Threads of its own, as it has as a program: making a table keeps one of them.
    let threads = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (bound, address) = oneshot::channel();
    let serving = threads.spawn(serve(current, bound));
    let Ok(address) = address.await else {
        return serving.await?.context("the interceptor ended");
    };

    let phase = Arc::new(Phase::default());
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(client(address, phase.clone()));
    }
    let mut taken_ms = Vec::new();
    for generation in 1..=REPLACED {
        // Made beforehand: reading resources is not what is measured. Half of the routes are new ones.
        let next = table(routes, generation);
        tokio::time::sleep(QUIET).await;
        phase.replacing.store(true, Ordering::Relaxed);
        let started = Instant::now();
        replace.send(next).context("the interceptor is gone")?;
        taken_ms.push(phase.until_seen(generation, started).await?);
        // The old table goes only now.
        tokio::time::sleep(QUIET / 4).await;
        phase.replacing.store(false, Ordering::Relaxed);
    }
    let changing = change_one(routes, &replace, &phase).await?;
    phase.ended.cancel();
    let mut took = Took::new()?;
    while let Some(client) = clients.join_next().await {
        took.merge(&client??)?;
    }
    threads.shutdown_background();
    println!("  replacing a table of {routes} routes, half of them by new ones: {:.0} ms", median(taken_ms));
    println!("    requests meanwhile: {}", took.replacing.summary());
    println!("    requests otherwise: {}", took.quiet.summary());
    println!(
        "  changing one route of {routes} each second: {:.0} ms, {:.0} ms of CPU a change",
        median(changing.taken_ms),
        changing.cpu_ms
    );
    println!("    requests meanwhile: {}", took.changing.summary());
    Ok(())
}

/// What single changes cost.
struct Changing {
    taken_ms: Vec<f64>,
    /// Of the whole process for each change, less what it takes while nothing changes.
    cpu_ms: f64,
}

/// Changes one route of the table a second: all but the probe are the same as before.
async fn change_one(routes: usize, replace: &watch::Sender<Arc<Vec<Workload>>>, phase: &Phase) -> Result<Changing> {
    let process = std::process::id();
    let unchanged = table(routes, REPLACED);
    let before = cpu_time(process)?;
    tokio::time::sleep(APART * CHANGED as u32).await;
    let without = cpu_time(process)? - before;
    let (mut taken_ms, mut with) = (Vec::new(), Duration::ZERO);
    phase.changing.store(true, Ordering::Relaxed);
    for generation in REPLACED + 1..=REPLACED + CHANGED {
        // Making the list of resources is not what is measured.
        let mut workloads = Vec::clone(&unchanged);
        workloads.pop();
        workloads.push(probe(generation));
        let (before, started) = (cpu_time(process)?, Instant::now());
        replace.send(Arc::new(workloads)).context("the interceptor is gone")?;
        taken_ms.push(phase.until_seen(generation, started).await?);
        tokio::time::sleep_until(started + APART).await;
        with += cpu_time(process)? - before;
    }
    phase.changing.store(false, Ordering::Relaxed);
    Ok(Changing { taken_ms, cpu_ms: with.saturating_sub(without).as_secs_f64() * 1e3 / CHANGED as f64 })
}

/// An interceptor with these routes; says where it listens.
async fn serve(routes: watch::Receiver<Arc<Vec<Workload>>>, bound: oneshot::Sender<SocketAddr>) -> Result<()> {
    let mut config = Config::from_environment()?;
    (config.proxy_listen, config.admin_listen) = (loopback(), loopback());
    config.proxy_threads = NonZeroUsize::new(2);
    let parts = Parts { log: Arc::new(MemoryLog::new()), routes, endpoints: Endpoints::new() };
    let interceptor = Interceptor::bind(config, parts).await?;
    // Where nobody waits for it any more, the runtime is about to end.
    let _ended = bound.send(interceptor.proxy_addr());
    Ok(interceptor.serve(CancellationToken::new()).await?)
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A table of this generation, which its probe answers with.
fn table(routes: usize, generation: u64) -> Arc<Vec<Workload>> {
    // The second half of one table is the first half of the next.
    let first = generation as usize * routes / 2;
    let mut workloads: Vec<Workload> =
        (first..first + routes - 1).map(|at| super::workload(at, Kind::Exact.rule(at))).collect();
    workloads.push(probe(generation));
    Arc::new(workloads)
}

/// The workload that answers with the generation.
fn probe(generation: u64) -> Workload {
    let rule = Rule { hosts: vec![PROBE.to_owned()], paths: vec!["/".to_owned()], headers: Vec::new() };
    let body = FixedBody::Inline(format!("{generation:08}").into());
    let response = FixedResponse { status: 200, headers: Vec::new(), body };
    let mut probe = super::workload(usize::MAX, rule.clone());
    probe.static_routes = vec![StaticRoute { rules: vec![rule], response, mode: ResponseMode::Always }];
    probe
}

/// What clients and the one who replaces tell each other.
#[derive(Default)]
struct Phase {
    /// Whether a table is being replaced.
    replacing: AtomicBool,
    /// Whether single routes change.
    changing: AtomicBool,
    /// The newest generation that has answered.
    seen: AtomicU64,
    ended: CancellationToken,
}

impl Phase {
    /// Waits until this generation answers; milliseconds since `started`.
    async fn until_seen(&self, generation: u64, started: Instant) -> Result<f64> {
        while self.seen.load(Ordering::Relaxed) < generation {
            ensure!(started.elapsed() < LIMIT, "table {generation} does not hold after {LIMIT:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(started.elapsed().as_secs_f64() * 1e3)
    }
}

/// Asks until the end; how long answers took otherwise, and while a table was replaced.
async fn client(address: SocketAddr, phase: Arc<Phase>) -> Result<Took> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let request = format!("GET / HTTP/1.1\r\nhost: {PROBE}\r\n\r\n");
    let mut took = Took::new()?;
    let mut read = Vec::new();
    while !phase.ended.is_cancelled() {
        let (is_replacing, is_changing) =
            (phase.replacing.load(Ordering::Relaxed), phase.changing.load(Ordering::Relaxed));
        let started = Instant::now();
        stream.write_all(request.as_bytes()).await?;
        read.clear();
        let generation = loop {
            ensure!(stream.read_buf(&mut read).await? > 0, "the connection was closed");
            let text = std::str::from_utf8(&read)?;
            if let Some((_, body)) = text.split_once("\r\n\r\n").filter(|(_, body)| body.len() == 8) {
                ensure!(text.starts_with("HTTP/1.1 200"), "{text}");
                break body.parse()?;
            }
        };
        let of_phase = match (is_replacing, is_changing) {
            (true, _) => &mut took.replacing,
            (_, true) => &mut took.changing,
            _ => &mut took.quiet,
        };
        of_phase.add(started.elapsed());
        phase.seen.fetch_max(generation, Ordering::Relaxed);
        tokio::time::sleep(PAUSE).await;
    }
    Ok(took)
}

/// How long answers took, by what went on meanwhile.
struct Took {
    quiet: Latencies,
    replacing: Latencies,
    changing: Latencies,
}

impl Took {
    fn new() -> Result<Self> {
        Ok(Self { quiet: Latencies::new()?, replacing: Latencies::new()?, changing: Latencies::new()? })
    }

    fn merge(&mut self, other: &Self) -> Result<()> {
        self.quiet.merge(&other.quiet)?;
        self.replacing.merge(&other.replacing)?;
        self.changing.merge(&other.changing)
    }
}
