//! What planning promises, as properties and as stories.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

mod moves;
mod properties;
mod wishes;

use super::*;
use crate::plan::{AssignedTopic, Placement};
use crate::policy::Policy;

fn topic(name: impl Into<String>, load: f64) -> TopicLoad {
    let spec = AssignedTopic {
        topic: name.into(),
        concurrency_window: Duration::from_secs(15),
        rate_window: Duration::from_secs(60),
    };
    TopicLoad::new(spec, "default", load)
}

fn topics(loads: impl IntoIterator<Item = f64>) -> Vec<TopicLoad> {
    loads.into_iter().enumerate().map(|(index, load)| topic(format!("plimsoll.shop.t{index:06}"), load)).collect()
}

fn zipf(count: usize, exponent: f64) -> Vec<TopicLoad> {
    topics((1..=count).map(|rank| 1000.0 / (rank as f64).powf(exponent)))
}

fn collector(index: usize, state: CollectorState) -> CollectorInfo {
    CollectorInfo { id: format!("collector-{index:04}"), provider: "default".to_owned(), state, warm: BTreeSet::new() }
}

fn ready(count: usize) -> Vec<CollectorInfo> {
    (0..count).map(|index| collector(index, CollectorState::Ready)).collect()
}

fn at_most(max_per_host: u32) -> Policy {
    Policy { max_per_host, max_collectors: 1000, ..Policy::default() }
}

fn problem(topics: Vec<TopicLoad>, collectors: Vec<CollectorInfo>) -> Problem {
    Problem { topics, collectors, policy: at_most(1_000_000), rebalance: false }
}

/// The problem as it is a moment later: whoever was to become warm is.
fn warmed(problem: &Problem, plan: &Plan) -> Problem {
    let mut problem = problem.clone();
    for collector in &mut problem.collectors {
        collector.warm = plan
            .topics
            .iter()
            .filter(|(_, placed)| placed.placement.incoming.as_ref() == Some(&collector.id))
            .map(|(topic, _)| topic.clone())
            .collect();
    }
    problem
}

/// Plans and lets moves finish until nothing changes; gives the last plan and all moves.
fn rest(problem: &Problem, plan: &Plan) -> (Plan, Vec<Move>) {
    let (mut plan, mut moves) = (plan.clone(), Vec::new());
    for _ in 0..500 {
        let solution = solve(&warmed(problem, &plan), &plan);
        if solution.plan.generation == plan.generation {
            return (plan, moves);
        }
        moves.extend(solution.moves);
        plan = solution.plan;
    }
    panic!("planning does not come to rest");
}

fn loads(problem: &Problem, plan: &Plan) -> BTreeMap<String, f64> {
    let mut loads: BTreeMap<String, f64> = problem
        .collectors
        .iter()
        .filter(|collector| collector.state == CollectorState::Ready)
        .map(|collector| (collector.id.clone(), 0.0))
        .collect();
    for topic in &problem.topics {
        let placed = plan.topics.get(&topic.spec.topic).unwrap();
        *loads.entry(placed.placement.owner.clone().unwrap()).or_default() += topic.load;
    }
    loads
}

fn skew(problem: &Problem, plan: &Plan) -> f64 {
    let loads = loads(problem, plan);
    let total: f64 = loads.values().sum();
    loads.values().copied().fold(0.0, f64::max) / (total / loads.len() as f64)
}

#[test]
fn every_topic_is_placed_and_the_same_problem_gives_no_move() {
    let problem = problem(zipf(1000, 1.0), ready(7));
    let first = solve(&problem, &Plan::default());
    assert_eq!(first.plan.generation, 1);
    assert_eq!(first.plan.topics.len(), 1000);
    assert!(first.unassigned.is_empty());
    let second = solve(&problem, &first.plan);
    assert_eq!(second.plan, first.plan);
    assert_eq!(second.moves, []);
}

#[test]
fn the_hottest_collector_is_within_a_tenth_of_the_mean_or_has_one_topic() {
    for exponent in [0.0, 0.5, 0.8, 1.0, 1.2] {
        for collectors in [2, 5, 20] {
            let problem = problem(zipf(2000, exponent), ready(collectors));
            let (plan, _) = rest(&problem, &Plan::default());
            let total: f64 = problem.topics.iter().map(|topic| topic.load).sum();
            let forced = problem.topics[0].load / (total / collectors as f64);
            let skew = skew(&problem, &plan);
            assert!(skew <= forced.max(1.10), "exponent {exponent}, {collectors} collectors: {skew}, forced {forced}");
        }
    }
}

