//! Plans and waits for tests.

use std::time::Duration;

use plimsoll_scheduler::plan::{AssignedTopic, Placed, Placement, Plan};
use plimsoll_scheduler::store::{Campaign, Leadership, Term};
use tokio::sync::watch;
use tokio::time::timeout;

/// Nothing here should take this long; the machine may be busy.
pub const LIMIT: Duration = Duration::from_secs(20);

/// A plan in which everything says its generation: `topics` topics over `collectors` collectors, each moving on with every generation.
pub fn plan(generation: u64, collectors: u64, topics: u64) -> Plan {
    let placed = (0..topics).map(|topic| Placed {
        spec: AssignedTopic {
            topic: format!("plimsoll.shop.topic-{topic:06}"),
            concurrency_window: Duration::from_secs(generation),
            rate_window: Duration::from_secs(60),
        },
        provider: "default".to_owned(),
        placement: Placement {
            owner: Some(collector((topic + generation) % collectors)),
            incoming: (topic % 10 == 0 && collectors > 1).then(|| collector((topic + generation + 1) % collectors)),
        },
        alone: topic % 7 == 0,
        since: generation,
        reason: "a sentence for people that says why the topic is where it is".to_owned(),
    });
    Plan { generation, topics: placed.collect() }
}

pub fn collector(index: u64) -> String {
    format!("collector-{index}")
}

/// Waits until the watched value is as it should be, and gives it.
pub async fn until<T: Clone + std::fmt::Debug>(
    watched: &mut watch::Receiver<T>,
    what: &str,
    wanted: impl FnMut(&T) -> bool,
) -> T {
    let found = timeout(LIMIT, watched.wait_for(wanted)).await.map(|found| found.unwrap().clone());
    match found {
        Ok(found) => found,
        Err(_) => panic!("{what}: not within {LIMIT:?}; it is {:?}", *watched.borrow()),
    }
}

/// Waits until this candidate leads.
pub async fn leads(campaign: &Campaign) -> Term {
    let leading = until(&mut campaign.leadership(), "leading", |now| matches!(now, Leadership::Leader(_))).await;
    let Leadership::Leader(term) = leading else { unreachable!("it was waited for") };
    term
}
