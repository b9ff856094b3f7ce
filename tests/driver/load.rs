//! Known traffic, and the record of it.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    backend::{self, Backend},
    http::{Connection, Pool, Reply},
    own_runtime::OwnRuntime,
};

/// What the clients of one workload do, all the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// Nothing.
    Idle,
    /// `open` clients, each with one request of this length after another.
    Steady { open: usize, length: Duration },
    /// `at_once` requests of this length at the beginning of each period.
    Bursts { every: Duration, at_once: usize, length: Duration },
}

/// A workload's traffic.
#[derive(Debug, Clone)]
pub(crate) struct Traffic {
    /// The host that its requests name.
    pub(crate) host: String,
    /// What its clients do.
    pub(crate) pattern: Pattern,
}

/// One request as its client saw it; times since the load began.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    /// Through which interceptor.
    pub(crate) interceptor: usize,
    /// When it was sent.
    pub(crate) start: Duration,
    /// When the whole answer was there, or the attempt had failed; none while it is open.
    pub(crate) end: Option<Duration>,
    /// From when to when a backend had it; none while it is open, or where no backend of the load's answered.
    pub(crate) served: Option<(Duration, Duration)>,
    /// Why it was not answered with 200.
    pub(crate) failure: Option<String>,
}

/// A clock on an idle machine is late by far less than this.
const STALL: Duration = Duration::from_millis(100);
const STALLS_SOUGHT_EVERY: Duration = Duration::from_millis(20);

/// All requests of all workloads.
#[derive(Debug)]
pub(crate) struct Ledger {
    epoch: Instant,
    backends_epoch: Instant,
    exchanges: Vec<Mutex<Vec<Exchange>>>,
    /// When the clients' own clock was late.
    stalls: Mutex<Vec<Duration>>,
}

impl Ledger {
    /// Time since the load began.
    pub(crate) fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// A workload's requests so far, in order of their starts.
    pub(crate) fn of(&self, workload: usize) -> Vec<Exchange> {
        self.exchanges[workload].lock().clone()
    }

    /// Requests of a workload so far.
    pub(crate) fn sent(&self, workload: usize) -> usize {
        self.exchanges[workload].lock().len()
    }

    /// All requests that have failed, described.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for (workload, exchanges) in self.exchanges.iter().enumerate() {
            for exchange in exchanges.lock().iter() {
                if let Some(failure) = &exchange.failure {
                    failures.push(format!(
                        "workload {workload}, interceptor {}, at {:?}: {failure}",
                        exchange.interceptor, exchange.start
                    ));
                }
            }
        }
        failures
    }

    /// Whether the whole machine had no time for us in that time.
    pub(crate) fn stalled(&self, time: RangeInclusive<Duration>) -> bool {
        self.stalls.lock().iter().any(|stall| time.contains(stall))
    }

    fn begin(&self, workload: usize, interceptor: usize) -> usize {
        let mut exchanges = self.exchanges[workload].lock();
        exchanges.push(Exchange { interceptor, start: self.epoch.elapsed(), end: None, served: None, failure: None });
        exchanges.len() - 1
    }

    fn end(&self, workload: usize, number: usize, reply: Result<Reply>) {
        let end = self.epoch.elapsed();
        let served = reply.as_ref().ok().and_then(|reply| backend::times(&reply.body));
        let failure = reply
            .and_then(|reply| {
                ensure!(reply.status.is_success(), "{} {}", reply.status, reply.body);
                Ok(())
            })
            .err();
        let offset = self.epoch - self.backends_epoch;
        let exchange = &mut self.exchanges[workload].lock()[number];
        exchange.end = Some(end);
        exchange.served = served.map(|(came, left)| (came - offset, left - offset));
        exchange.failure = failure.map(|failure| format!("{failure:#}"));
    }
}

/// Clients and backends on threads of their own.
pub(crate) struct Load {
    runtime: OwnRuntime,
    epoch: Instant,
}

