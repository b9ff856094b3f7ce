//! How others assign, as far as it can be compared: the two ideas of the OpenTelemetry target allocator, here only to be measured beside.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};

use plimsoll_scheduler::solve::{CollectorState, Problem};

use super::grid::Owners;

/// Gives each topic a collector, knowing who had it.
pub trait Assignor {
    fn assign(&self, problem: &Problem, before: &Owners) -> Owners;
}

fn ready(problem: &Problem) -> impl Iterator<Item = &String> {
    problem.collectors.iter().filter(|info| info.state == CollectorState::Ready).map(|info| &info.id)
}

/// A ring with 128 points for each collector; a topic goes to the next point after its hash. It knows neither loads nor who had what.
pub struct ConsistentHash;

const POINTS: u32 = 128;

impl Assignor for ConsistentHash {
    fn assign(&self, problem: &Problem, _before: &Owners) -> Owners {
        // The default hasher's keys are fixed when it is made so: the same ring in each run.
        let hasher = BuildHasherDefault::<DefaultHasher>::new();
        let mut ring = BTreeMap::new();
        for id in ready(problem) {
            for point in 0..POINTS {
                ring.insert(hasher.hash_one((id, point)), id);
            }
        }
        let next =
            |hash: u64| ring.range(hash..).next().or_else(|| ring.first_key_value()).map(|(_, id)| (*id).clone());
        let topics = problem.topics.iter().map(|topic| &topic.spec.topic);
        topics.filter_map(|topic| Some((topic.clone(), next(hasher.hash_one(topic))?))).collect()
    }
}

/// Who has a topic keeps it; one that nobody has goes to the collector with the least load, in the order of names.
pub struct LeastWeighted;

impl Assignor for LeastWeighted {
    fn assign(&self, problem: &Problem, before: &Owners) -> Owners {
        let mut carried: BTreeMap<&String, f64> = ready(problem).map(|id| (id, 0.0)).collect();
        let mut after = Owners::new();
        let mut homeless = Vec::new();
        for topic in &problem.topics {
            let name = &topic.spec.topic;
            match before.get(name).and_then(|owner| Some((owner, carried.get_mut(owner)?))) {
                Some((owner, load)) => {
                    *load += topic.load;
                    after.insert(name.clone(), owner.clone());
                }
                None => homeless.push(topic),
            }
        }
        // Loads are no whole numbers; their bits are in order, since none is negative.
        let mut heap: BinaryHeap<Reverse<(u64, &String)>> =
            carried.iter().map(|(id, load)| Reverse((load.to_bits(), *id))).collect();
        for topic in homeless {
            let Some(Reverse((load, id))) = heap.pop() else { break };
            after.insert(topic.spec.topic.clone(), id.clone());
            heap.push(Reverse(((f64::from_bits(load) + topic.load).to_bits(), id)));
        }
        after
    }
}
