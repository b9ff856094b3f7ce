//! The plan's topics: a sorted map whose clones share what they have in common.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Placed, Topic};

/// A chunk that has grown to this is cut in two. One change copies one chunk of pointers, and one pointer for each chunk.
const CHUNK_MAX: usize = 256;

type Chunk = Vec<Arc<Placed>>;

/// Topics by name. A clone costs a pointer for each few hundred topics, so that a plan that differs in one topic from a plan
/// of 100,000 costs no more than that; and what differs between the two is found as fast ([`Topics::differing`]).
#[derive(Clone, Default)]
pub struct Topics {
    /// None is empty; names grow through all of them.
    chunks: Vec<Arc<Chunk>>,
    len: usize,
}

impl Topics {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// This topic, if it is in the plan.
    #[must_use]
    pub fn get(&self, topic: &str) -> Option<&Placed> {
        let chunk = self.chunks.get(self.chunk_of(topic))?;
        let at = chunk.binary_search_by(|placed| (*placed.spec.topic).cmp(topic)).ok()?;
        Some(&chunk[at])
    }

    /// Whether this topic is in the plan.
    #[must_use]
    pub fn contains_key(&self, topic: &str) -> bool {
        self.get(topic).is_some()
    }

    /// Puts a topic into its place, which its `spec` names; gives what was there.
    pub fn insert(&mut self, placed: impl Into<Arc<Placed>>) -> Option<Arc<Placed>> {
        let placed = placed.into();
        let topic = &placed.spec.topic;
        let chunk = self.chunk_of(topic);
        let Some(entries) = self.chunks.get_mut(chunk).map(Arc::make_mut) else {
            self.chunks.push(Arc::new(vec![placed]));
            self.len += 1;
            return None;
        };
        match entries.binary_search_by(|other| other.spec.topic.cmp(topic)) {
            Ok(at) => Some(std::mem::replace(&mut entries[at], placed)),
            Err(at) => {
                entries.insert(at, placed);
                self.len += 1;
                if entries.len() >= CHUNK_MAX {
                    let upper = entries.split_off(CHUNK_MAX / 2);
                    self.chunks.insert(chunk + 1, Arc::new(upper));
                }
                None
            }
        }
    }

    /// Takes a topic out; gives what was there.
    pub fn remove(&mut self, topic: &str) -> Option<Arc<Placed>> {
        let chunk = self.chunk_of(topic);
        let at = self.chunks.get(chunk)?.binary_search_by(|placed| (*placed.spec.topic).cmp(topic)).ok()?;
        let entries = Arc::make_mut(&mut self.chunks[chunk]);
        let removed = entries.remove(at);
        if entries.is_empty() {
            self.chunks.remove(chunk);
        }
        self.len -= 1;
        Some(removed)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Topic, &Placed)> {
        self.into_iter()
    }

    /// All names, in order.
    pub fn keys(&self) -> impl Iterator<Item = &Topic> {
        self.iter().map(|(topic, _)| topic)
    }

    /// All placements, by name.
    pub fn values(&self) -> impl Iterator<Item = &Placed> {
        self.iter().map(|(_, placed)| placed)
    }

    /// All placements, to be shared by the next plan.
    pub(crate) fn shared(&self) -> impl Iterator<Item = &Arc<Placed>> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// Makes a map of what comes by name, no name twice.
    pub(crate) fn from_sorted(all: &[Arc<Placed>]) -> Self {
        debug_assert!(all.is_sorted_by(|a, b| a.spec.topic < b.spec.topic), "topics come by name, each once");
        Self { chunks: all.chunks(CHUNK_MAX / 2).map(|chunk| Arc::new(chunk.to_vec())).collect(), len: all.len() }
    }

    /// What differs between two plans, by name: as it is here, and as it is in `other`. Shared parts are not looked at.
    #[must_use]
    pub fn differing<'a>(&'a self, other: &'a Self) -> Vec<(Option<&'a Placed>, Option<&'a Placed>)> {
        let (mut here, mut there) = (Cursor::new(self), Cursor::new(other));
        let mut differing = Vec::new();
        loop {
            if here.skip_shared(&mut there) {
                continue;
            }
            let order = match (here.peek(), there.peek()) {
                (None, None) => return differing,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => a.spec.topic.cmp(&b.spec.topic),
            };
            let a = if order.is_le() { here.next() } else { None };
            let b = if order.is_ge() { there.next() } else { None };
            let same = matches!((a, b), (Some(a), Some(b)) if Arc::ptr_eq(a, b) || a == b);
            if !same {
                differing.push((a.map(Arc::as_ref), b.map(Arc::as_ref)));
            }
        }
    }

    /// The chunk that a topic is in, or belongs into: the last one that begins at or before it.
    fn chunk_of(&self, topic: &str) -> usize {
        self.chunks
            .partition_point(|chunk| chunk.first().is_some_and(|first| *first.spec.topic <= *topic))
            .saturating_sub(1)
    }
}

