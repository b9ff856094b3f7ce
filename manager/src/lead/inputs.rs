//! What there is to plan, as this manager sees it.
//!
//! Looking is cheap, and done often; the problem itself names every topic, and is made only when something has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use plimsoll_scheduler::directives::Directives;
use plimsoll_scheduler::plan::{AssignedTopic, CollectorId, Plan};
use plimsoll_scheduler::policy::{Policy, PolicyKind};
use plimsoll_scheduler::solve::{CollectorInfo, Problem, TopicLoad};
use plimsoll_scheduler::store::{Member, Revision, StoredDirectives};
use plimsoll_wire::log::Topic;
use plimsoll_wire::resources::{DEFAULT_CONCURRENCY_WINDOW, DEFAULT_PROVIDER, DEFAULT_RATE_WINDOW};

use super::health::{Seen, Verdict};
use super::topics::TopicLife;
use super::wishes::is_wanted;
use crate::board::Board;
use crate::catalogue::Catalogue;

/// All that a plan follows from, but for the topics' measured loads.
#[derive(Debug, Clone)]
pub struct Inputs {
    pub catalogue: Arc<Catalogue>,
    pub wishes: Arc<StoredDirectives>,
    pub collectors: Vec<CollectorInfo>,
    pub policy: Policy,
    /// Whether to even out the load inside the dead band too.
    pub rebalance: bool,
    /// The plan that is the previous one.
    pub revision: Revision,
    /// See [`TopicLife::version`].
    pub retired: u64,
}

impl Inputs {
    /// Whether a plan made of these would be made of the same, loads apart.
    pub fn same_as(&self, other: &Self) -> bool {
        self.same_but_for_collectors(other) && self.collectors == other.collectors
    }

    /// Whether nothing but who reports topics warm could be different, loads apart: moves are over, and nothing is in haste.
    pub fn same_but_for_warmth(&self, other: &Self) -> bool {
        let same = |(one, other): (&CollectorInfo, &CollectorInfo)| {
            one.id == other.id && one.provider == other.provider && one.state == other.state
        };
        self.same_but_for_collectors(other)
            && self.collectors.len() == other.collectors.len()
            && self.collectors.iter().zip(&other.collectors).all(same)
    }

    fn same_but_for_collectors(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.catalogue, &other.catalogue)
            && self.wishes.revision == other.wishes.revision
            && self.revision == other.revision
            && self.retired == other.retired
            && self.policy == other.policy
            && self.rebalance == other.rebalance
    }

    /// The problem, whole. It takes time in proportion to the topics: not for a thread that serves others.
    pub fn problem(self, board: &Board, topic_life: &TopicLife, previous: &Plan) -> Problem {
        let directives = &self.wishes.directives;
        let topic = |name: &str, windows: (Duration, Duration), provider: &str| {
            let spec = AssignedTopic { topic: name.to_owned(), concurrency_window: windows.0, rate_window: windows.1 };
            let load = board.cell(&Topic::from(name)).load().weight();
            TopicLoad {
                pinned: directives.pins.get(name).cloned(),
                dedicated: directives.registered.get(name).is_some_and(|registered| registered.dedicated),
                ..TopicLoad::new(spec, provider, load)
            }
        };
        let entries = self.catalogue.entries().iter();
        let mut topics: Vec<TopicLoad> = entries
            .map(|entry| {
                let scaling = &entry.workload.scaling;
                let provider = provider_of(&entry.topic, &entry.workload.provider, directives);
                topic(&entry.topic, (scaling.concurrency_window, scaling.rate_window), provider)
            })
            .collect();
        let by_hand = directives.registered.iter().filter(|(name, _)| self.catalogue.of_topic(name).is_none());
        let by_hand = by_hand.filter(|(name, _)| is_wanted(name, &self.catalogue, directives));
        let default_windows = (DEFAULT_CONCURRENCY_WINDOW, DEFAULT_RATE_WINDOW);
        topics.extend(by_hand.map(|(name, registered)| topic(name, default_windows, &registered.provider)));
        // A workload that has gone is read on for its grace period: it may come back.
        topics.extend(topic_life.retired(&self.catalogue, directives, previous));
        // Planning is quickest when they come by name.
        topics.sort_unstable_by(|a, b| a.spec.topic.cmp(&b.spec.topic));
        Problem { topics, collectors: self.collectors, policy: self.policy, rebalance: self.rebalance }
    }
}