#[test]
fn a_collector_that_joins_gets_its_share_by_the_least_moves() {
    for (before, count) in [(2, 300), (4, 1000), (20, 1000), (50, 5000)] {
        let topics = topics(std::iter::repeat_n(1.0, count));
        let (plan, _) = rest(&problem(topics.clone(), ready(before)), &Plan::default());
        let joined = problem(topics, ready(before + 1));
        let (plan, moves) = rest(&joined, &plan);
        let least = count / (before + 1);
        assert!(moves.len() * 10 <= least * 11, "{before} collectors: {} moves, least {least}", moves.len());
        assert!(moves.iter().all(|planned| !planned.forced));
        let newest = format!("collector-{before:04}");
        let share = loads(&joined, &plan)[&newest] / (count as f64 / (before + 1) as f64);
        assert!(share >= 0.9, "{before} collectors: the new one has {share} of its share");
        assert!(skew(&joined, &plan) <= 1.1);
    }
}

#[test]
fn a_collector_that_joins_a_fleet_with_topics_of_all_sizes_gets_its_share() {
    for exponent in [0.5, 0.8, 1.0] {
        let topics = zipf(5000, exponent);
        let (plan, _) = rest(&problem(topics.clone(), ready(50)), &Plan::default());
        let joined = problem(topics, ready(51));
        let (after, moves) = rest(&joined, &plan);
        let mut loads: Vec<f64> = loads(&joined, &after).into_values().collect();
        let newest = loads.pop().unwrap();
        loads.sort_by(f64::total_cmp);
        assert!(newest >= 0.89 * loads[25], "exponent {exponent}: {newest} of {}", loads[25]);
        // It gets what is large enough to matter, and no crumbs.
        assert!(moves.len() <= 40, "exponent {exponent}: {} moves", moves.len());
    }
}

#[test]
fn what_a_lost_collector_had_goes_elsewhere_at_once_and_nothing_else_moves() {
    for exponent in [0.0, 1.0] {
        let mut problem = problem(zipf(1000, exponent), ready(10));
        let (plan, _) = rest(&problem, &Plan::default());
        let had = plan.assignment("collector-0003").topics.len();
        problem.collectors[3].state = CollectorState::Lost;
        let solution = solve(&problem, &plan);
        let forced = solution.moves.iter().filter(|planned| planned.forced).count();
        assert_eq!(forced, had);
        assert!(solution.moves.len() <= had + had / 10);
        assert!(solution.moves.iter().filter(|planned| planned.forced).all(|planned| planned.reason == Reason::Lost));
        assert!(solution.plan.assignment("collector-0003").topics.is_empty());
        // Gone from the list is as good as lost.
        problem.collectors.remove(3);
        assert_eq!(solve(&problem, &plan).plan, solution.plan);
    }
}

#[test]
fn a_round_moves_nine_percent_of_the_load_at_most() {
    let topics = zipf(500, 0.6);
    let total: f64 = topics.iter().map(|topic| topic.load).sum();
    let (plan, _) = rest(&problem(topics.clone(), ready(2)), &Plan::default());
    let joined = problem(topics, ready(4));
    let solution = solve(&joined, &plan);
    let moving: f64 = joined
        .topics
        .iter()
        .filter(|topic| solution.plan.topics.get(&topic.spec.topic).unwrap().placement.incoming.is_some())
        .map(|topic| topic.load)
        .sum();
    assert!(moving > 0.05 * total && moving <= 0.0901 * total, "{}", moving / total);
    // Nothing more until these are over.
    assert_eq!(solve(&joined, &solution.plan).moves, []);
}

#[test]
fn a_topic_heavier_than_a_round_moves_alone() {
    let mut problem = problem(topics([5.0, 5.0, 1.0]), ready(2));
    let (plan, _) = rest(&problem, &Plan::default());
    problem.collectors[0].state = CollectorState::Draining;
    let solution = solve(&problem, &plan);
    assert_eq!(solution.moves.len(), 1);
    let (plan, _) = rest(&problem, &plan);
    assert!(plan.assignment("collector-0000").topics.is_empty());
}

#[test]
fn nothing_moves_inside_the_dead_band() {
    let before = problem(topics(std::iter::repeat_n(1.0, 300)), ready(3));
    let (plan, _) = rest(&before, &Plan::default());
    let mut after = before.clone();
    // One collector 9 % over the others' load, another 9 % under.
    for topic in &mut after.topics {
        let owner = plan.topics.get(&topic.spec.topic).unwrap().placement.owner.clone().unwrap();
        topic.load = match owner.as_str() {
            "collector-0000" => 1.09,
            "collector-0001" => 0.91,
            _ => 1.0,
        };
    }
    assert_eq!(solve(&after, &plan).plan, plan);
}