/// A place in a map's order.
struct Cursor<'a> {
    chunks: &'a [Arc<Chunk>],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn new(topics: &'a Topics) -> Self {
        Self { chunks: &topics.chunks, at: 0 }
    }

    fn peek(&self) -> Option<&'a Arc<Placed>> {
        self.chunks.first()?.get(self.at)
    }

    fn next(&mut self) -> Option<&'a Arc<Placed>> {
        let placed = self.peek()?;
        self.at += 1;
        if self.chunks.first().is_some_and(|chunk| self.at == chunk.len()) {
            self.chunks = &self.chunks[1..];
            self.at = 0;
        }
        Some(placed)
    }

    /// Steps over a chunk that both have in common, where both stand at its beginning.
    fn skip_shared(&mut self, other: &mut Self) -> bool {
        let (Some((mine, rest)), Some((theirs, other_rest))) = (self.chunks.split_first(), other.chunks.split_first())
        else {
            return false;
        };
        let shared = self.at == 0 && other.at == 0 && Arc::ptr_eq(mine, theirs);
        if shared {
            self.chunks = rest;
            other.chunks = other_rest;
        }
        shared
    }
}

impl PartialEq for Topics {
    /// How the topics are cut into chunks depends on how they came there, and says nothing.
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.differing(other).is_empty()
    }
}

impl Eq for Topics {}

impl FromIterator<Placed> for Topics {
    /// Of two with the same name the later one stays.
    fn from_iter<I: IntoIterator<Item = Placed>>(placed: I) -> Self {
        let mut all: Vec<Arc<Placed>> = placed.into_iter().map(Arc::new).collect();
        all.sort_by(|a, b| a.spec.topic.cmp(&b.spec.topic));
        all.dedup_by(|later, earlier| {
            let same = later.spec.topic == earlier.spec.topic;
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
        Self::from_sorted(&all)
    }
}

impl<'a> IntoIterator for &'a Topics {
    type Item = (&'a Topic, &'a Placed);
    type IntoIter = std::iter::Map<
        std::iter::FlatMap<std::slice::Iter<'a, Arc<Chunk>>, &'a Chunk, fn(&'a Arc<Chunk>) -> &'a Chunk>,
        fn(&'a Arc<Placed>) -> (&'a Topic, &'a Placed),
    >;

    fn into_iter(self) -> Self::IntoIter {
        fn entries(chunk: &Arc<Chunk>) -> &Chunk {
            chunk
        }
        fn named(placed: &Arc<Placed>) -> (&Topic, &Placed) {
            (&placed.spec.topic, placed)
        }
        self.chunks
            .iter()
            .flat_map(entries as fn(&'a Arc<Chunk>) -> &'a Chunk)
            .map(named as fn(&'a Arc<Placed>) -> (&'a Topic, &'a Placed))
    }
}

impl fmt::Debug for Topics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl Serialize for Topics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.values())
    }
}

impl<'de> Deserialize<'de> for Topics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<Placed>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::plan::{AssignedTopic, Placement};

    fn placed(name: u16, since: u64) -> Placed {
        let spec = AssignedTopic {
            topic: format!("{name:05}"),
            concurrency_window: Duration::from_secs(1),
            rate_window: Duration::from_secs(1),
        };
        Placed {
            spec,
            provider: String::new(),
            placement: Placement::default(),
            alone: false,
            since,
            reason: String::new(),
        }
    }

    proptest! {
        #[test]
        fn it_is_a_map_and_its_clones_differ_in_what_was_changed(
            before in prop::collection::btree_map(0_u16..3000, 0_u64..3, 0..2000),
            changes in prop::collection::vec((0_u16..3000, prop::option::of(0_u64..3)), 0..600),
        ) {
            let original: Topics = before.iter().map(|(name, since)| placed(*name, *since)).collect();
            let (mut changed, mut model) = (original.clone(), before.clone());
            for (name, change) in &changes {
                let key = format!("{name:05}");
                let (had, expected) = match change {
                    Some(since) => (changed.insert(placed(*name, *since)), model.insert(*name, *since)),
                    None => (changed.remove(&key), model.remove(name)),
                };
                prop_assert_eq!(had.map(|had| had.since), expected);
                prop_assert_eq!(changed.get(&key).map(|placed| placed.since), model.get(name).copied());
            }
            let content = |topics: &Topics| -> BTreeMap<u16, u64> {
                topics.iter().map(|(topic, placed)| (topic.parse().unwrap(), placed.since)).collect()
            };
            prop_assert_eq!(content(&changed), model.clone());
            prop_assert_eq!(content(&original), before.clone());
            prop_assert_eq!(changed.len(), model.len());
            prop_assert!(changed.keys().is_sorted());
            let differing: Vec<(u16, Option<u64>, Option<u64>)> = original
                .differing(&changed)
                .into_iter()
                .map(|(a, b)| (a.or(b).unwrap().spec.topic.parse().unwrap(), a.map(|a| a.since), b.map(|b| b.since)))
                .collect();
            let expected: Vec<(u16, Option<u64>, Option<u64>)> = (0..3000)
                .map(|name| (name, before.get(&name).copied(), model.get(&name).copied()))
                .filter(|(_, a, b)| a != b)
                .collect();
            prop_assert_eq!(differing, expected);
            let rebuilt: Topics = model.iter().map(|(name, since)| placed(*name, *since)).collect();
            prop_assert!(rebuilt == changed);
        }
    }
}