impl Load {
    /// No traffic yet.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { runtime: OwnRuntime::new("load", 1)?, epoch: Instant::now() })
    }

    /// A server for workloads, beside the clients.
    pub(crate) async fn backend(&self) -> Result<Backend> {
        self.runtime.spawn(Backend::start(self.epoch)).await?
    }

    /// Begins to send, by turns through each interceptor.
    pub(crate) fn start(&self, traffic: &[Traffic], proxies: &[String]) -> Running {
        let ledger = Arc::new(Ledger {
            epoch: Instant::now(),
            backends_epoch: self.epoch,
            exchanges: traffic.iter().map(|_| Mutex::default()).collect(),
            stalls: Mutex::default(),
        });
        let running = Running { ledger: ledger.clone(), stop: CancellationToken::new(), tasks: TaskTracker::new() };
        self.runtime.spawn(running.tasks.track_future(seek_stalls(ledger.clone(), running.stop.clone())));
        for (workload, traffic) in traffic.iter().enumerate() {
            let client = Client {
                workload,
                host: traffic.host.clone(),
                proxies: proxies.to_vec(),
                ledger: ledger.clone(),
                stop: running.stop.clone(),
            };
            match traffic.pattern {
                Pattern::Idle => {}
                Pattern::Steady { open, length } => {
                    for number in 0..open {
                        let (client, begin) = (client.clone(), length * number as u32 / open as u32);
                        self.runtime.spawn(running.tasks.track_future(client.one_after_another(number, begin, length)));
                    }
                }
                Pattern::Bursts { every, at_once, length } => {
                    let tasks = running.tasks.clone();
                    self.runtime.spawn(running.tasks.track_future(client.bursts(tasks, every, at_once, length)));
                }
            }
        }
        running
    }
}

/// Traffic that goes on until it is stopped.
pub(crate) struct Running {
    ledger: Arc<Ledger>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Running {
    /// The record, which grows.
    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Sends no more, and waits for the answers that are still out.
    pub(crate) async fn stop(self) -> Arc<Ledger> {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.ledger
    }
}

#[derive(Clone)]
struct Client {
    workload: usize,
    host: String,
    proxies: Vec<String>,
    ledger: Arc<Ledger>,
    stop: CancellationToken,
}

impl Client {
    async fn one_after_another(self, number: usize, begin: Duration, length: Duration) {
        let interceptor = (self.workload + number) % self.proxies.len();
        let path = path(length);
        let mut connection = None;
        let begin = sleep_until(self.ledger.epoch + begin);
        if self.stop.run_until_cancelled(begin).await.is_none() {
            return;
        }
        while !self.stop.is_cancelled() {
            let entry = self.ledger.begin(self.workload, interceptor);
            let reply = async {
                let mut open = match connection.take() {
                    Some(open) => open,
                    None => Connection::open(&self.proxies[interceptor]).await?,
                };
                let reply = open.get(&self.host, &path).await?;
                connection = Some(open);
                Ok(reply)
            };
            let reply = reply.await;
            let failed = reply.is_err();
            self.ledger.end(self.workload, entry, reply);
            if failed {
                // As a real client would: not thousands of attempts a second at a proxy that is gone.
                let pause = sleep(length);
                self.stop.run_until_cancelled(pause).await;
            }
        }
    }

    async fn bursts(self, tasks: TaskTracker, every: Duration, at_once: usize, length: Duration) {
        let pools: Arc<[Pool]> = self.proxies.iter().map(Pool::new).collect();
        // Workloads are out of step with one another, as in life.
        let phase = every * (self.workload as u32 * 7 % 20) / 20;
        let mut ticks = interval_at(self.ledger.epoch + phase, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut number = self.workload;
        while self.stop.run_until_cancelled(ticks.tick()).await.is_some() {
            for _ in 0..at_once {
                let (client, pools, path) = (self.clone(), pools.clone(), path(length));
                let interceptor = number % pools.len();
                number += 1;
                tasks.spawn(async move {
                    let entry = client.ledger.begin(client.workload, interceptor);
                    let reply = pools[interceptor].get(&client.host, &path).await;
                    client.ledger.end(client.workload, entry, reply);
                });
            }
        }
    }
}

/// Notes when this runtime's clock is late: all runs on the same processors.
async fn seek_stalls(ledger: Arc<Ledger>, stop: CancellationToken) {
    let mut before = ledger.now();
    while stop.run_until_cancelled(sleep(STALLS_SOUGHT_EVERY)).await.is_some() {
        let now = ledger.now();
        if now - before > STALLS_SOUGHT_EVERY + STALL {
            ledger.stalls.lock().extend([before, now]);
        }
        before = now;
    }
}

fn path(length: Duration) -> String {
    format!("/?sleep={}ms", length.as_millis())
}
