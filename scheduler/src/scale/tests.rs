//! What scaling promises, with real plans in between.

use proptest::prelude::*;

use super::*;
use crate::plan::{AssignedTopic, Plan};
use crate::policy::{Policy, PolicyKind};
use crate::solve::{CollectorInfo, TopicLoad, solve};

const TICK: Duration = Duration::from_secs(10);

/// A fleet that does what it is told, a tick later.
struct Fleet {
    topics: Vec<TopicLoad>,
    policy: Policy,
    settings: Settings,
    size: usize,
    /// States other than ready, by ordinal.
    states: BTreeMap<usize, CollectorState>,
    drain: BTreeSet<CollectorId>,
    stopping: BTreeSet<CollectorId>,
    memory: Memory,
    plan: Plan,
    now: Duration,
}

fn id(ordinal: usize) -> CollectorId {
    format!("collector-{ordinal}")
}

fn topics(count: usize) -> Vec<TopicLoad> {
    let spec = |index| AssignedTopic {
        topic: format!("t{index:05}"),
        concurrency_window: Duration::from_secs(15),
        rate_window: Duration::from_secs(60),
    };
    (0..count).map(|index| TopicLoad::new(spec(index), "default", 1.0)).collect()
}

impl Fleet {
    fn new(count: usize, policy: Policy) -> Self {
        Self {
            topics: topics(count),
            policy,
            settings: Settings::default(),
            size: 0,
            states: BTreeMap::new(),
            drain: BTreeSet::new(),
            stopping: BTreeSet::new(),
            memory: Memory::default(),
            plan: Plan::default(),
            now: Duration::ZERO,
        }
    }

    fn problem(&self) -> Problem {
        let state = |ordinal: usize| {
            let given = self.states.get(&ordinal).copied().unwrap_or(CollectorState::Ready);
            if self.drain.contains(&id(ordinal)) && given != CollectorState::Lost {
                CollectorState::Draining
            } else {
                given
            }
        };
        let warm = |collector: &str| {
            let incoming =
                self.plan.topics.iter().filter(|(_, placed)| placed.placement.incoming.as_deref() == Some(collector));
            incoming.map(|(topic, _)| topic.clone()).collect()
        };
        let info = |ordinal| CollectorInfo {
            id: id(ordinal),
            provider: "default".to_owned(),
            state: state(ordinal),
            warm: warm(&id(ordinal)),
        };
        Problem {
            topics: self.topics.clone(),
            collectors: (0..self.size).map(info).collect(),
            policy: self.policy,
            rebalance: false,
        }
    }

    fn tick(&mut self) -> Scaled {
        let problem = self.problem();
        let solution = solve(&problem, &self.plan);
        let group = if self.policy.kind == PolicyKind::PerProvider { "default" } else { "" };
        let sizes = BTreeMap::from([(group.to_owned(), self.size)]);
        let stopping = &self.stopping;
        let seen = Seen { problem: &problem, solution: &solution, sizes: &sizes, stopping, now: self.now };
        let scaled = scale(&seen, &self.settings, &mut self.memory).remove(group).unwrap();
        if let Some(released) = &scaled.release {
            assert_eq!(*released, id(self.size - 1), "only the last one leaves");
            assert_eq!(scaled.collectors, self.size - 1);
            assert_eq!(solution.plan.assignment(released).topics, [], "it leaves empty");
        }
        self.plan = solution.plan;
        self.drain = scaled.drain.clone();
        self.size = scaled.collectors;
        self.now += TICK;
        scaled
    }

    fn tick_for(&mut self, time: Duration) -> Vec<Scaled> {
        (0..time.as_secs() / TICK.as_secs()).map(|_| self.tick()).collect()
    }
}

fn policy(max_per_host: u32, min_collectors: u32, max_collectors: u32) -> Policy {
    Policy { kind: PolicyKind::MaxPerHost, max_per_host, min_collectors, max_collectors }
}

