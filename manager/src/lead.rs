//! What the leader does: creates topics, plans, commits the plan, deletes topics that nobody needs any more.

mod topics;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use plimsoll_scheduler::plan::{AssignedTopic, Plan};
use plimsoll_scheduler::policy::Policy;
use plimsoll_scheduler::solve::{CollectorInfo, CollectorState, Problem, TopicLoad, solve};
use plimsoll_scheduler::store::{Campaign, Leadership, Member, Store, StoreError, Stored, Term};
use plimsoll_wire::log::{EventLog, Topic};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::board::Board;
use crate::catalogue::Catalogue;
use crate::metrics::ControlMetrics;
use topics::TopicLife;

/// A collector that says nothing for this long is lost: its topics go to others at once.
const LOST_AFTER: Duration = Duration::from_secs(5);
/// Between two plans at most: loads shift, silence grows without an event.
const PLAN_EVERY: Duration = Duration::from_millis(500);
/// Between two plans at least: events come in swarms.
const PLAN_PAUSE: Duration = Duration::from_millis(50);
/// An idle topic weighs this, in frames a second: reading it costs something too.
const IDLE_WEIGHT: f64 = 0.1;

/// Everything the leader needs.
pub struct Leader {
    pub catalogue: Arc<ArcSwap<Catalogue>>,
    pub board: Arc<Board>,
    pub store: Arc<dyn Store>,
    pub log: Arc<dyn EventLog>,
    pub campaign: Campaign,
    pub max_per_host: u32,
    pub topic_grace: Duration,
    pub metrics: Arc<ControlMetrics>,
    pub shutdown: CancellationToken,
}

/// Waits to lead, leads, and hands over at shutdown.
pub async fn run(leader: Leader) {
    let mut leadership = leader.campaign.leadership();
    loop {
        let now = leadership.borrow_and_update().clone();
        leader.metrics.leader.set(i64::from(matches!(now, Leadership::Leader(_))));
        tokio::select! {
            () = leader.shutdown.cancelled() => break,
            changed = leadership.changed() => if changed.is_err() { break },
            () = lead(&leader, &now) => {}
        }
    }
    leader.metrics.leader.set(0);
    leader.campaign.resign().await;
}

/// Plans for as long as the term lasts; a follower only waits.
async fn lead(leader: &Leader, now: &Leadership) {
    let Leadership::Leader(term) = now else {
        return std::future::pending().await;
    };
    info!("this manager leads now");
    let topic_life = TopicLife::new(leader.topic_grace);
    tokio::join!(plan_loop(leader, term, &topic_life), topics::keep(leader, &topic_life));
}