/// Where a workload runs: as its resource says, or, where that says nothing, as whoever registered its topic does.
fn provider_of<'a>(topic: &str, described: &'a str, directives: &'a Directives) -> &'a str {
    match directives.registered.get(topic) {
        Some(registered) if described == DEFAULT_PROVIDER => &registered.provider,
        _ => described,
    }
}

/// What is seen of every collector that is registered or heard.
pub fn seen(
    board: &Board,
    members: &BTreeMap<CollectorId, Member>,
    wishes: &Directives,
    kind: PolicyKind,
    retiring: &BTreeSet<CollectorId>,
) -> Vec<Seen> {
    let heard = board.links().into_iter().map(|link| link.collector.to_string());
    let known: BTreeSet<String> = heard.chain(members.keys().cloned()).collect();
    let one = |id: String| {
        let link = board.link(&id);
        let state = link.state();
        Seen {
            group: match kind {
                PolicyKind::MaxPerHost => String::new(),
                PolicyKind::PerProvider => provider_of_collector(board, members, &id),
            },
            heard: link.ever_heard(),
            incarnation: state.incarnation,
            silent_for: link.silent_for(),
            parted: link.has_parted(),
            leaving: state.leaving,
            lag: state.lag,
            retiring: retiring.contains(&id),
            directive: wishes.collectors.get(&id).copied(),
            id,
        }
    };
    known.into_iter().map(one).collect()
}

/// The collectors for the planner: their states, and what those on the receiving end of a move have ready.
pub fn collectors(
    board: &Board,
    verdicts: &BTreeMap<CollectorId, Verdict>,
    members: &BTreeMap<CollectorId, Member>,
    mut warm: BTreeMap<CollectorId, BTreeSet<String>>,
) -> Vec<CollectorInfo> {
    let one = |(id, verdict): (&CollectorId, &Verdict)| CollectorInfo {
        id: id.clone(),
        provider: provider_of_collector(board, members, id),
        state: verdict.state.for_planning(),
        warm: warm.remove(id).unwrap_or_default(),
    };
    verdicts.iter().map(one).collect()
}

/// Whose topics a collector is for. One that is heard may have lost its registration, as when it can't reach the store for a while: it is
/// for whom it was, or it would be emptied though it is well.
fn provider_of_collector(board: &Board, members: &BTreeMap<CollectorId, Member>, id: &str) -> String {
    match members.get(id) {
        Some(member) => member.provider.clone(),
        None => board.provider(id).unwrap_or_default(),
    }
}

/// A topic on the move.
#[derive(Debug, Clone)]
pub struct Moving {
    pub topic: Topic,
    pub owner: Option<CollectorId>,
    pub incoming: CollectorId,
    pub since: u64,
}

/// The topics on the move. It takes time in proportion to the topics.
pub fn moving(plan: &Plan) -> Vec<Moving> {
    let one = |(topic, placed): (&String, &plimsoll_scheduler::plan::Placed)| {
        let incoming = placed.placement.incoming.clone()?;
        let owner = placed.placement.owner.clone();
        Some(Moving { topic: Topic::from(topic.as_str()), owner, incoming, since: placed.since })
    };
    plan.topics.iter().filter_map(one).collect()
}

/// Which topics on the move have been replayed by the collector that they move to.
pub fn warm(board: &Board, moving: &[Moving]) -> BTreeMap<CollectorId, BTreeSet<String>> {
    let mut warm = BTreeMap::<CollectorId, BTreeSet<String>>::new();
    for Moving { topic, owner, incoming, since } in moving {
        let cell = board.cell(topic);
        // Warm once is not well now: while the owner answers well, only one that does too may take over.
        let owner_is_well = owner.as_deref().is_some_and(|owner| cell.good_on(owner, 0));
        if cell.good_on(incoming, *since) || (!owner_is_well && cell.warm_on(incoming)) {
            warm.entry(incoming.clone()).or_default().insert(topic.to_string());
        }
    }
    warm
}

/// Whether everyone has been heard who is registered or has a topic.
///
/// A new leader waits for that a while: what is well where it is must not be taken away because one has come a moment before the others.
pub fn everyone_heard(board: &Board, members: &BTreeMap<CollectorId, Member>, plan: &Plan) -> bool {
    let links = board.links();
    let heard: BTreeSet<&str> = links.iter().filter(|link| link.ever_heard()).map(|link| &*link.collector).collect();
    let readers = plan.topics.values().flat_map(|placed| placed.placement.readers());
    members.keys().chain(readers).all(|id| heard.contains(id.as_str()))
}

