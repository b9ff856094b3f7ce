//! The form in which a plan and directives are stored where one value is too small for them: parts, and an index that commits
//! them. The parts of one version are written first, under a tag that nobody has used before and nobody reads yet; the index,
//! replaced at once, makes them what is stored.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Revision, StoreError, Stored};
use crate::directives::Directives;
use crate::plan::{CollectorId, Placed, Plan, Topics};

/// etcd takes 1.5 MiB a request, Kubernetes 1 MiB an object; a part is well below, so that a batch of them fills its request.
const PART_BYTES: usize = 256 << 10;
/// The form of the index and the parts. A reader that does not know it says so instead of guessing.
const FORMAT: u32 = 1;

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
pub(in crate::store) struct Snapshot {
    pub(super) stored: Stored,
    pub(super) index: Index,
}

/// The value that commits directives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DirectivesIndex {
    format: u32,
    /// Where they are.
    #[serde(flatten)]
    pub(super) version: Version,
}

impl Index {
    pub(super) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        let index = Self { format: FORMAT, ..self.clone() };
        serde_json::to_vec(&index).map_err(|error| corrupt("plan/index", &error))
    }

    pub(super) fn decode(key: &str, value: &[u8]) -> Result<Self, StoreError> {
        let index: Self = serde_json::from_slice(value).map_err(|error| corrupt(key, &error))?;
        known(key, index.format)?;
        Ok(index)
    }
}

impl DirectivesIndex {
    pub(super) fn new(version: Version) -> Self {
        Self { format: FORMAT, version }
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        serde_json::to_vec(self).map_err(|error| corrupt("directives/index", &error))
    }

    pub(super) fn decode(key: &str, value: &[u8]) -> Result<Self, StoreError> {
        let index: Self = serde_json::from_slice(value).map_err(|error| corrupt(key, &error))?;
        known(key, index.format)?;
        Ok(index)
    }
}

fn known(key: &str, format: u32) -> Result<(), StoreError> {
    if format == FORMAT {
        return Ok(());
    }
    let reason = format!("its format is {format}, and this Plimsoll knows {FORMAT}");
    Err(StoreError::Corrupt { key: key.to_owned(), reason })
}

/// The directives, cut where a part is full. The parts make sense only together.
pub(super) fn encode_directives(directives: &Directives) -> Result<Vec<Vec<u8>>, StoreError> {
    let whole = serde_json::to_vec(directives).map_err(|error| corrupt("directives", &error))?;
    Ok(whole.chunks(PART_BYTES).map(<[u8]>::to_vec).collect())
}

/// What all parts together say.
pub(super) fn decode_directives<'a>(
    key: &str,
    parts: impl Iterator<Item = &'a [u8]>,
) -> Result<Directives, StoreError> {
    let whole: Vec<u8> = parts.flatten().copied().collect();
    serde_json::from_slice(&whole).map_err(|error| corrupt(key, &error))
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
