//! Collectors that this process runs: each is started again when it ends by itself, after a growing pause.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use plimsoll_scheduler::plan::CollectorId;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::{Fleet, FleetError, Sizes};

/// Before a collector that has ended is started again, at first and at most.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A collector that has run for this long may be started again without much ado.
const STEADY: Duration = Duration::from_secs(60);
/// More than this many on one machine is a mistake.
const COLLECTORS_MAX: usize = 1_000;

/// A collector to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its name.
    pub id: CollectorId,
    /// Whose topics it is for; none where all are alike.
    pub provider: Option<String>,
}

/// Runs a collector until it ends or is told to stop; what went wrong is for the log.
pub type Run = Box<dyn Fn(Unit, CancellationToken) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// A fleet in, or of, this process.
pub struct Local {
    kind: &'static str,
    /// What the collectors' names begin with.
    prefix: String,
    run: Arc<Run>,
    crews: Mutex<BTreeMap<String, Crew>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// One provider's collectors.
#[derive(Default)]
struct Crew {
    /// Those that run, by ordinal; cancelled, each ends.
    running: Vec<CancellationToken>,
    /// A place for each ordinal that was ever used: the next run begins when the one before has ended.
    places: Vec<Arc<Semaphore>>,
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("kind", &self.kind).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Local {
    /// An empty fleet whose collectors are called `PREFIX-ORDINAL`, or `PREFIX-PROVIDER-ORDINAL`.
    #[must_use]
    pub fn new(kind: &'static str, prefix: impl Into<String>, run: Run) -> Self {
        Self {
            kind,
            prefix: prefix.into(),
            run: Arc::new(run),
            crews: Mutex::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    fn unit(&self, provider: &str, ordinal: usize) -> Unit {
        let prefix = &self.prefix;
        if provider.is_empty() {
            Unit { id: format!("{prefix}-{ordinal}"), provider: None }
        } else {
            Unit { id: format!("{prefix}-{provider}-{ordinal}"), provider: Some(provider.to_owned()) }
        }
    }
}

#[async_trait]
impl Fleet for Local {
    fn kind(&self) -> &'static str {
        self.kind
    }

    async fn sizes(&self) -> Result<Option<Sizes>, FleetError> {
        let crews = self.crews.lock();
        Ok(Some(crews.iter().map(|(provider, crew)| (provider.clone(), crew.running.len())).collect()))
    }

    async fn scale(&self, provider: &str, collectors: usize) -> Result<(), FleetError> {
        if collectors > COLLECTORS_MAX {
            return Err(FleetError {
                fleet: self.kind,
                what: format!("run {collectors} collectors"),
                reason: format!(
                    "more than {COLLECTORS_MAX} on one machine are a mistake: lower maxCollectors of the policy"
                ),
            });
        }
        let mut crews = self.crews.lock();
        let crew = crews.entry(provider.to_owned()).or_default();
        while crew.running.len() > collectors {
            if let Some(last) = crew.running.pop() {
                last.cancel();
            }
        }
        while crew.running.len() < collectors && !self.stop.is_cancelled() {
            let ordinal = crew.running.len();
            if crew.places.len() == ordinal {
                crew.places.push(Arc::new(Semaphore::new(1)));
            }
            let stop = self.stop.child_token();
            let unit = self.unit(provider, ordinal);
            self.tasks.spawn(keep_running(unit, self.run.clone(), crew.places[ordinal].clone(), stop.clone()));
            crew.running.push(stop);
        }
        Ok(())
    }

    async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Runs a collector, and again when it ends by itself.
async fn keep_running(unit: Unit, run: Arc<Run>, place: Arc<Semaphore>, stop: CancellationToken) {
    // Never closed; were it, the collector would run all the same.
    let _place = place.acquire_owned().await;
    let mut pause = PAUSE;
    while !stop.is_cancelled() {
        info!(collector = %unit.id, "starts a collector");
        let begun = Instant::now();
        let outcome = run(unit.clone(), stop.clone()).await;
        if stop.is_cancelled() {
            info!(collector = %unit.id, "the collector has ended");
            return;
        }
        if begun.elapsed() >= STEADY {
            pause = PAUSE;
        }
        let reason = outcome.err().unwrap_or_else(|| "it stopped without being asked to".to_owned());
        warn!(collector = %unit.id, "a collector of ours has ended, the next try is in {} s: {reason}", pause.as_secs_f64());
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// What runs now, and how often anything was started.
    #[derive(Default)]
    struct Yard {
        running: Mutex<Vec<String>>,
        started: Mutex<u32>,
    }

    /// A fleet whose collectors fail at once where they are told to.
    fn fleet(fail: bool) -> (Local, Arc<Yard>) {
        let yard = Arc::new(Yard::default());
        let told = yard.clone();
        let run: Run = Box::new(move |unit, stop| {
            let yard = told.clone();
            Box::pin(async move {
                *yard.started.lock() += 1;
                if fail {
                    return Err("told to".to_owned());
                }
                assert!(!yard.running.lock().contains(&unit.id), "{} runs twice", unit.id);
                yard.running.lock().push(unit.id.clone());
                stop.cancelled().await;
                // An end takes its time.
                tokio::time::sleep(Duration::from_secs(2)).await;
                yard.running.lock().retain(|id| *id != unit.id);
                Ok(())
            })
        });
        (Local::new("test", "c", run), yard)
    }

    #[tokio::test(start_paused = true)]
    async fn it_grows_and_shrinks_from_the_last_ordinal_and_no_name_runs_twice() {
        let (fleet, yard) = fleet(false);
        fleet.scale("", 3).await.unwrap();
        fleet.scale("aws", 1).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(*yard.running.lock(), ["c-0", "c-1", "c-2", "c-aws-0"]);
        fleet.scale("", 1).await.unwrap();
        assert_eq!(fleet.sizes().await.unwrap().unwrap(), Sizes::from([(String::new(), 1), ("aws".to_owned(), 1)]));
        // Back before they have ended.
        fleet.scale("", 2).await.unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(*yard.running.lock(), ["c-0", "c-aws-0", "c-1"]);
        fleet.close().await;
        assert!(yard.running.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_by_itself_is_started_again_ever_more_rarely() {
        let (fleet, yard) = fleet(true);
        fleet.scale("", 1).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let early = *yard.started.lock();
        assert!((3..=5).contains(&early), "{early}");
        tokio::time::sleep(Duration::from_secs(600)).await;
        let later = *yard.started.lock() - early;
        assert!((18..=25).contains(&later), "{later}");
        fleet.close().await;
    }
}
