//! Plans without doing: what would move, and why. Any manager can say.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use plimsoll_scheduler::plan::Plan;
use plimsoll_scheduler::policy::Policy;
use plimsoll_scheduler::solve::{CollectorState, Problem, Solution, solve};

use super::body::MaybeBody;
use super::document::{Everywhere, Taken};
use super::failure::Failure;
use super::known::Known;
use super::{Rest, Shown, policy};
use crate::api::{MoveView, PolicyView, Spread, TrialAsked, TrialView};
use crate::lead::inputs::{self, Inputs};
use crate::lead::topics::TopicLife;

/// Rounds that are tried: each moves up to 9 % of the load, so that all of it could move several times over.
const ROUNDS: u32 = 50;
/// Moves that are told one by one.
const MOVES: usize = 10_000;
/// Topics that are told one by one, of those that nobody would answer for, and of those that something is in the way of.
const NAMED: usize = 1_000;

/// Plans, and changes nothing: what would move if this were so, and why.
#[utoipa::path(post, path = "/api/v1/assignment/plan", tag = "assignment", request_body = Option<TrialAsked>, security(("token" = [])),
    responses((status = 200, description = "What would move.", body = TrialView),
        (status = 415, description = "The content type is not JSON. A POST without a body says it too.", body = crate::api::Problem, content_type = "application/problem+json"),
        Taken, Everywhere))]
pub async fn plan(State(rest): Shown, MaybeBody(asked): MaybeBody<TrialAsked>) -> Result<Json<TrialView>, Failure> {
    let known = Known::now(&rest);
    let policy = asked.policy.map_or_else(|| policy::in_force(&rest, &known), Policy::from);
    policy.check().map_err(|bad| Failure::field(format!("policy.{}", bad.field), bad.reason))?;
    let mut overruled = BTreeMap::new();
    for (field, ids, state) in
        [("drain", &asked.drain, CollectorState::Draining), ("lose", &asked.lose, CollectorState::Lost)]
    {
        for id in ids {
            if !known.has_collector(&rest, id) {
                return Err(Failure::field(field, format!("collector {id} is not known")));
            }
            overruled.insert(id.clone(), state);
        }
    }
    // One at a time: it takes a processor for as long as it takes.
    let Ok(turn) = rest.trials.clone().try_acquire_owned() else {
        return Err(Failure::too_many("another plan is being tried out; try again", Duration::from_secs(1)));
    };
    let (board, stored) = (rest.board.clone(), known.stored.clone());
    let inputs = inputs_of(&rest, &known, policy, overruled, asked.rebalance);
    let tried = tokio::task::spawn_blocking(move || {
        // To its end, whether anybody still waits for it or not.
        let _turn = turn;
        let keeps_all = TopicLife::new(Duration::MAX);
        let problem = inputs.problem(&board, &keeps_all, &stored.plan);
        tell(problem, &stored.plan)
    });
    let failed =
        |_| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "the plan could not be made; see the manager's log");
    tried.await.map(Json).map_err(failed)
}

fn inputs_of(
    rest: &Rest,
    known: &Known,
    policy: Policy,
    overruled: BTreeMap<String, CollectorState>,
    rebalance: bool,
) -> Inputs {
    let warm = inputs::warm(&rest.board, &inputs::moving(&known.stored.plan));
    let mut collectors = inputs::collectors(&rest.board, &rest.verdicts.load(), &known.members, warm);
    for one in &mut collectors {
        if let Some(state) = overruled.get(&one.id) {
            one.state = *state;
        }
    }
    Inputs {
        catalogue: known.catalogue.clone(),
        wishes: known.directives.clone(),
        collectors,
        policy,
        rebalance,
        revision: known.stored.revision,
        retired: 0,
    }
}

