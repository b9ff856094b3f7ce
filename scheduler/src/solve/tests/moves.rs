//! How much planning moves, and how evenly it spreads, in fleets of all kinds.

use proptest::prelude::*;

use super::*;

/// Fleets whose topics are alike, or follow Zipf's law: topics, exponent, collectors.
fn any_fleet() -> impl Strategy<Value = (usize, f64, usize)> {
    fleet_with(prop_oneof![Just(0.0), 0.1..0.5, 0.5..=1.0])
}

fn fleet_with(exponent: impl Strategy<Value = f64> + Clone) -> impl Strategy<Value = (usize, f64, usize)> {
    (2_usize..15)
        .prop_flat_map(move |collectors| (collectors * 20..collectors * 60, exponent.clone(), Just(collectors)))
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

/// The mean of what can be shared by so many: a topic that alone is more than the mean has a collector for itself.
fn fair_share(problem: &Problem, collectors: usize) -> f64 {
    let mut topics: Vec<f64> = problem.topics.iter().map(|topic| topic.load).collect();
    topics.sort_by(|a, b| b.total_cmp(a));
    let (mut rest, mut left) = (topics.iter().sum::<f64>(), collectors);
    for load in topics {
        if left <= 1 || load <= rest / left as f64 {
            break;
        }
        (rest, left) = (rest - load, left - 1);
    }
    rest / left as f64
}

/// The least load that must move when a collector goes and all others are to be inside the band again: what it had; and where one of its
/// topics is more than the room on the least loaded of the others, the rest of it, or all that such a one has, which must make way.
fn least_to_leave(problem: &Problem, plan: &Plan, gone: &str) -> f64 {
    let carried = loads(problem, plan);
    let others = carried.iter().filter(|(id, _)| *id != gone);
    let coldest = others.map(|(_, load)| *load).fold(f64::INFINITY, f64::min);
    let room = (fair_share(problem, carried.len() - 1) * 1.1 - coldest).max(0.0);
    let lost = problem.topics.iter().filter(|topic| owner(plan, topic) == gone);
    lost.map(|topic| topic.load + (topic.load - room).clamp(0.0, coldest)).sum()
}

/// The hottest collector is within a tenth of the mean, or has little but the hottest topic. In small fleets with steep loads the topics do not
/// always allow a tenth, or only by moves of three and more at once, which are not sought: a quarter is allowed there.
fn is_even(problem: &Problem, plan: &Plan, exponent: f64) -> bool {
    let over = if exponent <= 0.5 { 1.1 } else { 1.25 };
    let loads = loads(problem, plan);
    let mean = loads.values().sum::<f64>() / loads.len() as f64;
    let hottest = loads.values().copied().fold(0.0, f64::max);
    hottest <= (mean * over).max(hottest_topic(problem) * 1.0001) + mean * 0.01
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
        prop_assert!(is_even(&joined, &after, exponent));
        // One topic more or less can not be helped.
        let most = 1.1 * share + hottest_topic(&joined);
        prop_assert!(moved(&joined, &plan, &after) <= most, "{} of {share}", moved(&joined, &plan, &after));
    }

    #[test]
    fn who_leaves_has_its_topics_moved_and_hardly_any_other((count, exponent, before) in any_fleet()) {
        let topics = zipf(count, exponent);
        let whole = problem(topics.clone(), ready(before));
        let (plan, _) = rest(&whole, &Plan::default());
        let mut left = problem(topics, ready(before));
        left.collectors[0].state = CollectorState::Lost;
        let had = plan.assignment("collector-0000").topics.len();
        let (after, moves) = rest(&left, &plan);
        prop_assert!(is_even(&left, &after, exponent), "{:?}", loads(&left, &after));
        let forced = moves.iter().filter(|planned| planned.forced).count();
        prop_assert_eq!(forced, had);
        let least = least_to_leave(&whole, &plan, "collector-0000");
        let all = moved(&left, &plan, &after);
        // One topic more or less can not be helped: the largest that shares a collector with others.
        let fair = fair_share(&left, before - 1);
        let shared = left.topics.iter().map(|topic| topic.load).filter(|load| *load <= fair).fold(0.0, f64::max);
        prop_assert!(all <= 1.1 * least + 2.0 * shared, "{all} moved, {least} is the least, a topic of {shared} shares");
    }

    #[test]
    fn voluntary_moves_in_flight_are_nine_percent_of_the_load_or_one_topic_or_two_that_change_places(
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
            let places = solution.plan.topics.values().map(|placed| &placed.placement);
            let places: Vec<_> = places.filter(|place| place.incoming.is_some()).collect();
            let exchange = matches!(places[..], [one, other] if one.incoming == other.owner && other.incoming == one.owner);
            let few = moving.len() <= 1 || exchange;
            // A thousandth of the mean is what a topic weighs for being there.
            prop_assert!(few || weight <= 0.0905 * total, "{} of {total}", weight);
            if solution.plan.generation == plan.generation {
                break;
            }
            plan = solution.plan;
        }
    }

    #[test]
    fn loads_that_tremble_move_nothing(
        (count, exponent, collectors) in fleet_with(prop_oneof![Just(0.0), 0.1..0.5]),
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