#[test]
fn a_cordoned_collector_keeps_what_it_has_and_gets_nothing_new() {
    let mut problem = problem(topics(std::iter::repeat_n(1.0, 30)), ready(3));
    let (plan, _) = rest(&problem, &Plan::default());
    let had = plan.assignment("collector-0001").topics;
    problem.collectors[1].state = CollectorState::Cordoned;
    problem.topics.extend((0..10).map(|index| topic(format!("plimsoll.new.t{index}"), 1.0)));
    let (plan, _) = rest(&problem, &plan);
    assert_eq!(plan.assignment("collector-0001").topics, had);
}

#[test]
fn without_a_ready_collector_topics_are_told_and_keep_their_place() {
    let mut problem = problem(topics([1.0, 1.0]), ready(1));
    let (plan, _) = rest(&problem, &Plan::default());
    problem.collectors.clear();
    problem.topics.push(topic("plimsoll.shop.new", 1.0));
    let solution = solve(&problem, &plan);
    assert_eq!(solution.unassigned.len(), 3);
    assert_eq!(solution.plan, plan);
    // A collector that comes back finds them.
    problem.collectors = ready(1);
    let solution = solve(&problem, &plan);
    assert_eq!(solution.moves.len(), 1);
    assert!(solution.unassigned.is_empty());
}

#[test]
fn full_collectors_get_topics_all_the_same_and_more_are_wanted() {
    let mut problem = problem(topics(std::iter::repeat_n(1.0, 25)), ready(2));
    problem.policy = at_most(10);
    let solution = solve(&problem, &Plan::default());
    assert_eq!(solution.plan.topics.len(), 25);
    assert_eq!(solution.wanted[""], 3);
    problem.collectors = ready(3);
    let (plan, moves) = rest(&problem, &solution.plan);
    for index in 0..3 {
        assert!(plan.assignment(&format!("collector-{index:04}")).topics.len() <= 10);
    }
    assert!(moves.len() <= 8);
}

#[test]
fn full_collectors_swap_when_load_shifts() {
    let mut problem = problem(topics(std::iter::repeat_n(1.0, 40)), ready(2));
    problem.policy = at_most(20);
    let (plan, _) = rest(&problem, &Plan::default());
    for topic in &mut problem.topics {
        if plan.topics.get(&topic.spec.topic).unwrap().placement.owner.as_deref() == Some("collector-0000") {
            topic.load = 2.0;
        }
    }
    let (plan, _) = rest(&problem, &plan);
    assert!(skew(&problem, &plan) <= 1.1, "{}", skew(&problem, &plan));
    assert_eq!(plan.assignment("collector-0000").topics.len(), 20);
}

#[test]
fn an_incoming_collector_that_is_lost_is_dropped_and_one_that_reads_takes_over_from_a_lost_owner() {
    let mut problem = problem(topics([1.0]), ready(2));
    let (plan, _) = rest(&problem, &Plan::default());
    let owner = plan.topics.values().next().unwrap().placement.owner.clone().unwrap();
    assert_eq!(owner, "collector-0000");
    problem.collectors[0].state = CollectorState::Draining;
    let moving = solve(&problem, &plan).plan;
    let placement = &moving.topics.values().next().unwrap().placement;
    assert_eq!(*placement, Placement { owner: Some(owner), incoming: Some("collector-0001".to_owned()) });

    let mut incoming_lost = problem.clone();
    incoming_lost.collectors[1].state = CollectorState::Lost;
    let kept = solve(&incoming_lost, &moving).plan;
    assert_eq!(kept.topics.values().next().unwrap().placement, Placement::owned_by("collector-0000"));

    let mut owner_lost = problem.clone();
    owner_lost.collectors[0].state = CollectorState::Lost;
    let taken = solve(&owner_lost, &moving).plan;
    assert_eq!(taken.topics.values().next().unwrap().placement, Placement::owned_by("collector-0001"));
}

#[test]
fn a_topic_that_has_gone_leaves_the_plan_and_a_changed_window_enters_it() {
    let mut problem = problem(topics([1.0, 2.0, 3.0]), ready(1));
    let (plan, _) = rest(&problem, &Plan::default());
    problem.topics.remove(1);
    problem.topics[0].spec.concurrency_window = Duration::from_secs(30);
    let solution = solve(&problem, &plan);
    assert_eq!(solution.plan.generation, plan.generation + 1);
    assert_eq!(solution.plan.topics.len(), 2);
    assert_eq!(solution.plan.topics.values().next().unwrap().spec.concurrency_window, Duration::from_secs(30));
    assert_eq!(solution.moves, []);
}
