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
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use plimsoll_scheduler::plan::CollectorId;
use plimsoll_scheduler::policy::Policy;
use plimsoll_scheduler::scale::Settings;
use plimsoll_scheduler::store::{Campaign, Leadership, Store, Term};
use plimsoll_wire::log::EventLog;
use plimsoll_wire::resources::Workload;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

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
    let Some(campaign) = stand(&leader).await else { return };
    let mut leadership = campaign.leadership();
    loop {
        let now = leadership.borrow_and_update().clone();
        tell(&leader, now.clone());
        tokio::select! {
            () = leader.shutdown.cancelled() => break,
            changed = leadership.changed() => if changed.is_err() { break },
            () = lead(&leader, &now) => {}
        }
    }
    tell(&leader, NOBODY);
    campaign.resign().await;
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

/// Plans for as long as the term lasts; a follower only waits.
async fn lead(leader: &Leader, now: &Leadership) {
    let Leadership::Leader(term) = now else {
        return std::future::pending().await;
    };
    info!("this manager leads now");
    follow_through(leader, term).await;
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
        topics::keep(leader, &topic_life, &wishes),
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
mod tests {
    use plimsoll_scheduler::store::MemoryStore;
    use plimsoll_wire::log::memory::MemoryLog;
    use plimsoll_wire::resources::{Backend, Port};
    use plimsoll_wire::topic::WorkloadId;
    use prometheus_client::registry::Registry;
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::fleet::Given;
    use crate::metrics::provider;

    /// The workloads of these names, in the namespace `default`.
    pub(super) fn workloads(names: &[&str]) -> Vec<Workload> {
        let workload = |name: &&str| {
            let target = Backend { service: "web".to_owned(), port: Port::Number(80) };
            Workload::new(WorkloadId::new("default", *name), target)
        };
        names.iter().map(workload).collect()
    }

    /// A leader that knows the workloads of these names, on a store of its own.
    pub(super) fn leader(names: &[&str], log: Arc<dyn EventLog>) -> Leader {
        let all = workloads(names);
        Leader {
            catalogue: Arc::new(ArcSwap::from_pointee(Catalogue::new(&all))),
            board: Arc::new(Board::new(Duration::from_secs(30))),
            store: Arc::new(MemoryStore::new()),
            log,
            name: "m".to_owned(),
            leadership: watch::channel(NOBODY).0,
            policy: Policy::default(),
            scale: Settings::default(),
            fleet: Arc::new(Given),
            topic_grace: Duration::from_secs(600),
            metrics: Arc::new(ControlMetrics::register(&mut Registry::default())),
            decisions: Arc::default(),
            retiring: Arc::default(),
            health: Arc::default(),
            known: watch::channel(true).1,
            workloads: watch::channel(Arc::new(all)).1,
            operator: None,
            shutdown: CancellationToken::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_leads_no_more_tells_no_more_what_it_saw_as_the_leader() {
        let leader = leader(&["web"], Arc::new(MemoryLog::new()));
        let (metrics, shutdown) = (leader.metrics.clone(), leader.shutdown.clone());
        let told = || {
            let wanted = metrics.wanted_collectors.get_or_create(&provider("")).get();
            (metrics.leader.get(), metrics.unassigned.get(), wanted)
        };
        let leading = tokio::spawn(run(leader));
        let until_planned = async {
            while told() != (1, 1, 1) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(60), until_planned).await.expect("it sees that nobody reads the topic");
        shutdown.cancel();
        leading.await.expect("it ends");
        assert_eq!(told(), (0, 0, 0));
    }
}
