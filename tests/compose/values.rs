//! What managers tell of workloads whose load is known.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::driver::rest;

/// Between two looks.
const EVERY: Duration = Duration::from_millis(250);

/// A workload, and how many clients each have one request after another in flight all the time.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) name: String,
    pub(crate) open: usize,
}

impl Loaded {
    /// Clients lose time between two requests, more of it on a busy machine.
    fn is_right(&self, concurrency: f64) -> bool {
        let open = self.open as f64;
        (concurrency - open).abs() <= 0.3 * open + 0.5
    }

    /// Far less than there is: what would take replicas away from a busy workload.
    fn is_far_too_little(&self, concurrency: f64) -> bool {
        concurrency < 0.4 * self.open as f64
    }
}

/// Whether a manager tells every workload's load as it is.
pub(crate) async fn are_right(api: &str, loaded: &[Loaded]) -> Result<()> {
    let told = told(api).await?;
    for workload in loaded {
        let view = of(&told, workload)?;
        let concurrency = view["concurrency"].as_f64();
        let right = view["known"] == true && concurrency.is_some_and(|told| workload.is_right(told));
        ensure!(right, "{api} tells of {workload:?}: {view}");
    }
    Ok(())
}

async fn told(api: &str) -> Result<Value> {
    rest::json(api, "/api/v1/workloads?limit=1000").await
}

fn of<'a>(told: &'a Value, workload: &Loaded) -> Result<&'a Value> {
    let mut items = told["items"].as_array().with_context(|| format!("no items in {told}"))?.iter();
    items.find(|view| view["name"] == workload.name.as_str()).with_context(|| format!("{workload:?} is not there"))
}

/// What has been seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) values: usize,
    pub(crate) unknown: usize,
    /// Known, and far less than there was: described.
    pub(crate) too_little: Vec<String>,
}

/// Looks at all managers again and again.
pub(crate) struct Watch {
    seen: Arc<Mutex<Seen>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Watch {
    pub(crate) fn start(apis: &[String], loaded: &[Loaded]) -> Self {
        let (seen, stop) = (Arc::<Mutex<Seen>>::default(), CancellationToken::new());
        let (apis, loaded, into, stopped) = (apis.to_vec(), loaded.to_vec(), seen.clone(), stop.clone());
        let task = tokio::spawn(async move {
            while stopped.run_until_cancelled(sleep(EVERY)).await.is_some() {
                for api in &apis {
                    // Both managers run all the time.
                    let told = told(api).await;
                    let mut seen = into.lock();
                    for workload in &loaded {
                        seen.values += 1;
                        match told.as_ref().map_err(|error| format!("{error:#}")).map(|told| of(told, workload)) {
                            Ok(Ok(view)) if view["known"] == true => {
                                let concurrency = view["concurrency"].as_f64().unwrap_or_default();
                                if workload.is_far_too_little(concurrency) {
                                    seen.too_little.push(format!("{api}: {view}"));
                                }
                            }
                            _ => seen.unknown += 1,
                        }
                    }
                }
            }
        });
        Self { seen, stop, task }
    }

    pub(crate) async fn stop(self) -> Result<Seen> {
        self.stop.cancel();
        self.task.await?;
        Ok(std::mem::take(&mut *self.seen.lock()))
    }
}
