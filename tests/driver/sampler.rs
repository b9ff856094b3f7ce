//! Asks every manager for every workload, again and again, as KEDA would if it were in a great hurry.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use futures::future::join_all;
use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::Status;

use super::{
    keda::{Keda, Trigger, value_of},
    load::Ledger,
};

/// How often all are asked.
pub(crate) const EVERY: Duration = Duration::from_millis(50);

/// What one manager said about one workload at one time.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// Which manager.
    pub(crate) manager: usize,
    /// Which workload.
    pub(crate) workload: usize,
    /// When it was asked, by the ledger's clock.
    pub(crate) asked: Duration,
    /// When both answers were there.
    pub(crate) answered: Duration,
    /// `IsActive`.
    pub(crate) active: Result<bool, Status>,
    /// `GetMetrics`.
    pub(crate) told: Result<Told, Status>,
}

/// The values of one `GetMetrics`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Told {
    /// Requests in flight; NaN where the metric was missing in the answer.
    pub(crate) concurrency: f64,
    /// Requests a second, where the kind of resource tells them; NaN where the metric was missing.
    pub(crate) rate: Option<f64>,
}

/// Sampling that goes on until it is stopped.
pub(crate) struct Sampler {
    samples: Arc<Mutex<Vec<Sample>>>,
    stop: CancellationToken,
    dead: Arc<Mutex<BTreeSet<usize>>>,
    tasks: TaskTracker,
}

impl Sampler {
    /// Begins to ask the managers' scalers for all triggers, every 50 ms. Times are the ledger's.
    pub(crate) fn start(scalers: &[String], triggers: &[Trigger], ledger: &Arc<Ledger>) -> Result<Self> {
        let sampler = Self {
            samples: Arc::default(),
            stop: CancellationToken::new(),
            dead: Arc::default(),
            tasks: TaskTracker::new(),
        };
        let triggers: Arc<[Trigger]> = triggers.into();
        for (manager, scaler) in scalers.iter().enumerate() {
            let keda = Keda::of(scaler)?;
            let (triggers, ledger) = (triggers.clone(), ledger.clone());
            let (samples, dead) = (sampler.samples.clone(), sampler.dead.clone());
            let stop = sampler.stop.clone();
            sampler.tasks.spawn(async move {
                let mut ticks = interval(EVERY);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
                while stop.run_until_cancelled(ticks.tick()).await.is_some() {
                    if dead.lock().contains(&manager) {
                        return;
                    }
                    let round = triggers
                        .iter()
                        .enumerate()
                        .map(|(workload, trigger)| sample(&keda, manager, workload, trigger, &ledger));
                    let round = join_all(round).await;
                    // Calls that were out when the manager was killed say nothing about it.
                    if !dead.lock().contains(&manager) {
                        samples.lock().extend(round);
                    }
                }
            });
        }
        Ok(sampler)
    }

    /// A manager is about to be killed: asks it no more.
    pub(crate) fn leave_out(&self, manager: usize) {
        self.dead.lock().insert(manager);
    }

    /// The samples since the `from`th.
    pub(crate) fn since(&self, from: usize) -> Vec<Sample> {
        self.samples.lock().get(from..).unwrap_or_default().to_vec()
    }

    /// How many samples there are.
    pub(crate) fn count(&self) -> usize {
        self.samples.lock().len()
    }

    /// Ends, with all samples in order of their answers for each manager.
    pub(crate) async fn stop(self) -> Vec<Sample> {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        std::mem::take(&mut self.samples.lock())
    }
}

/// Fails where a workload was told no value after that time: where nobody has looked, every promise was kept.
pub(crate) fn all_told_after(samples: &[Sample], workloads: usize, time: Duration) -> Result<()> {
    let told = |sample: &&Sample| sample.asked >= time && sample.told.is_ok();
    let heard: BTreeSet<usize> = samples.iter().filter(told).map(|sample| sample.workload).collect();
    ensure!(heard.len() == workloads, "after {time:?} values were told of {heard:?} only, of {workloads} workloads");
    Ok(())
}

async fn sample(keda: &Keda, manager: usize, workload: usize, trigger: &Trigger, ledger: &Ledger) -> Sample {
    let asked = ledger.now();
    let (active, values) = futures::join!(keda.is_active(trigger), keda.metrics(trigger, ""));
    let told = values.map(|values| Told {
        concurrency: value_of(&values, &trigger.concurrency_metric()).unwrap_or(f64::NAN),
        rate: trigger.rate_metric().map(|name| value_of(&values, &name).unwrap_or(f64::NAN)),
    });
    Sample { manager, workload, asked, answered: ledger.now(), active, told }
}