async fn plan_loop(leader: &Leader, term: &Term, topic_life: &TopicLife) {
    let members = leader.store.watch_members();
    let mut stored: Option<Stored> = None;
    let mut trouble = false;
    let began = Instant::now();
    loop {
        let current = match stored.take() {
            Some(stored) => Ok(stored),
            None => leader.store.load().await,
        };
        let outcome = match current {
            Ok(current) => {
                let registered = members.borrow().clone();
                if began.elapsed() < LOST_AFTER && !everyone_heard(leader, &registered, &current.plan) {
                    stored = Some(current);
                    tokio::time::sleep(PLAN_PAUSE).await;
                    continue;
                }
                plan_once(leader, term, current, &registered, topic_life).await
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
        tokio::time::sleep(PLAN_PAUSE).await;
        let _ = tokio::time::timeout(PLAN_EVERY, leader.board.changed.notified()).await;
    }
}

/// Makes a plan and commits it where it differs.
async fn plan_once(
    leader: &Leader,
    term: &Term,
    current: Stored,
    members: &BTreeMap<String, Member>,
    topic_life: &TopicLife,
) -> Result<Stored, StoreError> {
    let problem = problem(leader, members, topic_life, &current.plan);
    let started = Instant::now();
    let solution = solve(&problem, &current.plan);
    leader.metrics.plan_seconds.observe(started.elapsed().as_secs_f64());
    leader.metrics.unassigned.set(i64::try_from(solution.unassigned.len()).unwrap_or(i64::MAX));
    if solution.plan.generation == current.plan.generation {
        leader.metrics.generation.set(i64::try_from(current.plan.generation).unwrap_or(i64::MAX));
        return Ok(current);
    }
    let revision = leader.store.commit(&solution.plan, current.revision, term).await?;
    for planned in &solution.moves {
        leader.metrics.moves.get_or_create(&[("reason", planned.reason.to_string())]).inc();
        info!(
            topic = %planned.topic,
            from = planned.from.as_deref().unwrap_or("-"),
            to = planned.to.as_deref().unwrap_or("-"),
            reason = %planned.reason,
            generation = solution.plan.generation,
            "topic moves"
        );
    }
    leader.metrics.generation.set(i64::try_from(solution.plan.generation).unwrap_or(i64::MAX));
    Ok(Stored { plan: solution.plan, revision })
}

/// What there is to plan, as this manager sees it now.
fn problem(leader: &Leader, members: &BTreeMap<String, Member>, topic_life: &TopicLife, previous: &Plan) -> Problem {
    let catalogue = leader.catalogue.load();
    let mut topics: Vec<TopicLoad> = catalogue
        .entries()
        .iter()
        .map(|entry| {
            let spec = AssignedTopic {
                topic: entry.topic.to_string(),
                concurrency_window: entry.workload.scaling.concurrency_window,
                rate_window: entry.workload.scaling.rate_window,
            };
            let load = IDLE_WEIGHT + leader.board.cell(&entry.topic).frames_per_second();
            TopicLoad::new(spec, entry.workload.provider.clone(), load)
        })
        .collect();
    // A workload that has gone is read on for its grace period: it may come back.
    topics.extend(topic_life.retired(&catalogue, previous));
    let collectors = collectors(leader, members, previous);
    Problem {
        topics,
        collectors,
        policy: Policy { max_per_host: leader.max_per_host, ..Policy::default() },
        rebalance: false,
    }
}

fn collectors(leader: &Leader, members: &BTreeMap<String, Member>, previous: &Plan) -> Vec<CollectorInfo> {
    let mut warm = warm_incoming(leader, previous);
    let mut seen = BTreeMap::<&'static str, i64>::new();
    let mut collectors = Vec::new();
    let heard = leader.board.links().into_iter().map(|link| link.collector.to_string());
    let known: BTreeSet<String> = heard.chain(members.keys().cloned()).collect();
    for id in known {
        let link = leader.board.link(&id);
        let (name, state) = if link.silent_for() >= LOST_AFTER {
            ("lost", CollectorState::Lost)
        } else if link.ever_heard() {
            ("ready", CollectorState::Ready)
        } else {
            // Not heard yet: it may be unreachable, so it gets nothing; but a new leader must not take away what it has either.
            ("joining", CollectorState::Joining)
        };
        *seen.entry(name).or_default() += 1;
        let provider = members.get(&id).map_or_else(String::new, |member| member.provider.clone());
        let warm = warm.remove(&id).unwrap_or_default();
        collectors.push(CollectorInfo { id, provider, state, warm });
    }
    for state in ["ready", "joining", "lost"] {
        leader
            .metrics
            .collectors
            .get_or_create(&[("state", state.to_owned())])
            .set(seen.get(state).copied().unwrap_or(0));
    }
    collectors
}

/// Whether everyone has been heard who is registered or has a topic.
///
/// A new leader waits for that a while: what is well where it is must not be taken away because one has come a moment before the others.
fn everyone_heard(leader: &Leader, members: &BTreeMap<String, Member>, plan: &Plan) -> bool {
    let links = leader.board.links();
    let heard: BTreeSet<&str> = links.iter().filter(|link| link.ever_heard()).map(|link| &*link.collector).collect();
    let readers = plan.topics.values().flat_map(|placed| placed.placement.readers());
    members.keys().chain(readers).all(|id| heard.contains(id.as_str()))
}

/// Which topics on the move have been replayed by the collector that they move to.
fn warm_incoming(leader: &Leader, previous: &Plan) -> BTreeMap<String, BTreeSet<String>> {
    let mut warm = BTreeMap::<String, BTreeSet<String>>::new();
    for (topic, placed) in &previous.topics {
        let Some(incoming) = &placed.placement.incoming else { continue };
        let cell = leader.board.cell(&Topic::from(topic.as_str()));
        // Warm once is not well now: while the owner answers well, only one that does too may take over.
        let owner_is_well = placed.placement.owner.as_deref().is_some_and(|owner| cell.good_on(owner, 0));
        if cell.good_on(incoming, placed.since) || (!owner_is_well && cell.warm_on(incoming)) {
            warm.entry(incoming.clone()).or_default().insert(topic.clone());
        }
    }
    warm
}
