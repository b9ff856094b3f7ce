//! What planning promises whatever happens.

use proptest::prelude::*;

use super::*;
use crate::policy::PolicyKind;

const PROVIDERS: [&str; 3] = ["aws", "gcp", "default"];

fn any_state() -> impl Strategy<Value = CollectorState> {
    prop_oneof![
        12 => Just(CollectorState::Ready),
        2 => Just(CollectorState::Cordoned),
        1 => Just(CollectorState::Joining),
        2 => Just(CollectorState::Draining),
        2 => Just(CollectorState::Lost),
    ]
}

fn any_load() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), 0.0..1.0, 0.0..100.0, Just(1.0), Just(f64::NAN), Just(-1.0), Just(f64::INFINITY)]
}

/// A topic's load, its provider, the collector that it is pinned to (some of these do not exist), whether it is dedicated.
type AnyTopic = (f64, usize, Option<usize>, bool);

fn any_topic(load: impl Strategy<Value = f64>) -> impl Strategy<Value = AnyTopic> {
    (load, 0..PROVIDERS.len(), prop::option::weighted(0.1, 0_usize..9), prop::bool::weighted(0.04))
}

fn any_policy() -> impl Strategy<Value = Policy> {
    (1_u32..40, any::<bool>()).prop_map(|(max_per_host, by_provider)| Policy {
        kind: if by_provider { PolicyKind::PerProvider } else { PolicyKind::MaxPerHost },
        ..at_most(max_per_host)
    })
}

fn any_problem(load: impl Strategy<Value = f64>) -> impl Strategy<Value = Problem> {
    let topics = prop::collection::btree_map(any::<u8>(), any_topic(load), 0..120);
    let collectors = prop::collection::vec((any_state(), 0..PROVIDERS.len()), 0..9);
    let problem = (topics, collectors, any_policy(), prop::bool::weighted(0.2));
    problem.prop_map(|(topics, collectors, policy, rebalance)| Problem {
        topics: topics.into_iter().map(|(name, any)| made(name, any)).collect(),
        collectors: collectors
            .into_iter()
            .enumerate()
            .map(|(index, (state, provider))| CollectorInfo {
                provider: PROVIDERS[provider].to_owned(),
                ..collector(index, state)
            })
            .collect(),
        policy,
        rebalance,
    })
}

