//! The loop that looks, plans, and commits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use plimsoll_scheduler::directives::Directives;
use plimsoll_scheduler::plan::{CollectorId, Plan};
use plimsoll_scheduler::policy::PolicyKind;
use plimsoll_scheduler::scale::Memory;
use plimsoll_scheduler::solve::{Solution, solve};
use plimsoll_scheduler::store::{Member, StoreError, Stored, Term};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use super::Leader;
use super::arrivals::Arrivals;
use super::awake::Awake;
use super::decisions::What;
use super::health::{Health, LOST_AFTER, State, Verdict};
use super::inputs::{self, Inputs, Moving};
use super::scaling::Scaling;
use super::topics::TopicLife;
use super::wishes::Wishes;
use crate::metrics;

/// Between two looks at most: silence grows without an event.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Between two looks at least: events come in swarms.
const PAUSE: Duration = Duration::from_millis(50);
/// Between two plans that follow from nothing but topics that have become warm. They become so one after the other, and each plan is
/// written whole for every collector that it concerns; who waits to be released answers meanwhile.
const HAND_OVERS_EVERY: Duration = Duration::from_millis(250);
/// Between two plans that follow from nothing but shifted loads.
const LOADS_EVERY: Duration = Duration::from_secs(5);
/// More moves than this in one plan are not worth a line each.
const LINES: usize = 20;

/// What the leader knows from one plan to the next.
pub struct Planning<'a> {
    leader: &'a Leader,
    topic_life: Arc<TopicLife>,
    awake: &'a Awake,
    wishes: &'a Wishes,
    scaling: Arc<Scaling>,
    /// What scaling remembers.
    memory: Memory,
    members: watch::Receiver<Arc<BTreeMap<CollectorId, Member>>>,
    health: Health,
    verdicts: BTreeMap<CollectorId, Verdict>,
    arrivals: Arrivals,
    rebalances: Rebalances,
    /// The topics on the move in the plan in force.
    moving: Vec<Moving>,
    /// What the last plan was made of, and when.
    planned: Option<(Inputs, Instant)>,
}

impl<'a> Planning<'a> {
    pub fn new(
        leader: &'a Leader,
        topic_life: Arc<TopicLife>,
        awake: &'a Awake,
        wishes: &'a Wishes,
        scaling: Arc<Scaling>,
    ) -> Self {
        Self {
            members: leader.store.watch_members(),
            leader,
            topic_life,
            awake,
            wishes,
            scaling,
            memory: Memory::default(),
            // A collector that flaps does not begin anew because another manager leads.
            health: leader.health.lock().clone(),
            verdicts: BTreeMap::new(),
            arrivals: Arrivals::default(),
            rebalances: Rebalances { done: wishes.now().directives.rebalances },
            moving: Vec::new(),
            planned: None,
        }
    }

