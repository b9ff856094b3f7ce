//! How much planning moves, and how evenly it spreads, in fleets of all kinds.

use proptest::prelude::*;

use super::*;

/// Fleets whose topics are alike, or follow Zipf's law: topics, exponent, collectors. With a steeper law two or three topics are most of what so few
/// collectors have: more must move then, and what would help may be over the budget (see `make bench-scheduler`).
fn any_fleet() -> impl Strategy<Value = (usize, f64, usize)> {
    (2_usize..15).prop_flat_map(|collectors| {
        (collectors * 20..collectors * 60, prop_oneof![Just(0.0), 0.1..0.5], Just(collectors))
    })
}

fn owner<'a>(plan: &'a Plan, topic: &TopicLoad) -> &'a str {
    plan.topics.get(&topic.spec.topic).unwrap().placement.owner.as_deref().unwrap()
}

/// The load that moved from one owner to another.
fn moved(problem: &Problem, before: &Plan, after: &Plan) -> f64 {
    let changed = problem.topics.iter().filter(|topic| owner(before, topic) != owner(after, topic));
    changed.map(|topic| topic.load).sum()
}

fn hottest_topic(problem: &Problem) -> f64 {
    problem.topics.iter().map(|topic| topic.load).fold(0.0, f64::max)
}

/// The hottest collector is within a tenth of the mean, or has little but the hottest topic.
fn is_even(problem: &Problem, plan: &Plan) -> bool {
    let loads = loads(problem, plan);
    let mean = loads.values().sum::<f64>() / loads.len() as f64;
    let hottest = loads.values().copied().fold(0.0, f64::max);
    hottest <= (mean * 1.1).max(hottest_topic(problem) * 1.0001) + mean * 0.01
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn who_joins_gets_a_share_for_no_more_than_a_tenth_over_the_least_moves((count, exponent, before) in any_fleet(), join in 1_usize..4) {
        let topics = zipf(count, exponent);
        let (plan, _) = rest(&problem(topics.clone(), ready(before)), &Plan::default());
        let joined = problem(topics, ready(before + join));
        let (after, _) = rest(&joined, &plan);
        let total: f64 = joined.topics.iter().map(|topic| topic.load).sum();
        let share = total / (before + join) as f64 * join as f64;
        prop_assert!(is_even(&joined, &after));
        // One topic more or less can not be helped.
        let most = 1.1 * share + hottest_topic(&joined);
        prop_assert!(moved(&joined, &plan, &after) <= most, "{} of {share}", moved(&joined, &plan, &after));
    }

    #[test]
    fn who_leaves_has_its_topics_moved_and_hardly_any_other((count, exponent, before) in any_fleet()) {
        let topics = zipf(count, exponent);
        let (plan, _) = rest(&problem(topics.clone(), ready(before)), &Plan::default());
        let mut left = problem(topics, ready(before));
        left.collectors[0].state = CollectorState::Lost;
        let had = plan.assignment("collector-0000").topics.len();
        let (after, moves) = rest(&left, &plan);
        prop_assert!(is_even(&left, &after), "{:?}", loads(&left, &after));
        let forced = moves.iter().filter(|planned| planned.forced).count();
        prop_assert_eq!(forced, had);
        // A large topic that finds no room has smaller ones make way.
        let lost: f64 = left.topics.iter().filter(|topic| owner(&plan, topic) == "collector-0000").map(|topic| topic.load).sum();
        let all = moved(&left, &plan, &after);
        prop_assert!(all <= 1.1 * lost + 2.0 * hottest_topic(&left), "{all} moved, {lost} lost");
    }

    #[test]
    fn voluntary_moves_in_flight_are_nine_percent_of_the_load_or_one_topic(
        loads in prop::collection::vec(0.1_f64..100.0, 10..120),
        before in 1_usize..6,
        after in 1_usize..6,
        draining in any::<bool>(),
    ) {
        let (plan, _) = rest(&problem(topics(loads.clone()), ready(before)), &Plan::default());
        let mut problem = problem(topics(loads), ready(before.max(after)));
        if draining {
            problem.collectors[0].state = CollectorState::Draining;
        }
        let mut plan = plan;
        let total: f64 = problem.topics.iter().map(|topic| topic.load).sum();
        for _ in 0..200 {
            let solution = solve(&warmed(&problem, &plan), &plan);
            let moving = |topic: &&TopicLoad| {
                solution.plan.topics.get(&topic.spec.topic).is_some_and(|placed| placed.placement.incoming.is_some())
            };
            let moving: Vec<f64> = problem.topics.iter().filter(moving).map(|topic| topic.load).collect();
            let weight: f64 = moving.iter().sum();
            // A thousandth of the mean is what a topic weighs for being there.
            prop_assert!(moving.len() <= 1 || weight <= 0.0905 * total, "{} of {total}", weight);
            if solution.plan.generation == plan.generation {
                break;
            }
            plan = solution.plan;
        }
    }

    #[test]
    fn loads_that_tremble_move_nothing(
        (count, exponent, collectors) in any_fleet(),
        noise in prop::collection::vec(0.96_f64..1.04, 900),
    ) {
        let mut problem = problem(zipf(count, exponent), ready(collectors));
        let (plan, _) = rest(&problem, &Plan::default());
        // What is as even as can be, and not inside the band, may well get better by chance.
        prop_assume!(loads(&problem, &plan).values().all(|load| {
            let mean = problem.topics.iter().map(|topic| topic.load).sum::<f64>() / collectors as f64;
            (0.96..1.04).contains(&(load / mean))
        }));
        for (topic, noise) in problem.topics.iter_mut().zip(&noise) {
            topic.load *= noise;
        }
        prop_assert_eq!(&solve(&problem, &plan).plan, &plan);
    }
}