#[test]
fn one_more_topic_than_fits_has_one_more_collector_at_once() {
    let mut fleet = Fleet::new(20, policy(10, 1, 9));
    let first = fleet.tick();
    assert_eq!((first.collectors, first.why.to_string().as_str()), (2, "20 topics, 10 a collector at most"));
    fleet.topics = topics(21);
    assert_eq!(fleet.tick().collectors, 3);
    fleet.topics = topics(200);
    let most = fleet.tick();
    assert_eq!((most.collectors, most.why), (9, Why::Maximum { needed: 20, max_collectors: 9 }));
}

#[test]
fn headroom_and_load_ask_for_a_collector_before_it_is_needed() {
    let mut fleet = Fleet::new(19, policy(10, 1, 9));
    fleet.settings.headroom_percent = 10;
    assert_eq!(fleet.tick().collectors, 3);
    let mut fleet = Fleet::new(19, policy(10, 1, 9));
    fleet.settings.max_load = Some(5.0);
    assert_eq!(fleet.tick().collectors, 4);
    assert_eq!(fleet.tick().why, Why::Load { load: 19.0, max_load: 5.0 });
}

#[test]
fn who_runs_collectors_by_hand_is_told_how_many_headroom_and_load_need() {
    let policy = Policy { max_per_host: 10, max_collectors: 20, ..Policy::default() };
    let mut fleet = Fleet::new(40, policy);
    let needed = |fleet: &Fleet| needed(&fleet.problem(), &fleet.settings)[""];
    assert_eq!(needed(&fleet), 4);
    fleet.settings.headroom_percent = 20;
    assert_eq!(needed(&fleet), 5);
    // Each topic weighs 1.
    fleet.settings.max_load = Some(6.0);
    assert_eq!(needed(&fleet), 8);
    fleet.settings.max_load = Some(0.5);
    assert_eq!(needed(&fleet), 20, "never more than the policy allows");
}

#[test]
fn after_a_quiet_time_the_last_one_is_emptied_and_then_released() {
    let mut fleet = Fleet::new(40, policy(10, 1, 9));
    fleet.tick_for(TICK * 30);
    assert_eq!(fleet.size, 4);
    fleet.topics = topics(25);
    let quiet = fleet.tick_for(Duration::from_secs(300));
    assert!(quiet.iter().all(|scaled| scaled.collectors == 4 && scaled.drain.is_empty()), "{quiet:?}");
    let draining = fleet.tick();
    assert_eq!((draining.collectors, draining.drain), (4, BTreeSet::from([id(3)])));
    let rest = fleet.tick_for(Duration::from_secs(600));
    assert_eq!(rest.iter().filter(|scaled| scaled.release == Some(id(3))).count(), 1);
    assert_eq!(fleet.size, 3);
    for ordinal in 0..3 {
        assert!(fleet.plan.assignment(&id(ordinal)).topics.len() <= 10);
    }
}

#[test]
fn a_collector_that_leaves_stays_when_it_is_needed_after_all() {
    let mut fleet = Fleet::new(40, policy(10, 1, 9));
    fleet.tick_for(TICK * 30);
    fleet.topics = topics(25);
    fleet.tick_for(Duration::from_secs(310));
    fleet.topics = topics(38);
    let scaled = fleet.tick();
    assert_eq!((scaled.collectors, scaled.drain, scaled.release), (4, BTreeSet::new(), None));
}

#[test]
fn a_lost_collector_is_replaced_after_a_while_and_nothing_leaves_meanwhile() {
    let mut fleet = Fleet::new(38, policy(10, 1, 9));
    fleet.tick_for(TICK * 30);
    fleet.states.insert(1, CollectorState::Lost);
    fleet.tick_for(Duration::from_secs(60));
    assert_eq!(fleet.size, 4);
    let scaled = fleet.tick();
    assert_eq!((scaled.collectors, scaled.why), (5, Why::Replaces { collectors: vec![id(1)] }));
    // It is back, and after a quiet time there are as many as before.
    fleet.states.clear();
    fleet.tick_for(Duration::from_secs(290));
    assert_eq!(fleet.size, 5);
    fleet.tick_for(Duration::from_secs(200));
    assert_eq!(fleet.size, 4);
}

