//! Looks at all values all the time, and remembers what was amiss.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    driver::http::Connection,
    frames::{RATE, in_flight},
};

/// How often each manager is looked at.
const EVERY: Duration = Duration::from_millis(50);
/// Workloads in one look; with more of them, looks take turns.
const PAGE: usize = 500;
/// An answer that takes longer counts as none.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is looked at in `GET /api/v1/workloads`.
#[derive(Debug, Deserialize)]
struct Page {
    items: Vec<Item>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    name: String,
    unknown_reason: Option<String>,
    told: Option<Told>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    concurrency: Value,
    request_rate: Value,
    activity: Activity,
}

#[derive(Debug, Deserialize)]
struct Value {
    value: f64,
}

#[derive(Debug, Deserialize)]
struct Activity {
    active: bool,
}

/// What one manager says of one workload.
#[derive(Debug, Clone, Default)]
struct Watched {
    /// When it was last told a value, by the test's own clock.
    told: Option<Instant>,
    /// Why it has not been told one since.
    missing: Option<String>,
}

/// What has been amiss since the last look at this.
#[derive(Debug, Clone, Default)]
pub(crate) struct Findings {
    /// The longest time from one value to the next with none in between, whose it was, and what was said instead.
    pub(crate) gap: Duration,
    pub(crate) gap_of: String,
    /// Workloads that were missing at all.
    pub(crate) missing: usize,
    /// Values that were wrong.
    pub(crate) wrong: Vec<String>,
    /// Looks, and the longest time between two at one manager: what is seen is not sharper than that.
    pub(crate) looks: usize,
    pub(crate) blink: Duration,
}

#[derive(Debug, Default)]
struct Seen {
    /// For each manager, each workload.
    watched: Vec<Vec<Watched>>,
    /// Managers that are dead or frozen by our own hand.
    excused: Vec<bool>,
    findings: Findings,
}

/// Watching that goes on until this is stopped.
pub(crate) struct Watching {
    seen: Arc<Mutex<Seen>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Watching {
    /// Begins to look at these managers' REST APIs; workload N is called `workload-N`.
    pub(crate) fn start(apis: &[String], workloads: usize) -> Self {
        let seen = Seen {
            watched: vec![vec![Watched::default(); workloads]; apis.len()],
            excused: vec![false; apis.len()],
            findings: Findings::default(),
        };
        let watching =
            Self { seen: Arc::new(Mutex::new(seen)), stop: CancellationToken::new(), tasks: TaskTracker::new() };
        for (manager, api) in apis.iter().enumerate() {
            let (seen, stop, api) = (watching.seen.clone(), watching.stop.clone(), api.clone());
            watching.tasks.spawn(async move {
                stop.run_until_cancelled(watch(manager, &api, workloads, &seen)).await;
            });
        }
        watching
    }

    /// This manager is about to be killed or frozen: what it says does not count until [`Watching::count_again`].
    pub(crate) fn excuse(&self, manager: usize) {
        self.seen.lock().excused[manager] = true;
    }

    /// Whether it is dead or frozen.
    pub(crate) fn is_excused(&self, manager: usize) -> bool {
        self.seen.lock().excused[manager]
    }

    /// It runs again: from its next value of each workload on, it counts.
    pub(crate) fn count_again(&self, manager: usize) {
        let mut seen = self.seen.lock();
        seen.watched[manager].fill(Watched::default());
        seen.excused[manager] = false;
    }

    /// Whether every manager that counts has told every workload's value last time it was asked.
    ///
    /// # Errors
    /// The first that it has not.
    pub(crate) fn all_known(&self) -> Result<()> {
        let seen = self.seen.lock();
        for (manager, workloads) in seen.watched.iter().enumerate().filter(|(manager, _)| !seen.excused[*manager]) {
            for (workload, watched) in workloads.iter().enumerate() {
                ensure!(
                    watched.told.is_some() && watched.missing.is_none(),
                    "manager {manager}: workload {workload} is unknown: {:?}",
                    watched.missing
                );
            }
        }
        Ok(())
    }

    /// What was amiss since the last call.
    pub(crate) fn findings(&self) -> Findings {
        std::mem::take(&mut self.seen.lock().findings)
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn watch(manager: usize, api: &str, workloads: usize, seen: &Mutex<Seen>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut connection = None;
    let mut offset = 0;
    let mut last: Option<Instant> = None;
    loop {
        ticks.tick().await;
        let page = match tokio::time::timeout(PATIENCE, look(&mut connection, api, offset)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(anyhow::anyhow!("no answer within {PATIENCE:?}")),
        };
        let now = Instant::now();
        let mut seen = seen.lock();
        if seen.excused[manager] {
            (connection, last) = (None, None);
            continue;
        }
        let blink = last.map_or(Duration::ZERO, |last| now - last);
        last = Some(now);
        seen.findings.looks += 1;
        seen.findings.blink = seen.findings.blink.max(blink);
        match page {
            Ok(page) => {
                for item in page.items {
                    seen.take(manager, &item, now);
                }
                offset = if offset + PAGE < workloads { offset + PAGE } else { 0 };
            }
            Err(error) => {
                connection = None;
                seen.findings.wrong.push(format!("manager {manager} does not answer: {error:#}"));
            }
        }
    }
}

async fn look(connection: &mut Option<Connection>, api: &str, offset: usize) -> Result<Page> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(Connection::open(api).await?),
    };
    let reply = connection.get(api, &format!("/api/v1/workloads?limit={PAGE}&offset={offset}")).await?;
    serde_json::from_str(&reply.body).with_context(|| format!("{}: {:.200}", reply.status, reply.body))
}

impl Seen {
    fn take(&mut self, manager: usize, item: &Item, now: Instant) {
        let Some(workload) = item.name.strip_prefix("workload-").and_then(|number| number.parse::<usize>().ok()) else {
            return self.findings.wrong.push(format!("nobody knows {}", item.name));
        };
        let watched = &mut self.watched[manager][workload];
        let Some(told) = &item.told else {
            // Before its first value there is none to miss.
            if watched.told.is_some() && watched.missing.is_none() {
                watched.missing = Some(item.unknown_reason.clone().unwrap_or_default());
                self.findings.missing += 1;
            }
            return;
        };
        if let (Some(before), Some(said)) = (watched.told, watched.missing.take())
            && now - before > self.findings.gap
        {
            self.findings.gap = now - before;
            self.findings.gap_of = format!("workload {workload} at manager {manager}: {said}");
        }
        let first = watched.told.replace(now).is_none();
        if first {
            return;
        }
        let (expected, value, rate) = (in_flight(workload) as f64, told.concurrency.value, told.request_rate.value);
        let close = |value: f64, expected: f64| (value - expected).abs() <= expected * 0.1 + 0.01;
        if !close(value, expected) || !close(rate, RATE as f64) || !told.activity.active {
            self.findings.wrong.push(format!(
                "workload {workload} at manager {manager}: {value} in flight and {rate}/s instead of {expected} and {RATE}/s, active {}",
                told.activity.active
            ));
        }
    }
}

/// How often each state of things was seen, for the report of a test that failed.
pub(crate) fn summary(wrong: &[String]) -> String {
    let mut counted = BTreeMap::<&str, usize>::new();
    for one in wrong.iter().take(2_000) {
        *counted.entry(one).or_default() += 1;
    }
    counted.iter().take(20).map(|(what, count)| format!("{count} x {what}\n")).collect()
}
