//! What a manager sees by itself, whether or not it leads: how the collectors are, and how the plan changes.
//!
//! The leader records what it decides. A manager that does not lead records what it sees of that, so that people get the same
//! answer from whichever manager they ask.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use plimsoll_scheduler::plan::{CollectorId, Placed, Plan};
use plimsoll_scheduler::policy::Policy;
use plimsoll_scheduler::store::{Leadership, Member, Stored, StoredDirectives};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::board::Board;
use crate::lead::awake::Awake;
use crate::lead::decisions::{Decisions, What};
use crate::lead::health::{Health, Verdict};
use crate::lead::inputs;

/// Between two looks at the collectors: silence grows without an event.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// What a follower gives as the reason of a move: the word is the leader's; the sentence beside it is in the plan.
const SEEN: &str = "seen";

/// How each collector is, and why.
pub type Verdicts = BTreeMap<CollectorId, Verdict>;

/// What is looked at.
pub struct Watching {
    pub board: Arc<Board>,
    pub plan: watch::Receiver<Arc<Stored>>,
    pub members: watch::Receiver<Arc<BTreeMap<CollectorId, Member>>>,
    pub directives: watch::Receiver<Arc<StoredDirectives>>,
    pub leadership: watch::Receiver<Leadership>,
    /// The policy where operators have asked for no other.
    pub policy: Policy,
    pub verdicts: Arc<ArcSwap<Verdicts>>,
    pub decisions: Arc<Decisions>,
    /// Those that leave because the fleet gets smaller, while this manager leads.
    pub retiring: Arc<ArcSwap<BTreeSet<CollectorId>>>,
    /// What is remembered of the collectors. Who leads from now on goes on with it.
    pub health: Arc<Mutex<Health>>,
    pub shutdown: CancellationToken,
}

/// Looks until shutdown.
pub async fn watch(mut watching: Watching) {
    let awake = Awake::new(Instant::now());
    tokio::select! {
        () = watching.shutdown.clone().cancelled_owned() => {}
        () = awake.keep_looking() => {}
        () = watching.look_on(&awake) => {}
    }
}