/// Plans round after round, as if what moves had arrived each time.
fn tell(mut problem: Problem, from: &Plan) -> TrialView {
    let mut plan = from.clone();
    let mut why = HashMap::new();
    let (mut rounds, mut settled) = (0, false);
    let mut last: Option<Solution> = None;
    while rounds < ROUNDS {
        let solution = solve(&problem, &plan);
        settled = solution.plan.generation == plan.generation;
        for planned in &solution.moves {
            why.entry(planned.topic.clone()).or_insert((planned.reason, planned.forced));
        }
        plan = solution.plan.clone();
        last = Some(solution);
        if settled {
            break;
        }
        rounds += 1;
        arrive(&mut problem, &plan);
    }
    let loads: HashMap<&str, f64> =
        problem.topics.iter().map(|topic| (topic.spec.topic.as_str(), topic.load)).collect();
    let mut moves = Vec::new();
    let mut total_moves = 0;
    for (was, is) in from.topics.differing(&plan.topics) {
        let Some(is) = is else { continue };
        let owner = was.and_then(|was| was.placement.owner.clone());
        if owner == is.placement.owner {
            continue;
        }
        total_moves += 1;
        if moves.len() < MOVES {
            let topic = &is.spec.topic;
            let (reason, forced) =
                why.get(topic).map_or((String::new(), false), |(reason, forced)| (reason.to_string(), *forced));
            let load = loads.get(topic.as_str()).copied().unwrap_or(0.0);
            moves.push(MoveView {
                topic: topic.clone(),
                from: owner,
                to: is.placement.owner.clone(),
                reason,
                forced,
                load,
            });
        }
    }
    let (unassigned, obstacles, wanted_collectors) = last.map_or_else(Default::default, |solution| {
        let obstacles = solution.obstacles.into_iter().take(NAMED).map(|(topic, what)| (topic, what.to_string()));
        (solution.unassigned.into_iter().take(NAMED).collect(), obstacles.collect(), solution.wanted)
    });
    TrialView {
        generation: from.generation,
        policy: PolicyView::from(problem.policy),
        rounds,
        settled,
        moves,
        total_moves,
        unassigned,
        obstacles,
        wanted_collectors,
        before: spread(&problem, from, &loads),
        after: spread(&problem, &plan, &loads),
    }
}

/// Everything that is on its way has been read by who it goes to.
fn arrive(problem: &mut Problem, plan: &Plan) {
    let mut warm = HashMap::<&str, BTreeSet<String>>::new();
    for (topic, placed) in &plan.topics {
        if let Some(incoming) = &placed.placement.incoming {
            warm.entry(incoming).or_default().insert(topic.clone());
        }
    }
    for one in &mut problem.collectors {
        one.warm = warm.remove(one.id.as_str()).unwrap_or_default();
    }
}

/// How a plan spreads the load over those that take topics or have some.
#[allow(clippy::cast_precision_loss, reason = "collectors are far fewer than 2^52")]
fn spread(problem: &Problem, plan: &Plan, loads: &HashMap<&str, f64>) -> Spread {
    let ready = problem.collectors.iter().filter(|one| one.state == CollectorState::Ready);
    let mut of: HashMap<&str, (f64, usize)> = ready.map(|one| (one.id.as_str(), (0.0, 0))).collect();
    for (topic, placed) in &plan.topics {
        if let Some(owner) = &placed.placement.owner {
            let (load, topics) = of.entry(owner).or_default();
            *load += loads.get(topic.as_str()).copied().unwrap_or(0.0);
            *topics += 1;
        }
    }
    let sum: f64 = of.values().map(|(load, _)| load).sum();
    let most = of.values().map(|(load, _)| *load).fold(0.0, f64::max);
    let mean = sum / of.len().max(1) as f64;
    Spread {
        max_over_mean: if mean > 0.0 { most / mean } else { 1.0 },
        most_topics: of.values().map(|(_, topics)| *topics).max().unwrap_or(0),
        fewest_topics: of.values().map(|(_, topics)| *topics).min().unwrap_or(0),
    }
}
