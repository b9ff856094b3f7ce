//! Carries out how many collectors are wanted: asks the fleet for them, again until it has taken it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use plimsoll_scheduler::plan::CollectorId;
use plimsoll_scheduler::scale::{self, Memory, Scaled, Settings};
use plimsoll_scheduler::solve::{CollectorState, Problem, Solution};
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{info, warn};

use super::Leader;
use super::decisions::What;
use crate::fleet::{Fleet, FleetError, Sizes};

/// Between two looks at the fleet, which others may scale too.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// After a failure of a new kind, and after the last one is over.
const RETRY: Duration = Duration::from_secs(1);

/// How many collectors are wanted, and how many are asked for.
#[derive(Debug)]
pub struct Scaling {
    fleet: Arc<dyn Fleet>,
    settings: Settings,
    began: Instant,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// As the fleet last told; none where it can't be scaled, or has not told yet.
    sizes: Option<Sizes>,
    wanted: BTreeMap<String, Wanted>,
    /// Those that leave because the fleet gets smaller.
    retiring: BTreeSet<CollectorId>,
}

#[derive(Debug, Clone, PartialEq)]
struct Wanted {
    collectors: usize,
    because: String,
}

/// What has been decided, and nobody has been asked for yet.
#[derive(Debug)]
#[must_use = "it is to be asked for once the plan that it goes with is in force"]
pub struct Decided {
    wanted: BTreeMap<String, Wanted>,
    retiring: BTreeSet<CollectorId>,
}

impl Decided {
    /// How many collectors are wanted, by provider.
    pub fn collectors(&self) -> impl Iterator<Item = (&String, usize)> {
        self.wanted.iter().map(|(provider, wanted)| (provider, wanted.collectors))
    }
}

impl Scaling {
    pub fn new(fleet: Arc<dyn Fleet>, settings: Settings) -> Self {
        Self { fleet, settings, began: Instant::now(), state: Mutex::default(), changed: Notify::new() }
    }

    /// Those that are to be emptied because the fleet gets smaller.
    pub fn retiring(&self) -> BTreeSet<CollectorId> {
        self.state.lock().retiring.clone()
    }

    /// Decides after a plan has been made; to be called off the async workers, since it looks at all topics. What is remembered stays with
    /// whoever plans; `stopping` are those that have said that they are about to stop.
    pub fn decide(
        &self,
        problem: &Problem,
        solution: &Solution,
        stopping: &BTreeSet<CollectorId>,
        memory: &mut Memory,
    ) -> Decided {
        let sizes = self.state.lock().sizes.clone();
        let Some(sizes) = sizes else {
            return Decided { wanted: self.advise(problem), retiring: BTreeSet::new() };
        };
        let seen = scale::Seen { problem, solution, sizes: &sizes, stopping, now: self.began.elapsed() };
        let decided = scale::scale(&seen, &self.settings, memory);
        let retiring = decided.values().flat_map(|scaled| scaled.drain.iter().cloned()).collect();
        let wanted = |scaled: Scaled| Wanted { collectors: scaled.collectors, because: scaled.why.to_string() };
        let wanted = decided.into_iter().map(|(provider, scaled)| (provider, wanted(scaled))).collect();
        Decided { wanted, retiring }
    }

    /// Has it carried out. The plan that it was decided with must be in force: a collector that is one too many may have topics until then.
    pub fn ask(&self, decided: Decided) {
        let mut state = self.state.lock();
        let State { sizes, wanted, retiring } = &mut *state;
        *retiring = decided.retiring;
        *wanted = decided.wanted;
        let differs = |sizes: &Sizes| wanted.iter().any(|(provider, one)| sizes.get(provider) != Some(&one.collectors));
        if sizes.as_ref().is_some_and(differs) {
            self.changed.notify_one();
        }
    }

    /// Says once when more are wanted than somebody else has started.
    fn advise(&self, problem: &Problem) -> BTreeMap<String, Wanted> {
        if self.fleet.kind() != "static" {
            return BTreeMap::new();
        }
        let needed = scale::needed(problem, &self.settings);
        let mut state = self.state.lock();
        for (provider, &collectors) in &needed {
            let there = problem.collectors.iter().filter(|info| info.state != CollectorState::Lost);
            let there = there.filter(|info| provider.is_empty() || info.provider == *provider).count();
            let because = format!("{there} of {collectors} collectors are there");
            let wanted = Wanted { collectors, because };
            if state.wanted.get(provider) != Some(&wanted) {
                if there < collectors {
                    let whose = if provider.is_empty() { "all alike" } else { provider };
                    warn!(
                        provider = whose,
                        wanted = collectors,
                        there,
                        "more collectors are wanted than there are: start some"
                    );
                }
                state.wanted.insert(provider.clone(), wanted);
            }
        }
        state.wanted.retain(|provider, _| needed.contains_key(provider));
        state.wanted.clone()
    }

    /// Asks the fleet for what is wanted, for as long as it is polled.
    pub async fn carry_out(&self, leader: &Leader) {
        let mut complained = BTreeSet::new();
        loop {
            let failures: BTreeSet<String> = self.once(leader).await.iter().map(ToString::to_string).collect();
            for news in failures.difference(&complained) {
                warn!("{news}; trying on");
            }
            // What has failed the same way before waits for somebody to mend it.
            let pause = if failures == complained { LOOK_EVERY } else { RETRY };
            complained = failures;
            let _ = tokio::time::timeout(pause, self.changed.notified()).await;
        }
    }

    /// Asks for what is wanted and not there. What can't be had of one provider's collectors keeps no other's from being had.
    async fn once(&self, leader: &Leader) -> Vec<FleetError> {
        let sizes = match self.fleet.sizes().await {
            Ok(Some(sizes)) => sizes,
            Ok(None) => return Vec::new(),
            Err(error) => return vec![error],
        };
        let mut failures = Vec::new();
        let wanted = self.state.lock().wanted.clone();
        let generation = leader.store.watch_plan().borrow().plan.generation;
        for (provider, Wanted { collectors, because }) in wanted {
            let before = sizes.get(&provider).copied().unwrap_or(0);
            if before == collectors {
                continue;
            }
            if let Err(error) = self.fleet.scale(&provider, collectors).await {
                failures.push(error);
                continue;
            }
            info!(provider, from = before, to = collectors, "the fleet is scaled: {because}");
            leader.decisions.record(generation, [What::Scale { provider, from: before, to: collectors, because }]);
        }
        let sizes = match self.fleet.sizes().await {
            Ok(sizes) => sizes,
            Err(error) => {
                failures.push(error);
                return failures;
            }
        };
        let first = std::mem::replace(&mut self.state.lock().sizes, sizes).is_none();
        if first {
            // What could not be decided before can be now.
            leader.board.changed.notify_one();
        }
        failures
    }
}
