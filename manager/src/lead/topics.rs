//! The life of topics: created when a workload appears, deleted a grace period after it has gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use plimsoll_scheduler::directives::Directives;
use plimsoll_scheduler::plan::Plan;
use plimsoll_scheduler::solve::TopicLoad;
use plimsoll_wire::log::{EventLog, LogError, Topic, TopicSpec};
use plimsoll_wire::topic;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::Leader;
use super::awake::Awake;
use super::decisions::What;
use super::wishes::{Wishes, is_wanted};
use crate::catalogue::Catalogue;

/// Between two looks at what is to do.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// After a failure.
const RETRY: Duration = Duration::from_secs(1);
/// Between two looks whether all topics are still there: one deleted by hand is made anew.
const LIST_EVERY: Duration = Duration::from_secs(30);
/// A topic that was refused is tried again after this long, so that it keeps no other from being made.
const REFUSED: Duration = Duration::from_secs(10);
/// A manager that was frozen may lead no more without knowing it, and the log does not ask who deletes. So it deletes nothing before it has
/// run for so long again: by then it has asked the store who leads.
const SETTLED: Duration = Duration::from_secs(5);
/// For so long a topic that was deleted may still be found "already there", when it is to be made again.
const DELETING: Duration = Duration::from_secs(60);
/// Topics created in one call.
const BATCH: usize = 500;
/// Topics deleted in one call: few, since a workload may come back meanwhile.
const DELETE_BATCH: usize = 100;

/// Which topics are retired, and since when.
#[derive(Debug)]
pub struct TopicLife {
    grace: Duration,
    retired: Mutex<BTreeMap<String, Retired>>,
    version: AtomicU64,
}

#[derive(Debug)]
struct Retired {
    since: Instant,
    deleted: bool,
}

impl TopicLife {
    pub fn new(grace: Duration) -> Self {
        Self { grace, retired: Mutex::default(), version: AtomicU64::new(0) }
    }

