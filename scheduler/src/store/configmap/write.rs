//! Writing the plan: parts first, under names that nobody reads yet; then the index, which makes them the plan all at once.
//!
//! The index carries the term of the leader who wrote it last, and a new leader writes its own there before it does anything
//! else. It is replaced only at the version that was read. So whoever has read it in an earlier term is refused by the API
//! server itself, however long it has slept, and whoever reads it anew sees that its term is over.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use kube::api::PostParams;
use tokio::sync::Mutex;

use super::connection::Answer;
use super::election::Seat;
use super::parts::Part;
use super::read::{Indexed, Reader};
use crate::plan::Plan;
use crate::store::layout::{self, Snapshot, Version};
use crate::store::{Revision, StoreError, Stored, Term};

/// Someone may touch the index without changing what it says: an operator who adds a label.
const ATTEMPTS: usize = 3;

/// Writes plans, one at a time.
#[derive(Debug)]
pub(super) struct Writer {
    reader: Reader,
    /// The newest plan that was read or written here: what a commit differs from.
    known: Mutex<Snapshot>,
    /// With `attempts` it makes tags that no two processes share.
    process: u64,
    attempts: AtomicU64,
    /// There may be parts that no index names: attempts that failed, here or elsewhere.
    untidy: AtomicBool,
}

impl Writer {
    pub(super) fn new(reader: Reader) -> Self {
        let process = crate::store::unique();
        let (attempts, untidy) = (AtomicU64::new(0), AtomicBool::new(true));
        Self { reader, known: Mutex::default(), process, attempts, untidy }
    }

    /// The plan as of now.
    pub(super) async fn load(&self) -> Result<Stored, StoreError> {
        let mut known = self.known.lock().await;
        *known = self.reader.snapshot(&known).await?;
        Ok(known.stored.clone())
    }

    /// See [`crate::store::Store::commit`].
    pub(super) async fn commit(&self, plan: &Plan, expected: Revision, term: &Term) -> Result<Revision, StoreError> {
        let mut known = self.known.lock().await;
        // One that has stood down is refused although nobody has followed it yet.
        if !Seat::read(&self.reader.connection).await?.is_of(term) {
            return Err(not_leader(term));
        }
        let mut found = self.reader.indexed().await?;
        if found.version.is_none() && self.begin(term.fence).await? {
            // Someone has deleted it, and the term with it.
            found = self.reader.indexed().await?;
        }
        check(&found, expected, term)?;
        match self.reader.read(found.clone(), &known).await? {
            Some(snapshot) => *known = snapshot,
            None => return Err(StoreError::Conflict),
        }
        let (next, parts, replaced) = self.next(plan, &known)?;
        let written: Vec<String> = parts.iter().map(|part| part.name.clone()).collect();
        // Until the index is in place these parts are litter, also when this is cancelled.
        let was_untidy = self.untidy.swap(true, Ordering::Relaxed);
        self.reader.parts().create(parts).await?;
        let mut outcome = Err(StoreError::Conflict);
        for _ in 0..ATTEMPTS {
            let revision = Revision(expected.0 + 1);
            let indexed = Indexed { index: next.clone(), revision, term: term.fence, version: found.version.clone() };
            outcome = match self.put(&indexed).await? {
                Some(version) => Ok(version),
                None => {
                    found = self.reader.indexed().await?;
                    check(&found, expected, term).and(Err(StoreError::Conflict))
                }
            };
            if outcome != Err(StoreError::Conflict) || found.revision != expected {
                break;
            }
        }
        let version = match outcome {
            Ok(version) => version,
            Err(error) => {
                let tidied = self.reader.parts().delete(written).await;
                self.untidy.store(was_untidy || tidied.is_err(), Ordering::Relaxed);
                return Err(error);
            }
        };
        let stored = Stored { plan: plan.clone(), revision: Revision(expected.0 + 1) };
        *known = Snapshot { stored, index: next };
        // The plan is committed. What is left over costs some space until a later commit.
        let tidied = match was_untidy {
            true => {
                let keep: BTreeSet<String> =
                    known.index.collectors.values().flat_map(|version| self.reader.names(version)).collect();
                self.reader.parts().sweep(&keep, &version).await
            }
            false => self.reader.parts().delete(replaced).await,
        };
        self.untidy.store(tidied.is_err(), Ordering::Relaxed);
        Ok(known.stored.revision)
    }

    /// The index of the next plan, the parts it needs, and the names of those that it does not need any more.
    fn next(&self, plan: &Plan, known: &Snapshot) -> Result<(layout::Index, Vec<Part>, Vec<String>), StoreError> {
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
        let touched = layout::touched(&known.stored.plan, plan);
        let mut index = known.index.clone();
        index.generation = plan.generation;
        let (mut parts, mut replaced) = (Vec::new(), Vec::new());
        for (number, (collector, values)) in layout::encode_parts(plan, &touched)?.into_iter().enumerate() {
            let tag = format!("{}-{:016x}-{attempt}-{number}", plan.generation, self.process);
            let version = Version { tag, parts: values.len() };
            let names: Vec<String> = self.reader.names(&version).collect();
            let old = match values.is_empty() {
                true => index.collectors.remove(collector),
                false => index.collectors.insert(collector.to_owned(), version),
            };
            replaced.extend(old.iter().flat_map(|old| self.reader.names(old)));
            let part = |(name, value)| Part { name, collector: collector.to_owned(), value };
            parts.extend(names.into_iter().zip(values).map(part));
        }
        Ok((index, parts, replaced))
    }

    /// Puts the index in place of the one of its version; gives the new version, unless it has been replaced meanwhile.
    async fn put(&self, indexed: &Indexed) -> Result<Option<String>, StoreError> {
        let connection = &self.reader.connection;
        let (object, how) = (indexed.object(connection)?, PostParams::default());
        let name = connection.names.plan();
        let done = match indexed.version {
            Some(_) => connection.call("the plan's index", connection.maps.replace(&name, &how, &object)).await?,
            None => connection.call("the plan's index", connection.maps.create(&how, &object)).await?,
        };
        Ok(match done {
            Answer::Done(object) => Some(object.metadata.resource_version.unwrap_or_default()),
            Answer::Missing | Answer::Conflict => None,
        })
    }

    /// Begins a term: from now on nothing of an earlier one is accepted. False when a later one has begun.
    pub(super) async fn begin(&self, fence: i64) -> Result<bool, StoreError> {
        for _ in 0..ATTEMPTS {
            let mut indexed = self.reader.indexed().await?;
            if indexed.term >= fence {
                return Ok(false);
            }
            indexed.term = fence;
            if self.put(&indexed).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The last term that has begun.
    pub(super) async fn last_term(&self) -> Result<i64, StoreError> {
        Ok(self.reader.indexed().await?.term)
    }
}

/// Whether the plan of this index may be replaced.
fn check(found: &Indexed, expected: Revision, term: &Term) -> Result<(), StoreError> {
    if found.term != term.fence {
        return Err(not_leader(term));
    }
    if found.revision == expected { Ok(()) } else { Err(StoreError::Conflict) }
}

fn not_leader(term: &Term) -> StoreError {
    StoreError::NotLeader { leader: term.leader.clone() }
}