#[test]
fn a_collector_that_is_about_to_stop_has_time_to_come_back_before_it_is_replaced() {
    let mut fleet = Fleet::new(38, policy(10, 1, 9));
    fleet.tick_for(TICK * 30);
    fleet.states.insert(1, CollectorState::Draining);
    fleet.stopping.insert(id(1));
    fleet.tick_for(Duration::from_secs(30));
    // It has gone, which is no other reason than before.
    fleet.states.insert(1, CollectorState::Lost);
    fleet.stopping.clear();
    fleet.tick_for(Duration::from_secs(30));
    assert_eq!(fleet.size, 4);
    assert_eq!(fleet.tick().why, Why::Replaces { collectors: vec![id(1)] });
}

#[test]
fn where_new_ones_are_lost_too_each_is_replaced_once() {
    let mut fleet = Fleet::new(30, policy(10, 1, 50));
    fleet.tick_for(TICK * 30);
    fleet.states = (0..50).map(|ordinal| (ordinal, CollectorState::Lost)).collect();
    fleet.tick_for(Duration::from_secs(1200));
    assert_eq!(fleet.size, 6);
}

#[test]
fn nothing_leaves_while_an_operator_drains_or_a_topic_is_pinned_to_the_last_one() {
    let mut fleet = Fleet::new(40, policy(10, 1, 9));
    fleet.tick_for(TICK * 30);
    fleet.states.insert(0, CollectorState::Draining);
    assert_eq!(fleet.tick().collectors, 5);
    fleet.states.clear();
    fleet.topics = topics(15);
    fleet.topics[3].pinned = Some(id(4));
    let scaled = fleet.tick_for(Duration::from_secs(900)).pop().unwrap();
    assert_eq!(scaled.collectors, 5);
    assert_eq!(scaled.why, Why::Topic { topic: "t00003".to_owned(), what: TopicWait::Pinned });
}

#[test]
fn a_provider_whose_topics_have_gone_needs_nobody() {
    let mut fleet = Fleet::new(15, Policy { kind: PolicyKind::PerProvider, ..policy(10, 2, 9) });
    fleet.tick_for(TICK * 30);
    assert_eq!(fleet.size, 2);
    fleet.topics.clear();
    fleet.tick_for(Duration::from_secs(900));
    assert_eq!(fleet.size, 0);
}

#[test]
fn a_load_that_trembles_in_the_band_has_no_collector_come_and_go() {
    let mut fleet = Fleet::new(200, policy(20, 1, 50));
    fleet.tick_for(TICK * 60);
    let mut changes = 0;
    let mut size = fleet.size;
    for round in 0..25 {
        fleet.topics = topics(200 + [0, 4, 1, 9, 3][round % 5]);
        // Each level lasts longer than the quiet time.
        fleet.tick_for(Duration::from_secs(400));
        changes += usize::from(fleet.size != size);
        size = fleet.size;
    }
    assert!(changes <= 1, "{changes} changes");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn sizes_stay_within_the_policy_and_nobody_is_overfull_for_scaling_in(
        max_per_host in 3_u32..30,
        min in 1_u32..4,
        more in 0_u32..8,
        by_provider in any::<bool>(),
        phases in prop::collection::vec((0_usize..200, 1_u64..80, prop::option::weighted(0.3, 0_usize..8)), 1..8),
    ) {
        let kind = if by_provider { PolicyKind::PerProvider } else { PolicyKind::MaxPerHost };
        let mut fleet = Fleet::new(0, Policy { kind, ..policy(max_per_host, min, min + more) });
        for (count, ticks, lost) in phases {
            fleet.topics = topics(count);
            fleet.states = lost.into_iter().map(|ordinal| (ordinal, CollectorState::Lost)).collect();
            for _ in 0..ticks {
                let before = fleet.size;
                let scaled = fleet.tick();
                let least = if by_provider { 0 } else { min as usize };
                prop_assert!((least..=(min + more) as usize).contains(&scaled.collectors));
                prop_assert!(scaled.collectors + 1 >= before, "one at a time");
                if scaled.release.is_some() {
                    // All fit on those that are left.
                    prop_assert!(scaled.collectors * max_per_host as usize >= count);
                }
            }
        }
    }
}
