//! Fleets to plan for.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use plimsoll_scheduler::plan::{AssignedTopic, Plan};
use plimsoll_scheduler::policy::Policy;
use plimsoll_scheduler::solve::{CollectorInfo, CollectorState, Problem, TopicLoad};

/// How loads are distributed over topics.
#[derive(Debug, Clone, Copy)]
pub enum Loads {
    Equal,
    /// The r-th topic has 1/r of the first one's.
    Zipf,
}

impl fmt::Display for Loads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Equal => "equal",
            Self::Zipf => "zipf",
        })
    }
}

/// Topics and collectors.
#[derive(Debug, Clone)]
pub struct Fleet {
    pub loads: Loads,
    pub problem: Problem,
}

impl Fleet {
    pub fn new(topics: usize, collectors: usize, loads: Loads) -> Self {
        let problem = Problem {
            topics: (0..topics).map(|index| topic(index, topics, loads)).collect(),
            collectors: (0..collectors).map(collector).collect(),
            // Only balance is to be seen here, not the limit.
            policy: Policy { max_per_host: 10_000_000, max_collectors: 1_000_000, ..Policy::default() },
            rebalance: false,
        };
        Self { loads, problem }
    }

    /// Adds topics, named among the others, as light as the lightest.
    pub fn add_topics(&mut self, count: usize) {
        let there = self.problem.topics.len();
        let load = self.problem.topics.iter().map(|topic| topic.load).fold(f64::INFINITY, f64::min);
        let new = (0..count).map(|index| TopicLoad {
            load,
            ..named(format!("plimsoll.team-{:02}.added-{index:06}", index % 40), load)
        });
        self.problem.topics.extend(new);
        debug_assert_eq!(self.problem.topics.len(), there + count);
        self.problem.topics.sort_by(|a, b| a.spec.topic.cmp(&b.spec.topic));
    }

    pub fn add_collectors(&mut self, count: usize) {
        let there = self.problem.collectors.len();
        self.problem.collectors.extend((there..there + count).map(collector));
    }

    /// Loses collectors from the middle of the list.
    pub fn lose_collectors(&mut self, count: usize) {
        let first = (self.problem.collectors.len() - count) / 2;
        for info in &mut self.problem.collectors[first..first + count] {
            info.state = CollectorState::Lost;
        }
    }

    /// Reports what was to become warm as warm.
    pub fn warm(&mut self, plan: &Plan) {
        for info in &mut self.problem.collectors {
            info.warm.clear();
        }
        for (topic, placed) in &plan.topics {
            if let Some(incoming) = &placed.placement.incoming
                && let Ok(at) = self.problem.collectors.binary_search_by(|info| info.id.cmp(incoming))
            {
                self.problem.collectors[at].warm.insert(topic.clone());
            }
        }
    }
}

fn topic(index: usize, count: usize, loads: Loads) -> TopicLoad {
    // Ranks are spread over names by a step that shares no factor with the counts: neighbours differ in load.
    let rank = (index * 7_919) % count + 1;
    let load = match loads {
        Loads::Equal => 1.0,
        Loads::Zipf => 1_000.0 / rank as f64,
    };
    named(format!("plimsoll.team-{:02}.workload-{index:06}", index * 40 / count), load)
}

fn named(topic: String, load: f64) -> TopicLoad {
    let spec =
        AssignedTopic { topic, concurrency_window: Duration::from_secs(15), rate_window: Duration::from_secs(60) };
    TopicLoad::new(spec, "default", load)
}

fn collector(index: usize) -> CollectorInfo {
    CollectorInfo {
        id: format!("collector-{index:05}"),
        provider: "default".to_owned(),
        state: CollectorState::Ready,
        warm: BTreeSet::new(),
    }
}
