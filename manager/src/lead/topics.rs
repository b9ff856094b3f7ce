//! The life of topics: created when a workload appears, deleted a grace period after it has gone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use parking_lot::Mutex;
use plimsoll_scheduler::plan::Plan;
use plimsoll_scheduler::solve::TopicLoad;
use plimsoll_wire::log::{LogError, Topic, TopicSpec};
use plimsoll_wire::topic;
use tokio::time::Instant;
use tracing::{info, warn};

use super::Leader;
use crate::catalogue::Catalogue;

/// Between two looks at what is to do.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// After a failure.
const RETRY: Duration = Duration::from_secs(1);
/// Topics created in one call.
const BATCH: usize = 500;
/// Topics deleted in one call: few, since a workload may come back meanwhile.
const DELETE_BATCH: usize = 100;

/// Which topics are retired, and since when.
#[derive(Debug)]
pub struct TopicLife {
    grace: Duration,
    retired: Mutex<BTreeMap<String, Retired>>,
}

#[derive(Debug)]
struct Retired {
    since: Instant,
    deleted: bool,
}

impl TopicLife {
    pub fn new(grace: Duration) -> Self {
        Self { grace, retired: Mutex::default() }
    }

    /// The topics of the previous plan whose workload has gone and whose grace period has not passed: they stay in the plan.
    ///
    /// The plan itself is the memory of them, so a new leader goes on where the old one was (its grace period begins anew).
    pub fn retired(&self, catalogue: &Catalogue, previous: &Plan) -> Vec<TopicLoad> {
        let mut retired = self.retired.lock();
        retired.retain(|topic, _| catalogue.of_topic(topic).is_none() && previous.topics.contains_key(topic));
        let mut kept = Vec::new();
        for (topic, placed) in &previous.topics {
            if catalogue.of_topic(topic).is_some() {
                continue;
            }
            let state =
                retired.entry(topic.clone()).or_insert_with(|| Retired { since: Instant::now(), deleted: false });
            if !state.deleted {
                kept.push(TopicLoad { spec: placed.spec.clone(), provider: placed.provider.clone(), load: 0.0 });
            }
        }
        kept
    }

    fn to_delete(&self) -> Vec<Topic> {
        let retired = self.retired.lock();
        retired
            .iter()
            .filter(|(_, state)| !state.deleted && state.since.elapsed() >= self.grace)
            .map(|(topic, _)| Topic::from(topic.as_str()))
            .collect()
    }

    fn deleted(&self, topic: &str) {
        if let Some(state) = self.retired.lock().get_mut(topic) {
            state.deleted = true;
        }
    }
}

/// Creates and deletes until the term ends.
pub async fn keep(leader: &Leader, life: &TopicLife) {
    let mut made: BTreeSet<Topic> = BTreeSet::new();
    let mut trouble = false;
    loop {
        let wanted = wanted(leader);
        made.retain(|topic| wanted.contains(topic));
        let missing: Vec<Topic> = wanted.difference(&made).take(BATCH).cloned().collect();
        let created = create(leader, &missing, &mut made).await;
        // One topic that can't be made keeps no other from being deleted.
        let pause = match created.and(delete(leader, life).await) {
            Ok(()) => {
                if trouble {
                    info!("the log's administration answers again");
                }
                trouble = false;
                if missing.len() == BATCH { Duration::ZERO } else { LOOK_EVERY }
            }
            Err(error) => {
                leader.metrics.log_errors.inc();
                if !trouble {
                    warn!("can't create or delete topics, trying on: {error}");
                }
                trouble = true;
                RETRY
            }
        };
        tokio::time::sleep(pause).await;
    }
}

fn wanted(leader: &Leader) -> BTreeSet<Topic> {
    let catalogue = leader.catalogue.load();
    std::iter::once(Topic::from(topic::INTERCEPTORS))
        .chain(catalogue.entries().iter().map(|entry| entry.topic.clone()))
        .collect()
}

/// The first failure; what went well is kept all the same.
async fn create(leader: &Leader, missing: &[Topic], made: &mut BTreeSet<Topic>) -> Result<(), LogError> {
    if missing.is_empty() {
        return Ok(());
    }
    let specs: Vec<TopicSpec> =
        missing.iter().map(|topic| TopicSpec { topic: topic.clone(), retention: topic::RETENTION }).collect();
    let mut failed = Ok(());
    let mut created = 0;
    for (topic, outcome) in missing.iter().zip(leader.log.create_topics(&specs).await) {
        match outcome {
            Ok(new) => {
                created += usize::from(new);
                made.insert(topic.clone());
            }
            Err(error) => failed = failed.and(Err(error)),
        }
    }
    if created > 0 {
        info!(created, "created topics");
    }
    failed
}

async fn delete(leader: &Leader, life: &TopicLife) -> Result<(), LogError> {
    let catalogue = leader.catalogue.load_full();
    // No workload at all is more likely a mistake in the resources than the end of a whole fleet.
    if catalogue.entries().is_empty() {
        return Ok(());
    }
    let mut old = life.to_delete();
    old.retain(|topic| catalogue.of_topic(topic).is_none());
    old.truncate(DELETE_BATCH);
    if old.is_empty() {
        return Ok(());
    }
    let mut failed = Ok(());
    for (topic, outcome) in old.iter().zip(leader.log.delete_topics(&old).await) {
        match outcome {
            Ok(_) => {
                info!(%topic, "deleted the topic: its workload has been gone for the grace period");
                life.deleted(topic);
            }
            Err(error) => failed = failed.and(Err(error)),
        }
    }
    failed
}