fn made(name: u8, (load, provider, pinned, dedicated): AnyTopic) -> TopicLoad {
    TopicLoad {
        provider: PROVIDERS[provider].to_owned(),
        pinned: pinned.map(|index| format!("collector-{index:04}")),
        dedicated,
        ..topic(format!("t{name:03}"), load)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_happens_plans_keep_their_promises(
        moments in prop::collection::vec((any_problem(any_load()), any::<bool>()), 1..8),
    ) {
        let mut plan = Plan::default();
        for (problem, warm) in moments {
            let problem = if warm { warmed(&problem, &plan) } else { problem };
            let solution = solve(&problem, &plan);
            check(&problem, &plan, &solution);
            // Stable, and blind to the order of the problem.
            let again = solve(&problem, &solution.plan);
            prop_assert_eq!(&again.moves, &vec![]);
            prop_assert_eq!(&again.plan, &solution.plan);
            let mut shuffled = problem.clone();
            shuffled.topics.reverse();
            shuffled.collectors.reverse();
            prop_assert_eq!(&solve(&shuffled, &plan), &solution);
            plan = solution.plan;
        }
    }

    #[test]
    fn a_fleet_comes_to_rest_with_everything_where_it_should_be(
        before in any_problem(0.0..50.0),
        after in any_problem(0.0..50.0),
    ) {
        let (plan, _) = rest(&before, &Plan::default());
        let (plan, _) = rest(&after, &plan);
        let solution = solve(&warmed(&after, &plan), &plan);
        prop_assert_eq!(&solution.plan, &plan);
        check_rest(&after, &solution);
    }
}

/// What holds once everything is over.
fn check_rest(problem: &Problem, solution: &Solution) {
    let by_provider = problem.policy.kind == PolicyKind::PerProvider;
    let capacity = problem.policy.max_per_host as usize;
    let hindered: BTreeSet<&String> = solution.obstacles.iter().map(|(topic, _)| topic).collect();
    let mut having: BTreeMap<&String, Vec<&TopicLoad>> = BTreeMap::new();
    let mut kept: BTreeMap<&String, &String> = BTreeMap::new();
    for topic in problem.topics.iter().filter(|topic| !solution.unassigned.contains(&topic.spec.topic)) {
        let name = &topic.spec.topic;
        let placed = solution.plan.topics.get(name).unwrap();
        assert_eq!(placed.placement.incoming, None, "{name} is still moving");
        let owner = placed.placement.owner.as_ref().unwrap();
        let info = problem.collectors.iter().find(|info| info.id == *owner).unwrap();
        having.entry(&info.id).or_default().push(topic);
        if placed.alone {
            kept.insert(&info.id, name);
        }
        if hindered.contains(name) {
            continue;
        }
        assert!(topic.pinned.as_ref().is_none_or(|pinned| pinned == owner), "{name} is pinned elsewhere");
        assert!(!topic.dedicated || placed.alone, "{name} is not alone");
        assert!(!by_provider || info.provider == topic.provider, "{name} is with another provider's");
    }
    for (&collector, name) in &kept {
        let others = having[collector].iter().map(|topic| &topic.spec.topic);
        assert_eq!(
            others.filter(|other| other != name && !hindered.contains(other)).count(),
            0,
            "{collector} is for {name}"
        );
    }
    for provider in if by_provider { &PROVIDERS[..] } else { &[""] } {
        let of_group = |is: &str| !by_provider || is == *provider;
        let open: Vec<&String> = problem
            .collectors
            .iter()
            .filter(|info| {
                info.state == CollectorState::Ready && of_group(&info.provider) && !kept.contains_key(&info.id)
            })
            .map(|info| &info.id)
            .collect();
        if open.is_empty() {
            continue;
        }
        for info in problem.collectors.iter().filter(|info| of_group(&info.provider)) {
            let has = having.get(&info.id).map_or(&[][..], Vec::as_slice);
            if matches!(info.state, CollectorState::Draining | CollectorState::Lost) {
                let stuck = has.iter().all(|topic| hindered.contains(&topic.spec.topic) && !of_group(&topic.provider));
                assert!(stuck, "{} is not empty", info.id);
            }
            // Pins may overfill a collector, and those of another provider stay where nobody is ready for them.
            let free =
                has.iter().filter(|topic| topic.pinned.as_ref() != Some(&info.id) && of_group(&topic.provider)).count();
            let room = open.iter().any(|id| having.get(id).map_or(0, Vec::len) < capacity);
            assert!(has.len() <= capacity || free == 0 || !room, "{} is overfull, and others have room", info.id);
        }
    }
}

/// What holds between any two plans.
fn check(problem: &Problem, before: &Plan, solution: &Solution) {
    let state = |id: &String| problem.collectors.iter().find(|info| info.id == *id).map(|info| info.state);
    let answers = |id: &String| state(id).is_some_and(|state| state != CollectorState::Lost);
    let warm =
        |id: &String, topic: &String| problem.collectors.iter().any(|info| info.id == *id && info.warm.contains(topic));
    let provider = |id: &String| problem.collectors.iter().find(|info| info.id == *id).map(|info| &info.provider);
    let by_provider = problem.policy.kind == PolicyKind::PerProvider;
    let hindered = |topic: &String| {
        solution.obstacles.iter().filter(|(name, _)| name == topic).map(|(_, what)| what).collect::<Vec<_>>()
    };
    let after = &solution.plan;
    assert_eq!(after.generation - before.generation, u64::from(after.topics != before.topics));
    for topic in &problem.topics {
        let name = &topic.spec.topic;
        let was = before.topics.get(name).map(|placed| &placed.placement);
        let Some(is) = after.topics.get(name).map(|placed| &placed.placement) else {
            assert!(solution.unassigned.contains(name), "{name} was forgotten");
            continue;
        };
        let owner = is.owner.as_ref().unwrap();
        assert_ne!(is.owner, is.incoming);
        if solution.unassigned.contains(name) {
            assert_eq!(was, Some(is));
            assert!(hindered(name).iter().any(|what| matches!(what, Obstacle::NoCollector { .. })));
            continue;
        }
        assert!(answers(owner), "{name} is owned by one that does not answer");
        if let Some(incoming) = &is.incoming {
            let pinned = topic.pinned.as_ref() == Some(incoming) && state(incoming) == Some(CollectorState::Cordoned);
            assert!(pinned || state(incoming) == Some(CollectorState::Ready), "{name} goes to one that takes nothing");
        }
        let had = was.map_or(&[][..], std::slice::from_ref).iter().flat_map(Placement::readers).collect::<Vec<_>>();
        for reader in is.readers().filter(|reader| by_provider && !had.contains(reader)) {
            assert_eq!(provider(reader), Some(&topic.provider), "{name} goes to another provider");
        }
        // Make before break: an owner that answers gives way only to one that is warm.
        if let Some(old) = was.and_then(|was| was.owner.as_ref())
            && old != owner
            && answers(old)
        {
            assert!(warm(owner, name), "{name} was taken from {old}, and {owner} is not warm");
        }
    }
    assert_eq!(
        after.topics.len() + solution.unassigned.iter().filter(|name| !after.topics.contains_key(name)).count(),
        problem.topics.len()
    );
    for planned in &solution.moves {
        let is = &after.topics.get(&planned.topic).unwrap().placement;
        assert_eq!(
            if planned.forced { &is.owner } else { is.incoming.as_ref().map_or(&is.owner, |_| &is.incoming) },
            &planned.to
        );
        assert_ne!(planned.from, planned.to);
    }
    assert!(solution.moves.is_sorted_by(|a, b| a.topic < b.topic));
}
