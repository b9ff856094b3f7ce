//! What lies where in etcd, and in which form.
//!
//! ```text
//! plan/index                      which version of each collector's parts is the current one: commits the plan
//! plan/parts/COLLECTOR/TAG/NNNN   what the collector reads, in parts that fit a value
//! members/COLLECTOR               who is there, on a lease
//! leader                          who leads, on a lease; its create revision is the term
//! ```

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::plan::{CollectorId, Placed, Plan, Topics};
use crate::store::{Revision, StoreError, Stored};

/// etcd takes 1.5 MiB a request; a part is well below, so that a batch of them fills its request.
const PART_BYTES: usize = 256 << 10;
/// The form of the index and the parts. A reader that does not know it says so instead of guessing.
const FORMAT: u32 = 1;

/// The keys under the prefix.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: format!("{}/", prefix.trim_end_matches('/')) }
    }

    pub(super) fn index(&self) -> String {
        format!("{}plan/index", self.prefix)
    }

    pub(super) fn all_parts(&self) -> String {
        format!("{}plan/parts/", self.prefix)
    }

    /// What all parts of one version begin with.
    pub(super) fn parts(&self, collector: &str, tag: &str) -> String {
        format!("{}{collector}/{tag}/", self.all_parts())
    }

    pub(super) fn members(&self) -> String {
        format!("{}members/", self.prefix)
    }

    pub(super) fn member(&self, collector: &str) -> String {
        format!("{}{collector}", self.members())
    }

    pub(super) fn leader(&self) -> String {
        format!("{}leader", self.prefix)
    }
}

/// The value that commits a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Index {
    format: u32,
    pub(super) generation: u64,
    /// Of each collector that reads anything. Topics that nobody reads are kept under the empty name.
    pub(super) collectors: BTreeMap<CollectorId, Version>,
}

/// Where a collector's current parts are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Version {
    /// Different with every attempt to write, so that no attempt ever touches what another one has committed.
    pub(super) tag: String,
    /// How many parts.
    pub(super) parts: usize,
}

/// A plan, and how it is stored.
#[derive(Debug, Clone, Default)]
pub(super) struct Snapshot {
    pub(super) stored: Stored,
    pub(super) index: Index,
}

impl Index {
    pub(super) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        let index = Self { format: FORMAT, ..self.clone() };
        serde_json::to_vec(&index).map_err(|error| corrupt("plan/index", &error))
    }

    pub(super) fn decode(key: &str, value: &[u8]) -> Result<Self, StoreError> {
        let index: Self = serde_json::from_slice(value).map_err(|error| corrupt(key, &error))?;
        if index.format != FORMAT {
            let reason = format!("its format is {}, and this Plimsoll knows {FORMAT}", index.format);
            return Err(StoreError::Corrupt { key: key.to_owned(), reason });
        }
        Ok(index)
    }
}

/// Under whose name a topic's own record is kept; its incoming collector has a copy.
fn keeper(placed: &Placed) -> &str {
    placed.placement.readers().next().map_or("", String::as_str)
}

/// Under which names a topic's record is kept.
fn keepers(placed: &Placed) -> impl Iterator<Item = &str> {
    let readers = placed.placement.readers().map(String::as_str);
    readers.chain(placed.placement.readers().next().is_none().then_some(""))
}

/// Whose parts differ between two plans.
pub(super) fn touched<'a>(before: &'a Plan, after: &'a Plan) -> BTreeSet<&'a str> {
    let differing = before.topics.differing(&after.topics);
    differing.into_iter().flat_map(|(a, b)| a.into_iter().chain(b)).flat_map(keepers).collect()
}

/// The parts of these collectors, in order; a collector that reads nothing has none.
pub(super) fn encode_parts<'a>(
    plan: &Plan,
    touched: &BTreeSet<&'a str>,
) -> Result<BTreeMap<&'a str, Vec<Vec<u8>>>, StoreError> {
    let mut all: BTreeMap<&str, Vec<Vec<u8>>> = touched.iter().map(|collector| (*collector, Vec::new())).collect();
    for placed in plan.topics.values() {
        for keeper in keepers(placed) {
            let Some(parts) = all.get_mut(keeper) else { continue };
            let record = serde_json::to_vec(placed).map_err(|error| corrupt(&placed.spec.topic, &error))?;
            match parts.last_mut() {
                Some(part) if part.len() + record.len() < PART_BYTES => part.push(b','),
                _ => parts.push(vec![b'[']),
            }
            if let Some(part) = parts.last_mut() {
                part.extend_from_slice(&record);
            }
        }
    }
    for part in all.values_mut().flatten() {
        part.push(b']');
    }
    Ok(all)
}

/// What one part says.
pub(super) fn decode_part(key: &str, value: &[u8]) -> Result<Vec<Placed>, StoreError> {
    serde_json::from_slice(value).map_err(|error| corrupt(key, &error))
}

/// The plan of a new index: what it was, but for the collectors whose parts are new or gone.
pub(super) fn merge(
    before: &Snapshot,
    index: Index,
    revision: Revision,
    parts: BTreeMap<CollectorId, Vec<Placed>>,
) -> Snapshot {
    let mut topics = before.stored.plan.topics.clone();
    let own = |collector: &str, records: Vec<Placed>| {
        let collector = collector.to_owned();
        records.into_iter().filter(move |placed| keeper(placed) == collector)
    };
    let fresh: Topics = parts.iter().flat_map(|(collector, records)| own(collector, records.clone())).collect();
    let gone = |collector: &str| parts.contains_key(collector) || !index.collectors.contains_key(collector);
    for placed in before.stored.plan.topics.values() {
        if gone(keeper(placed)) && !fresh.contains_key(&placed.spec.topic) {
            topics.remove(&placed.spec.topic);
        }
    }
    for placed in fresh.shared() {
        topics.insert(placed.clone());
    }
    let plan = Plan { generation: index.generation, topics };
    Snapshot { stored: Stored { plan, revision }, index }
}

fn corrupt(key: &str, error: &serde_json::Error) -> StoreError {
    StoreError::Corrupt { key: key.to_owned(), reason: error.to_string() }
}
