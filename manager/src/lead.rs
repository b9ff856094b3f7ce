//! What the leader does: creates topics, plans, commits the plan, deletes topics that nobody needs any more.
//!
//! * [`health`]: which collectors are fit to read; pure. [`awake`]: whether this manager itself has slept.
//! * [`inputs`]: what there is to plan; [`planning`]: the loop that plans and commits.
//! * [`scaling`]: how many collectors there are.
//! * [`decisions`]: what was decided, for whoever asks why; [`arrivals`]: how long until each move was over.
//! * [`wishes`]: what operators have asked for. [`topics`]: the life of topics in the log.

mod arrivals;
pub mod awake;
pub mod decisions;
pub mod health;
pub mod inputs;
mod planning;
mod scaling;
pub mod topics;
mod wishes;

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::FutureExt as _;
use parking_lot::Mutex;
use plimsoll_scheduler::plan::CollectorId;
use plimsoll_scheduler::policy::Policy;
use plimsoll_scheduler::scale::Settings;
use plimsoll_scheduler::store::{Campaign, Leadership, Store, Term};
use plimsoll_wire::log::EventLog;
use plimsoll_wire::resources::Workload;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::board::Board;
use crate::catalogue::Catalogue;
use crate::fleet::Fleet;
use crate::metrics::ControlMetrics;
use crate::operator::Operator;
use awake::Awake;
use decisions::Decisions;
use health::Health;
use planning::Planning;
use scaling::Scaling;
use topics::TopicLife;
use wishes::Wishes;

/// Nobody leads, as far as is known.
pub const NOBODY: Leadership = Leadership::Follower { leader: None };

/// Before a manager stands again whose candidacy has ended by a fault.
const STAND_AGAIN: Duration = Duration::from_secs(1);

/// Everything the leader needs.
pub struct Leader {
    pub catalogue: Arc<ArcSwap<Catalogue>>,
    pub board: Arc<Board>,
    pub store: Arc<dyn Store>,
    pub log: Arc<dyn EventLog>,
    /// What others are told of this manager when it leads.
    pub name: String,
    /// Who leads, for whoever asks.
    pub leadership: watch::Sender<Leadership>,
    /// The policy where operators have asked for no other.
    pub policy: Policy,
    /// How eagerly the fleet is scaled.
    pub scale: Settings,
    pub fleet: Arc<dyn Fleet>,
    pub topic_grace: Duration,
    pub metrics: Arc<ControlMetrics>,
    pub decisions: Arc<Decisions>,
    /// Those that leave because the fleet gets smaller, for whoever shows the collectors.
    pub retiring: Arc<ArcSwap<BTreeSet<CollectorId>>>,
    /// What this manager has seen of the collectors before it led.
    pub health: Arc<Mutex<Health>>,
    /// Whether the workloads are known. A plan without them would take every topic away, so who does not know them does not stand.
    pub known: watch::Receiver<bool>,
    pub workloads: watch::Receiver<Arc<Vec<Workload>>>,
    pub operator: Option<Operator>,
    pub shutdown: CancellationToken,
}

/// Waits to lead, leads, and hands over at shutdown.
pub async fn run(leader: Leader) {
    while let Some(campaign) = stand(&leader).await {
        let mut leadership = campaign.leadership();
        let fault = loop {
            let now = leadership.borrow_and_update().clone();
            tell(&leader, now.clone());
            tokio::select! {
                () = leader.shutdown.cancelled() => break None,
                changed = leadership.changed() => if changed.is_err() {
                    break Some("the task that stands for leader has ended by itself");
                },
                // What the term had is gone with it, and what it shares with others is whole between any two steps.
                led = AssertUnwindSafe(lead(&leader, &now)).catch_unwind() => if led.is_err() {
                    break Some("the leader's work has panicked");
                },
            }
        };
        tell(&leader, NOBODY);
        campaign.resign().await;
        if let Some(fault) = fault {
            error!("{fault}; this manager stands down, and stands anew");
            let _or_stopped = leader.shutdown.run_until_cancelled(tokio::time::sleep(STAND_AGAIN)).await;
        }
    }
}

/// Tells who leads.
fn tell(leader: &Leader, now: Leadership) {
    let leads = matches!(now, Leadership::Leader(_));
    leader.metrics.leader.set(i64::from(leads));
    if !leads {
        leader.metrics.leave_to_the_leader();
    }
    leader.leadership.send_replace(now);
}

/// Stands for leader once the workloads are known: before, a lead would keep those from leading who know them. None at shutdown.
async fn stand(leader: &Leader) -> Option<Campaign> {
    if leader.shutdown.is_cancelled() {
        return None;
    }
    let mut known = leader.known.clone();
    let until_known = async {
        if known.wait_for(|known| *known).await.is_err() {
            // Nobody will tell any more: the manager is stopping.
            std::future::pending::<()>().await;
        }
    };
    leader.shutdown.run_until_cancelled(until_known).await?;
    Some(leader.store.campaign(&leader.name))
}

/// Plans for as long as the term lasts; a follower only looks on.
async fn lead(leader: &Leader, now: &Leadership) {
    let Leadership::Leader(term) = now else {
        return follow_the_plan(leader).await;
    };
    info!("this manager leads now");
    follow_through(leader, term).await;
}

/// Tells the generation of the plan that somebody else makes.
async fn follow_the_plan(leader: &Leader) {
    let mut plan = leader.store.watch_plan();
    loop {
        let generation = plan.borrow_and_update().plan.generation;
        leader.metrics.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
        if plan.changed().await.is_err() {
            // The store is closed: nothing changes any more.
            return std::future::pending().await;
        }
    }
}

async fn follow_through(leader: &Leader, term: &Term) {
    let topic_life = Arc::new(TopicLife::new(leader.topic_grace));
    let awake = Awake::new(tokio::time::Instant::now());
    let wishes = Wishes::load(&leader.store).await;
    let scaling = Arc::new(Scaling::new(leader.fleet.clone(), leader.scale));
    let planning = Planning::new(leader, topic_life.clone(), &awake, &wishes, scaling.clone());
    tokio::join!(
        planning.run(term),
        scaling.carry_out(leader),
        topics::keep(leader, &topic_life, &wishes, &awake),
        operate(leader),
        awake.keep_looking()
    );
}

/// Keeps the cluster's resources right, where they come from a cluster.
async fn operate(leader: &Leader) {
    if let Some(operator) = &leader.operator {
        operator.run(leader.workloads.clone()).await;
    }
}

#[cfg(test)]
mod tests;