impl Watching {
    async fn look_on(&mut self, awake: &Awake) {
        let mut moves = Moves::default();
        let mut before = self.plan.borrow_and_update().clone();
        loop {
            let plan = self.plan.borrow_and_update().clone();
            let follows = !matches!(*self.leadership.borrow(), Leadership::Leader(_));
            // The first plan that the store tells is news to this manager only.
            let first = before.plan.generation == 0;
            if !Arc::ptr_eq(&plan, &before) {
                let seen = moves.seen(&before.plan, &plan.plan, Instant::now());
                if follows && !first {
                    self.decisions.record(plan.plan.generation, seen);
                }
                before = plan;
            }
            let changes = self.judge(follows, awake);
            if follows {
                self.decisions.record(before.plan.generation, changes);
            }
            tokio::select! {
                changed = self.plan.changed() => if changed.is_err() { return std::future::pending().await },
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Judges the collectors, and gives who is seen in another state than before.
    fn judge(&self, follows: bool, awake: &Awake) -> Vec<What> {
        let now = Instant::now();
        let (members, directives) = (self.members.borrow().clone(), self.directives.borrow().clone());
        let kind = directives.directives.policy.unwrap_or(self.policy).kind;
        // Which collectors the fleet has no more need of only the leader knows.
        let retiring = if follows { Arc::default() } else { self.retiring.load_full() };
        let seen = inputs::seen(&self.board, &members, &directives.directives, kind, &retiring);
        let verdicts = self.health.lock().judge(now, awake.since(now), &seen);
        let before = self.verdicts.swap(Arc::new(verdicts.clone()));
        let mut changes = Vec::new();
        for (id, verdict) in &verdicts {
            let was = before.get(id).map(|before| before.state);
            if was != Some(verdict.state) {
                changes.push(What::Collector {
                    collector: id.clone(),
                    from: was.map(|was| was.name().to_owned()),
                    to: Some(verdict.state.name().to_owned()),
                    because: verdict.because.clone(),
                });
            }
        }
        for (id, verdict) in before.iter().filter(|(id, _)| !verdicts.contains_key(*id)) {
            changes.push(What::Collector {
                collector: id.clone(),
                from: Some(verdict.state.name().to_owned()),
                to: None,
                because: "it is neither registered nor heard any more".to_owned(),
            });
        }
        changes
    }
}

/// The moves that have been seen to begin; as many as are in flight.
#[derive(Debug, Default)]
struct Moves {
    began: HashMap<String, Instant>,
}

impl Moves {
    /// What one plan does that the one before did not.
    fn seen(&mut self, before: &Plan, after: &Plan, now: Instant) -> Vec<What> {
        let differing = before.topics.differing(&after.topics);
        let mut seen: Vec<What> = differing.into_iter().filter_map(|(was, is)| self.one(was, is?, now)).collect();
        self.began.retain(|topic, _| after.topics.get(topic).is_some_and(|placed| placed.placement.incoming.is_some()));
        seen.shrink_to_fit();
        seen
    }

    fn one(&mut self, was: Option<&Placed>, is: &Placed, now: Instant) -> Option<What> {
        let topic = is.spec.topic.clone();
        let from = was.and_then(|was| was.placement.owner.clone());
        let coming = was.and_then(|was| was.placement.incoming.as_ref());
        let moves = |to: &CollectorId, forced| What::Move {
            topic: topic.clone(),
            from: from.clone(),
            to: Some(to.clone()),
            reason: SEEN.to_owned(),
            because: is.reason.clone(),
            forced,
        };
        match (&is.placement.owner, &is.placement.incoming) {
            (_, Some(incoming)) if coming != Some(incoming) => {
                self.began.insert(topic.clone(), now);
                Some(moves(incoming, false))
            }
            (Some(owner), None) if coming == Some(owner) => {
                let seconds = self.began.remove(&topic).map_or(0.0, |began| (now - began).as_secs_f64());
                Some(What::Arrived { topic: topic.clone(), collector: owner.clone(), seconds })
            }
            (Some(owner), None) if from.as_ref() != Some(owner) => Some(moves(owner, from.is_some())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use plimsoll_scheduler::plan::{AssignedTopic, Placement};

    use super::*;

    fn plan(generation: u64, topics: &[(&str, Option<&str>, Option<&str>)]) -> Plan {
        let mut plan = Plan { generation, ..Plan::default() };
        for (topic, owner, incoming) in topics {
            let window = Duration::from_secs(15);
            plan.topics.insert(Placed {
                spec: AssignedTopic { topic: (*topic).into(), concurrency_window: window, rate_window: window },
                provider: "default".into(),
                placement: Placement { owner: owner.map(Into::into), incoming: incoming.map(Into::into) },
                alone: false,
                since: generation,
                reason: "a sentence".into(),
            });
        }
        plan
    }

    #[tokio::test(start_paused = true)]
    async fn who_only_looks_on_sees_the_same_moves() {
        let mut moves = Moves::default();
        let mut seen = |before: &Plan, after: &Plan| moves.seen(before, after, Instant::now());
        let one = plan(1, &[("t", Some("a"), None), ("u", Some("a"), None)]);
        let two = plan(2, &[("t", Some("a"), Some("b")), ("u", Some("a"), None)]);
        assert!(
            matches!(&seen(&one, &two)[..], [What::Move { topic, from: Some(from), to: Some(to), forced: false, .. }]
            if topic == "t" && from == "a" && to == "b")
        );
        tokio::time::advance(Duration::from_secs(3)).await;
        let three = plan(3, &[("t", Some("b"), None), ("u", Some("c"), None)]);
        let now = seen(&two, &three);
        assert!(
            matches!(&now[0], What::Arrived { topic, collector, seconds } if topic == "t" && collector == "b" && *seconds == 3.0),
            "{now:?}"
        );
        assert!(matches!(&now[1], What::Move { topic, forced: true, .. } if topic == "u"), "{now:?}");
        assert!(seen(&three, &three).is_empty());
        let four = plan(4, &[("t", Some("b"), None), ("u", Some("c"), None), ("v", Some("c"), None)]);
        assert!(
            matches!(&seen(&three, &four)[..], [What::Move { topic, from: None, forced: false, .. }] if topic == "v")
        );
    }
}
