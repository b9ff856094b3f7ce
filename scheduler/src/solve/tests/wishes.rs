//! What operators wish for, as stories.

use super::*;
use crate::policy::PolicyKind;

fn even(count: usize) -> Vec<TopicLoad> {
    topics(std::iter::repeat_n(1.0, count))
}

fn owner<'a>(plan: &'a Plan, topic: &TopicLoad) -> &'a str {
    plan.topics.get(&topic.spec.topic).unwrap().placement.owner.as_deref().unwrap()
}

fn obstacle(solution: &Solution) -> &Obstacle {
    assert_eq!(solution.obstacles.len(), 1, "{:?}", solution.obstacles);
    &solution.obstacles[0].1
}

/// Topics and collectors of two providers in turn.
fn two_providers(count: usize, collectors: usize) -> Problem {
    let name = |index: usize| ["aws", "gcp"][index % 2].to_owned();
    let mut problem = problem(even(count), ready(collectors));
    problem.policy.kind = PolicyKind::PerProvider;
    problem.topics.iter_mut().enumerate().for_each(|(index, topic)| topic.provider = name(index));
    problem.collectors.iter_mut().enumerate().for_each(|(index, collector)| collector.provider = name(index));
    problem
}

#[test]
fn each_providers_topics_are_on_its_own_collectors_and_n_applies_inside_each() {
    let mut problem = two_providers(30, 4);
    problem.policy.max_per_host = 10;
    problem.topics[29].provider = "aws".to_owned();
    let (plan, _) = rest(&problem, &Plan::default());
    for (index, topic) in problem.topics.iter().enumerate() {
        let at = problem.collectors.iter().find(|info| info.id == owner(&plan, topic)).unwrap();
        assert_eq!(at.provider, topic.provider, "topic {index}");
    }
    let solution = solve(&problem, &plan);
    assert_eq!(solution.wanted, BTreeMap::from([("aws".to_owned(), 2), ("gcp".to_owned(), 2)]));
}

#[test]
fn a_provider_that_nobody_knew_is_told_of_and_wants_a_collector() {
    let mut problem = two_providers(10, 2);
    problem.topics[3].provider = "moon".to_owned();
    let solution = solve(&problem, &Plan::default());
    assert_eq!(solution.unassigned, [problem.topics[3].spec.topic.clone()]);
    assert_eq!(*obstacle(&solution), Obstacle::NoCollector { provider: "moon".to_owned() });
    assert_eq!(solution.wanted["moon"], 1);
    problem.collectors.push(CollectorInfo { provider: "moon".to_owned(), ..collector(7, CollectorState::Ready) });
    let (plan, _) = rest(&problem, &solution.plan);
    assert_eq!(owner(&plan, &problem.topics[3]), "collector-0007");
}

#[test]
fn a_topic_whose_provider_changes_moves_when_its_new_reader_is_warm() {
    let mut problem = two_providers(10, 2);
    let (plan, _) = rest(&problem, &Plan::default());
    problem.topics[3].provider = "aws".to_owned();
    let solution = solve(&problem, &plan);
    assert_eq!(solution.moves.len(), 1);
    assert_eq!((solution.moves[0].reason, solution.moves[0].forced), (Reason::Provider, false));
    let (after, moves) = rest(&problem, &plan);
    assert_eq!((owner(&after, &problem.topics[3]), moves.len()), ("collector-0000", 1));
    // Nobody is there for the new one: it is read on by the old.
    problem.topics[3].provider = "moon".to_owned();
    let solution = solve(&problem, &after);
    assert_eq!(
        (solution.plan.topics.get(&problem.topics[3].spec.topic).unwrap().placement.clone(), solution.unassigned),
        (Placement::owned_by("collector-0000"), vec![])
    );
    assert_eq!(solution.obstacles.len(), 1);
}

#[test]
fn a_pin_is_followed_also_onto_a_cordoned_collector_and_is_no_haste() {
    let mut problem = problem(even(90), ready(3));
    let (plan, _) = rest(&problem, &Plan::default());
    let away = problem.topics.iter().position(|topic| owner(&plan, topic) != "collector-0002").unwrap();
    problem.topics[away].pinned = Some("collector-0002".to_owned());
    problem.collectors[2].state = CollectorState::Cordoned;
    let solution = solve(&problem, &plan);
    assert_eq!(solution.moves.len(), 1);
    assert_eq!((solution.moves[0].reason, solution.moves[0].forced), (Reason::Pinned, false));
    let (plan, _) = rest(&problem, &plan);
    assert_eq!(owner(&plan, &problem.topics[away]), "collector-0002");
    // A drain is stronger, and told.
    problem.collectors[2].state = CollectorState::Draining;
    let (plan, _) = rest(&problem, &plan);
    assert_ne!(owner(&plan, &problem.topics[away]), "collector-0002");
    let told = solve(&problem, &plan);
    assert_eq!(*obstacle(&told), Obstacle::PinnedToDraining { collector: "collector-0002".to_owned() });
}