    /// Grows when a topic has been deleted that the plan still names.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    /// The topics of the previous plan whose workload has gone and whose grace period has not passed: they stay in the plan.
    ///
    /// The plan itself is the memory of them, so a new leader goes on where the old one was (its grace period begins anew).
    ///
    /// What an operator has removed goes at once.
    pub fn retired(&self, catalogue: &Catalogue, directives: &Directives, previous: &Plan) -> Vec<TopicLoad> {
        let mut retired = self.retired.lock();
        let wanted = |topic: &str| is_wanted(topic, catalogue, directives);
        let removed = |topic: &str| directives.removed.contains(topic);
        retired.retain(|topic, _| !wanted(topic) && !removed(topic) && previous.topics.contains_key(topic));
        let mut kept = Vec::new();
        for (topic, placed) in &previous.topics {
            if wanted(topic) || removed(topic) {
                continue;
            }
            let state =
                retired.entry(topic.clone()).or_insert_with(|| Retired { since: Instant::now(), deleted: false });
            if !state.deleted {
                kept.push(TopicLoad::new(placed.spec.clone(), placed.provider.clone(), 0.0));
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
            self.version.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What is known of the topics in the log.
#[derive(Debug, Default)]
struct Known {
    made: BTreeSet<Topic>,
    /// When each that could not be made may be tried again.
    refused: BTreeMap<Topic, Instant>,
    /// Those that were deleted of late, and when.
    deleted: BTreeMap<Topic, Instant>,
    listed: Option<Instant>,
}

impl Known {
    /// The next topics to make.
    fn missing(&mut self, wanted: &BTreeSet<Topic>, now: Instant) -> Vec<Topic> {
        self.made.retain(|topic| wanted.contains(topic));
        self.refused.retain(|topic, again| wanted.contains(topic) && *again > now);
        self.deleted.retain(|_, deleted| now.saturating_duration_since(*deleted) < DELETING);
        wanted.difference(&self.made).filter(|topic| !self.refused.contains_key(*topic)).take(BATCH).cloned().collect()
    }

    /// The log has this topic: a new one, or one that was there.
    fn is_there(&mut self, topic: &Topic, new: bool, now: Instant) {
        if !new && self.deleted.contains_key(topic) {
            // What is there may be what is being deleted.
            self.refused.insert(topic.clone(), now + RETRY);
        } else {
            self.deleted.remove(topic);
            self.made.insert(topic.clone());
        }
    }

    /// Forgets what somebody else has deleted.
    ///
    /// # Errors
    /// Where the log can't be asked.
    async fn look(&mut self, log: &dyn EventLog) -> Result<(), LogError> {
        if self.listed.is_some_and(|listed| listed.elapsed() < LIST_EVERY) || self.made.is_empty() {
            return Ok(());
        }
        let there: BTreeSet<String> = log.list_topics().await?.into_iter().collect();
        self.listed = Some(Instant::now());
        let before = self.made.len();
        self.made.retain(|topic| there.contains(&**topic));
        if self.made.len() < before {
            warn!(topics = before - self.made.len(), "topics have been deleted by somebody else; making them anew");
        }
        Ok(())
    }
}

/// Creates and deletes until the term ends.
pub async fn keep(leader: &Leader, life: &TopicLife, wishes: &Wishes, awake: &Awake) {
    let mut known = Known::default();
    let mut trouble = false;
    loop {
        let looked = known.look(&*leader.log).await;
        let missing = known.missing(&wanted(leader, wishes), Instant::now());
        let created = create(leader, &missing, &mut known).await;
        // One topic that can't be made keeps no other from being deleted.
        let deleted = delete_retired(leader, life, wishes, awake, &mut known).await;
        let removed = delete_removed(leader, wishes, awake, &mut known).await;
        let pause = match looked.and(created).and(deleted).and(removed) {
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

fn wanted(leader: &Leader, wishes: &Wishes) -> BTreeSet<Topic> {
    let catalogue = leader.catalogue.load();
    let wishes = wishes.now();
    let registered = wishes.directives.registered.keys();
    let registered = registered.filter(|topic| is_wanted(topic, &catalogue, &wishes.directives));
    std::iter::once(Topic::from(topic::INTERCEPTORS))
        .chain(catalogue.entries().iter().map(|entry| entry.topic.clone()))
        .chain(registered.map(|topic| Topic::from(topic.as_str())))
        .collect()
}

/// The first failure; what went well is kept all the same.
async fn create(leader: &Leader, missing: &[Topic], known: &mut Known) -> Result<(), LogError> {
    if missing.is_empty() {
        return Ok(());
    }
    let specs: Vec<TopicSpec> =
        missing.iter().map(|topic| TopicSpec { topic: topic.clone(), retention: topic::RETENTION }).collect();
    let mut failed = Ok(());
    let mut created = Vec::new();
    for (topic, outcome) in missing.iter().zip(leader.log.create_topics(&specs).await) {
        match outcome {
            Ok(new) => {
                if new {
                    created.push(topic);
                }
                known.is_there(topic, new, Instant::now());
            }
            Err(error) => {
                // A log out of reach is out of reach for all; a refusal is about this topic.
                if matches!(error, LogError::Refused { .. }) {
                    known.refused.insert(topic.clone(), Instant::now() + REFUSED);
                }
                failed = failed.and(Err(error));
            }
        }
    }
    if !created.is_empty() {
        info!(created = created.len(), "created topics");
        tell(leader, created, true, "its workload has appeared, or it was registered");
    }
    failed
}

/// Deletes topics whose workload has been gone for the grace period.
async fn delete_retired(
    leader: &Leader,
    life: &TopicLife,
    wishes: &Wishes,
    awake: &Awake,
    known: &mut Known,
) -> Result<(), LogError> {
    let catalogue = leader.catalogue.load_full();
    // No workload at all is more likely a mistake in the resources than the end of a whole fleet.
    if catalogue.entries().is_empty() {
        return Ok(());
    }
    let wishes = wishes.now();
    let mut old = life.to_delete();
    old.retain(|topic| !is_wanted(topic, &catalogue, &wishes.directives));
    old.truncate(DELETE_BATCH);
    let (deleted, outcome) = delete(leader, awake, &old, known).await;
    for topic in &deleted {
        info!(%topic, "deleted the topic: its workload has been gone for the grace period");
        life.deleted(topic);
    }
    tell(leader, &deleted, false, "its workload has been gone for the grace period");
    outcome
}

/// Deletes topics that operators have removed, once nobody reads them any more, and strikes them out.
async fn delete_removed(leader: &Leader, wishes: &Wishes, awake: &Awake, known: &mut Known) -> Result<(), LogError> {
    let now = wishes.now();
    if now.directives.removed.is_empty() {
        return Ok(());
    }
    let catalogue = leader.catalogue.load_full();
    let planned = leader.store.watch_plan().borrow().clone();
    let mut due = Vec::new();
    let mut done = BTreeSet::new();
    for topic in &now.directives.removed {
        if catalogue.of_topic(topic).is_some() {
            warn!(%topic, "not deleted: a resource describes its workload; remove that first");
            done.insert(topic.clone());
        } else if !planned.plan.topics.contains_key(topic) && due.len() < DELETE_BATCH {
            due.push(Topic::from(topic.as_str()));
        }
    }
    let (deleted, outcome) = delete(leader, awake, &due, known).await;
    tell(leader, &deleted, false, "an operator has removed it");
    done.extend(deleted.iter().map(ToString::to_string));
    if !done.is_empty()
        && let Err(error) = wishes.strike(&done).await
    {
        // They stay written down, and deleting twice does no harm.
        debug!("can't strike out removed topics yet: {error}");
    }
    outcome
}

/// What was deleted, or was not there; and the first failure.
async fn delete(
    leader: &Leader,
    awake: &Awake,
    topics: &[Topic],
    known: &mut Known,
) -> (Vec<Topic>, Result<(), LogError>) {
    let (mut deleted, mut failed) = (Vec::new(), Ok(()));
    // Asked last: nothing is awaited between this and the call.
    if topics.is_empty() || !awake.has_run_for(SETTLED, Instant::now()) {
        return (deleted, failed);
    }
    for (topic, outcome) in topics.iter().zip(leader.log.delete_topics(topics).await) {
        match outcome {
            Ok(_) => {
                known.deleted.insert(topic.clone(), Instant::now());
                deleted.push(topic.clone());
            }
            Err(error) => failed = failed.and(Err(error)),
        }
    }
    (deleted, failed)
}

fn tell<'a>(leader: &Leader, topics: impl IntoIterator<Item = &'a Topic>, created: bool, because: &str) {
    let generation = leader.store.watch_plan().borrow().plan.generation;
    let what = |topic: &Topic| What::Topic { topic: topic.to_string(), created, because: because.to_owned() };
    leader.decisions.record(generation, topics.into_iter().map(what));
}

#[cfg(test)]
mod tests;