    /// Plans for as long as it is polled.
    pub async fn run(mut self, term: &Term) {
        let leader = self.leader;
        let mut stored: Option<Stored> = None;
        let mut trouble = false;
        let began = Instant::now();
        loop {
            let current = match stored.take() {
                Some(stored) => Ok(stored),
                None => self.load().await,
            };
            let outcome = match current {
                Ok(current) => {
                    let members = self.members.borrow().clone();
                    if began.elapsed() < LOST_AFTER && !inputs::everyone_heard(&leader.board, &members, &current.plan) {
                        stored = Some(current);
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                    self.look(term, current, &members).await
                }
                Err(error) => Err(error),
            };
            match outcome {
                Ok(current) => {
                    if trouble {
                        info!("the store answers again");
                    }
                    trouble = false;
                    stored = Some(current);
                }
                // Whoever leads now has written: the election will tell.
                Err(StoreError::NotLeader { .. }) => info!("another manager leads now; nothing was written"),
                Err(StoreError::Conflict) => {}
                Err(error) => {
                    leader.metrics.store_errors.inc();
                    if !trouble {
                        warn!("can't write the plan; the one in force stays: {error}");
                    }
                    trouble = true;
                }
            }
            tokio::time::sleep(PAUSE).await;
            let _ = tokio::time::timeout(LOOK_EVERY, leader.board.changed.notified()).await;
        }
    }

    async fn load(&mut self) -> Result<Stored, StoreError> {
        let stored = self.leader.store.load().await?;
        let plan = stored.plan.clone();
        self.moving = off_the_worker(move || inputs::moving(&plan)).await;
        // Whatever was planned was not on top of this.
        self.planned = None;
        Ok(stored)
    }

    /// Looks at what there is, and plans where anything has changed.
    async fn look(
        &mut self,
        term: &Term,
        current: Stored,
        members: &BTreeMap<CollectorId, Member>,
    ) -> Result<Stored, StoreError> {
        let now = Instant::now();
        let wishes = self.wishes.now();
        let policy = wishes.directives.policy.unwrap_or(self.leader.policy);
        self.judge(now, members, &wishes.directives, policy.kind, current.plan.generation);
        self.tell_arrivals(now, &current.plan);
        let warm = inputs::warm(&self.leader.board, &self.moving);
        let rebalances_asked = wishes.directives.rebalances;
        let inputs = Inputs {
            catalogue: self.leader.catalogue.load_full(),
            wishes,
            collectors: inputs::collectors(&self.leader.board, &self.verdicts, members, warm),
            policy,
            rebalance: self.rebalances.wanted(rebalances_asked),
            revision: current.revision,
            retired: self.topic_life.version(),
        };
        let known = |(planned, at): &(Inputs, Instant)| {
            let since = now - *at;
            (since < LOADS_EVERY && planned.same_as(&inputs))
                || (since < HAND_OVERS_EVERY && planned.same_but_for_warmth(&inputs))
        };
        if self.planned.as_ref().is_some_and(known) {
            return Ok(current);
        }
        self.plan(term, current, inputs).await
    }

    /// Makes a plan and commits it where it differs.
    async fn plan(&mut self, term: &Term, current: Stored, inputs: Inputs) -> Result<Stored, StoreError> {
        let metrics = &self.leader.metrics;
        let (board, topic_life, scaling) = (self.leader.board.clone(), self.topic_life.clone(), self.scaling.clone());
        let (made_of, plan, mut memory) = (inputs.clone(), current.plan.clone(), std::mem::take(&mut self.memory));
        let leaving = self.verdicts.iter().filter(|(_, verdict)| verdict.state == State::Leaving);
        let stopping: BTreeSet<CollectorId> = leaving.map(|(id, _)| id.clone()).collect();
        let (solution, took, decided, memory) = off_the_worker(move || {
            let problem = inputs.problem(&board, &topic_life, &plan);
            let started = Instant::now();
            let solution = solve(&problem, &plan);
            let took = started.elapsed();
            let decided = scaling.decide(&problem, &solution, &stopping, &mut memory);
            (solution, took, decided, memory)
        })
        .await;
        self.memory = memory;
        // Another policy has other providers.
        metrics.wanted_collectors.clear();
        for (provider, collectors) in decided.collectors() {
            metrics.wanted_collectors.get_or_create(&metrics::provider(provider)).set(gauge(collectors));
        }
        metrics.plan_seconds.observe(took.as_secs_f64());
        metrics.unassigned.set(gauge(solution.unassigned.len()));
        if solution.plan.generation == current.plan.generation {
            if self.moving.is_empty() {
                self.rebalances.done(made_of.wishes.directives.rebalances);
            }
            metrics.generation.set(i64::try_from(current.plan.generation).unwrap_or(i64::MAX));
            self.planned = Some((made_of, Instant::now()));
            self.scaling.ask(decided);
            return Ok(current);
        }
        let revision = self.leader.store.commit(&solution.plan, current.revision, term).await?;
        self.scaling.ask(decided);
        let plan = solution.plan.clone();
        self.moving = off_the_worker(move || inputs::moving(&plan)).await;
        // The next plan on top of this one is the same, until something changes.
        self.planned = Some((Inputs { revision, ..made_of }, Instant::now()));
        self.tell_moves(&solution);
        Ok(Stored { plan: solution.plan, revision })
    }

    fn tell_moves(&mut self, solution: &Solution) {
        let (metrics, generation) = (&self.leader.metrics, solution.plan.generation);
        metrics.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
        for (number, planned) in solution.moves.iter().enumerate() {
            metrics.moves.get_or_create(&metrics::reason(planned.reason)).inc();
            if number < LINES {
                info!(
                    topic = %planned.topic,
                    from = planned.from.as_deref().unwrap_or("-"),
                    to = planned.to.as_deref().unwrap_or("-"),
                    reason = %planned.reason,
                    generation,
                    "topic moves"
                );
            }
        }
        if solution.moves.len() > LINES {
            info!(generation, moves = solution.moves.len(), "more topics move; /api/v1/events names them all");
        }
        let because = |topic: &str| solution.plan.topics.get(topic).map_or_else(String::new, |at| at.reason.clone());
        let moves = solution.moves.iter().map(|planned| What::Move {
            because: because(&planned.topic),
            topic: planned.topic.clone(),
            from: planned.from.clone(),
            to: planned.to.clone(),
            reason: planned.reason.to_string(),
            forced: planned.forced,
        });
        self.leader.decisions.record(generation, moves);
        self.arrivals.decided(&solution.moves, generation, Instant::now());
    }

    fn tell_arrivals(&mut self, now: Instant, plan: &Plan) {
        let arrived = self.arrivals.arrived(plan, &self.leader.board, now);
        for (_, took) in &arrived {
            self.leader.metrics.arrival_seconds.observe(took.as_secs_f64());
        }
        self.leader.decisions.record(plan.generation, arrived.into_iter().map(|(what, _)| what));
    }

    /// Judges the collectors, and tells who is seen in another state than before.
    fn judge(
        &mut self,
        now: Instant,
        members: &BTreeMap<CollectorId, Member>,
        wishes: &Directives,
        kind: PolicyKind,
        generation: u64,
    ) {
        let retiring = self.scaling.retiring();
        if **self.leader.retiring.load() != retiring {
            self.leader.retiring.store(Arc::new(retiring.clone()));
        }
        let seen = inputs::seen(&self.leader.board, members, wishes, kind, &retiring);
        let verdicts = self.health.judge(now, self.awake.since(now), &seen);
        for state in State::ALL {
            let count = verdicts.values().filter(|verdict| verdict.state == state).count();
            self.leader.metrics.collectors.get_or_create(&metrics::state(state.name())).set(gauge(count));
        }
        let before = std::mem::replace(&mut self.verdicts, verdicts);
        let mut changes = Vec::new();
        for (id, verdict) in &self.verdicts {
            let was = before.get(id).map(|before| before.state);
            if was == Some(verdict.state) {
                continue;
            }
            let (state, because) = (verdict.state.name(), &verdict.because);
            info!(collector = %id, state, was = was.map_or("-", State::name), "collector: {because}");
            changes.push(What::Collector {
                collector: id.clone(),
                from: was.map(|was| was.name().to_owned()),
                to: Some(state.to_owned()),
                because: because.clone(),
            });
        }
        for (id, verdict) in before.iter().filter(|(id, _)| !self.verdicts.contains_key(*id)) {
            changes.push(What::Collector {
                collector: id.clone(),
                from: Some(verdict.state.name().to_owned()),
                to: None,
                because: "it is neither registered nor heard any more".to_owned(),
            });
        }
        self.leader.decisions.record(generation, changes);
    }
}

/// Rebalances that were asked for, and those that are over. One that was asked for before the term began has been begun by the leader
/// before; what is still uneven then is evened out by the next one.
#[derive(Debug)]
struct Rebalances {
    done: u64,
}

impl Rebalances {
    /// Whether one is to be done. The count begins anew where the directives have been lost.
    fn wanted(&mut self, asked: u64) -> bool {
        self.done = self.done.min(asked);
        asked > self.done
    }

    /// The plan begins no move any more, and has none in flight.
    fn done(&mut self, asked: u64) {
        self.done = asked;
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Runs what takes long on a thread for that; its panic is ours.
async fn off_the_worker<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime ends before the work has begun: so do we.
            Err(_) => std::future::pending().await,
        },
    }
}