#[test]
fn a_topic_pinned_to_a_lost_collector_is_read_elsewhere_and_returns() {
    let mut problem = problem(even(9), ready(3));
    problem.topics[0].pinned = Some("collector-0002".to_owned());
    let (plan, _) = rest(&problem, &Plan::default());
    assert_eq!(owner(&plan, &problem.topics[0]), "collector-0002");
    problem.collectors[2].state = CollectorState::Lost;
    let (plan, _) = rest(&problem, &plan);
    assert_ne!(owner(&plan, &problem.topics[0]), "collector-0002");
    assert_eq!(*obstacle(&solve(&problem, &plan)), Obstacle::PinnedToAbsent { collector: "collector-0002".to_owned() });
    problem.collectors[2].state = CollectorState::Ready;
    let (plan, _) = rest(&problem, &plan);
    assert_eq!(owner(&plan, &problem.topics[0]), "collector-0002");
}

#[test]
fn a_pin_that_can_not_be_followed_is_told_and_the_topic_read_all_the_same() {
    let mut problem = two_providers(10, 2);
    problem.topics[0].pinned = Some("nobody".to_owned());
    let solution = solve(&problem, &Plan::default());
    assert_eq!(*obstacle(&solution), Obstacle::PinnedToUnknown { collector: "nobody".to_owned() });
    assert_eq!(owner(&solution.plan, &problem.topics[0]), "collector-0000");
    problem.topics[0].pinned = Some("collector-0001".to_owned());
    let solution = solve(&problem, &solution.plan);
    let expected =
        Obstacle::PinnedToOtherProvider { collector: "collector-0001".to_owned(), provider: "gcp".to_owned() };
    assert_eq!(*obstacle(&solution), expected);
    assert_eq!(solution.moves, []);
}

#[test]
fn a_dedicated_topic_has_a_collector_for_itself_and_counts_in_what_is_wanted() {
    let mut problem = problem(even(40), ready(2));
    problem.policy = at_most(20);
    let (plan, _) = rest(&problem, &Plan::default());
    problem.topics[7].dedicated = true;
    // The others would not fit on what is left.
    let solution = solve(&problem, &plan);
    assert_eq!(*obstacle(&solution), Obstacle::NoneOfItsOwn);
    assert_eq!((solution.wanted[""], solution.moves.len()), (3, 0));
    problem.collectors = ready(3);
    let (plan, moves) = rest(&problem, &plan);
    assert_eq!(owner(&plan, &problem.topics[7]), "collector-0002");
    assert_eq!(plan.assignment("collector-0002").topics.len(), 1);
    assert_eq!(moves.len(), 1, "the others stay");
    assert_eq!(moves[0].reason, Reason::Dedicated);
    // It is not dedicated any more: its collector gets others.
    problem.topics[7].dedicated = false;
    let (plan, _) = rest(&problem, &plan);
    assert!(plan.assignment("collector-0002").topics.len() > 10);
}

#[test]
fn a_rebalance_evens_out_what_is_inside_the_dead_band() {
    let mut problem = problem(even(300), ready(3));
    let (plan, _) = rest(&problem, &Plan::default());
    for topic in &mut problem.topics {
        topic.load = match owner(&plan, topic) {
            "collector-0000" => 1.08,
            "collector-0001" => 0.92,
            _ => 1.0,
        };
    }
    assert_eq!(solve(&problem, &plan).plan, plan);
    problem.rebalance = true;
    let (even, moves) = rest(&problem, &plan);
    assert!(skew(&problem, &even) <= 1.02, "{}", skew(&problem, &even));
    assert!(moves.iter().all(|planned| planned.reason == Reason::Rebalance));
    assert!(moves.len() <= 12, "{}", moves.len());
    problem.rebalance = false;
    assert_eq!(solve(&problem, &even).plan, even);
}
