//! Looks at all values all the time, and remembers what was amiss.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    driver::{http::Connection, own_runtime::OwnRuntime},
    frames::{RATE, in_flight},
};

/// How often each manager is looked at.
const EVERY: Duration = Duration::from_millis(50);
/// Up to so many workloads every look is at all values. Of more, each look is at all that are unknown, and at the values of a few by turns:
/// reading thousands of values twenty times a second would take more than the system that is watched.
const ALL_VALUES_UP_TO: usize = 500;
/// Those few.
const PAGE: usize = 100;
/// More workloads than there are.
const ALL: usize = 10_000;
/// An answer that takes longer counts as none.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is looked at in `GET /api/v1/workloads`.
#[derive(Debug, Deserialize)]
struct Page {
    items: Vec<Item>,
    total: usize,
}

/// One look at a manager.
struct Look {
    /// The workloads that are unknown; all others are known.
    unknown: Vec<Item>,
    /// Some workloads.
    some: Page,
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
    /// Values that were held against the truth.
    pub(crate) values: usize,
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
    _thread: OwnRuntime,
}

impl Watching {
    /// Begins to look at these managers' REST APIs; workload N is called `workload-N`.
    pub(crate) fn start(apis: &[String], workloads: usize) -> Result<Self> {
        let seen = Seen {
            watched: vec![vec![Watched::default(); workloads]; apis.len()],
            excused: vec![false; apis.len()],
            findings: Findings::default(),
        };
        let thread = OwnRuntime::new("watching", 1)?;
        let (seen, stop, tasks) = (Arc::new(Mutex::new(seen)), CancellationToken::new(), TaskTracker::new());
        for (manager, api) in apis.iter().enumerate() {
            let (seen, stop, api) = (seen.clone(), stop.clone(), api.clone());
            thread.spawn(tasks.track_future(async move {
                stop.run_until_cancelled(watch(manager, &api, workloads, &seen)).await;
            }));
        }
        Ok(Self { seen, stop, tasks, _thread: thread })
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
        let look = match tokio::time::timeout(PATIENCE, look(&mut connection, api, workloads, offset)).await {
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
        match look {
            Ok(look) => {
                seen.take(manager, &look, now);
                offset = if offset + PAGE < workloads { offset + PAGE } else { 0 };
            }
            Err(error) => {
                connection = None;
                seen.findings.wrong.push(format!("manager {manager} does not answer: {error:#}"));
            }
        }
    }
}

async fn look(connection: &mut Option<Connection>, api: &str, workloads: usize, offset: usize) -> Result<Look> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(Connection::open(api).await?),
    };
    let mut page = async |which: String| -> Result<Page> {
        let reply = connection.get(api, &format!("/api/v1/workloads?{which}")).await?;
        serde_json::from_str(&reply.body).with_context(|| format!("{}: {:.200}", reply.status, reply.body))
    };
    if workloads <= ALL_VALUES_UP_TO {
        let mut some = page(format!("limit={ALL}")).await?;
        let (known, unknown) = some.items.into_iter().partition(|item| item.told.is_some());
        some.items = known;
        return Ok(Look { unknown, some });
    }
    let unknown = page(format!("known=false&limit={ALL}")).await?.items;
    Ok(Look { unknown, some: page(format!("limit={PAGE}&offset={offset}")).await? })
}

impl Seen {
    /// Takes a look that has come now.
    fn take(&mut self, manager: usize, look: &Look, now: Instant) {
        let workloads = self.watched[manager].len();
        let mut known = vec![true; workloads];
        if look.some.total != workloads {
            // It has not read what there is yet, and knows nothing of the others.
            known.fill(false);
            for workload in 0..workloads {
                self.unknown(manager, workload, &format!("the manager knows {} workloads", look.some.total));
            }
        }
        for item in &look.unknown {
            let Some(workload) = self.number(item) else { continue };
            known[workload] = false;
            self.unknown(manager, workload, item.unknown_reason.as_deref().unwrap_or_default());
        }
        for item in look.some.items.iter() {
            let Some(workload) = self.number(item) else { continue };
            match &item.told {
                // The first value since it counts may be of a window that has not filled.
                Some(told) if known[workload] && self.watched[manager][workload].told.is_some() => {
                    self.judge(manager, workload, told);
                }
                Some(_) => {}
                None => {
                    known[workload] = false;
                    self.unknown(manager, workload, item.unknown_reason.as_deref().unwrap_or_default());
                }
            }
        }
        for workload in (0..workloads).filter(|workload| known[*workload]) {
            self.known(manager, workload, now);
        }
    }

    fn number(&mut self, item: &Item) -> Option<usize> {
        let number = item.name.strip_prefix("workload-").and_then(|number| number.parse::<usize>().ok());
        let number = number.filter(|number| self.watched.first().is_some_and(|all| *number < all.len()));
        if number.is_none() {
            self.findings.wrong.push(format!("nobody knows {}", item.name));
        }
        number
    }

    fn unknown(&mut self, manager: usize, workload: usize, reason: &str) {
        let watched = &mut self.watched[manager][workload];
        // Before its first value there is none to miss.
        if watched.told.is_some() && watched.missing.is_none() {
            watched.missing = Some(reason.to_owned());
            self.findings.missing += 1;
        }
    }

    fn known(&mut self, manager: usize, workload: usize, now: Instant) {
        let watched = &mut self.watched[manager][workload];
        if let (Some(before), Some(said)) = (watched.told.replace(now), watched.missing.take())
            && now - before > self.findings.gap
        {
            self.findings.gap = now - before;
            self.findings.gap_of = format!("workload {workload} at manager {manager}: {said}");
        }
    }

    fn judge(&mut self, manager: usize, workload: usize, told: &Told) {
        self.findings.values += 1;
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