#[cfg(test)]
mod tests {
    use plimsoll_scheduler::plan::{Placed, Placement};
    use plimsoll_scheduler::solve::solve;
    use plimsoll_wire::collector::Answer;
    use tokio::time::Instant;

    use super::*;
    use crate::board::SILENCE;
    use crate::lead::health::Health;

    fn member(id: &str, provider: &str) -> Member {
        Member { id: id.into(), address: "127.0.0.1:9".into(), provider: provider.into(), incarnation: 1 }
    }

    /// One topic, placed so.
    fn plan(placement: Placement) -> Plan {
        let window = Duration::from_secs(15);
        let spec = AssignedTopic { topic: "t".into(), concurrency_window: window, rate_window: window };
        let (provider, reason) = ("aws".into(), "a sentence".into());
        let placed = Placed { spec, provider, placement, alone: false, since: 1, reason };
        Plan { generation: 1, topics: [placed].into_iter().collect() }
    }

    #[tokio::test(start_paused = true)]
    async fn an_owner_that_answers_gives_way_only_to_one_that_answers_as_well() {
        let board = Board::new(Duration::from_secs(30));
        let (owner, incoming) = (board.link("owner"), board.link("incoming"));
        let placement = Placement { owner: Some("owner".to_owned()), incoming: Some("incoming".to_owned()) };
        let moving = moving(&plan(placement));
        let may_take_over = || warm(&board, &moving).contains_key("incoming");
        let answer = |known, warm| vec![Answer { topic: "t".into(), known, warm, ..Answer::default() }];
        owner.heard();
        incoming.heard();
        board.take(&owner, answer(true, true));
        assert!(!may_take_over(), "it has said nothing");
        board.take(&incoming, answer(true, true));
        assert!(!may_take_over(), "what it says may be of an assignment before this one");
        incoming.update(|state| state.generation = 1);
        assert!(may_take_over());
        board.take(&incoming, answer(true, false));
        assert!(!may_take_over(), "its window is not replayed");
        board.take(&incoming, answer(false, true));
        assert!(!may_take_over(), "warm once is not well now");
        tokio::time::advance(SILENCE + Duration::from_millis(1)).await;
        incoming.heard();
        assert!(may_take_over(), "the owner does not answer at all");
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_leader_waits_for_all_that_are_registered_or_have_a_topic() {
        let board = Board::new(Duration::from_secs(30));
        let registered = BTreeMap::from([("a".to_owned(), member("a", "aws"))]);
        let plan = plan(Placement { owner: Some("b".to_owned()), incoming: Some("c".to_owned()) });
        for id in ["a", "b", "c"] {
            assert!(!everyone_heard(&board, &registered, &plan), "{id} has not been heard");
            let link = board.link(id);
            assert!(!everyone_heard(&board, &registered, &plan), "nobody has heard {id} yet");
            link.heard();
        }
        assert!(everyone_heard(&board, &registered, &plan));
    }

    #[tokio::test(start_paused = true)]
    async fn a_collector_that_answers_keeps_its_topics_though_its_registration_has_lapsed() {
        let board = Board::new(Duration::from_secs(30));
        for id in ["a", "b"] {
            let link = board.link(id);
            link.update(|state| state.provider = Some("aws".into()));
            link.heard();
        }
        let registered = BTreeMap::from([("b".to_owned(), member("b", "aws"))]);
        let (directives, kind) = (Directives::default(), PolicyKind::PerProvider);
        let seen = seen(&board, &registered, &directives, kind, &BTreeSet::new());
        let now = Instant::now();
        let verdicts = Health::default().judge(now, now - Duration::from_secs(60), &seen);
        let collectors = collectors(&board, &verdicts, &registered, BTreeMap::new());
        let providers: Vec<&str> = collectors.iter().map(|info| info.provider.as_str()).collect();
        assert_eq!(providers, ["aws", "aws"]);

        let plan = plan(Placement::owned_by("a"));
        let spec = plan.topics.get("t").unwrap().spec.clone();
        let policy = Policy { kind, ..Policy::default() };
        let topics = vec![TopicLoad::new(spec, "aws", 1.0)];
        let moves = solve(&Problem { topics, collectors, policy, rebalance: false }, &plan).moves;
        assert!(moves.is_empty(), "{moves:?}");
    }
}
