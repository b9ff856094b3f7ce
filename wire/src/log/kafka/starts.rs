//! Where reading a topic starts.

use std::collections::HashMap;

use super::lookup::{ANSWER_TIMEOUT, Lookup, PerTopic};
use super::native::{Found, TopicId, Which};
use crate::log::{LogError, LogTime, StartAt, Topic};

/// A topic whose reading is to start, or to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sought {
    pub(super) topic: Topic,
    pub(super) start: StartAt,
    /// What had been read of it before it could not be found any more: this topic, up to this offset.
    pub(super) before: Option<(TopicId, u64)>,
}

/// Where reading a topic starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) id: TopicId,
    pub(super) next: u64,
}

/// What came of a search for topics' starts.
pub(super) struct Search {
    pub(super) sought: Vec<Sought>,
    pub(super) outcome: Result<PerTopic<Settled>, LogError>,
}

/// As [`settle`], for who goes on meanwhile.
pub(super) async fn search(lookup: Lookup, sought: Vec<Sought>) -> Search {
    let outcome = settle(&lookup, sought.clone()).await;
    Search { sought, outcome }
}

/// Finds out where reading these topics starts; nothing that is appended meanwhile is skipped.
async fn settle(lookup: &Lookup, sought: Vec<Sought>) -> Result<PerTopic<Settled>, LogError> {
    let topics = sought.iter().map(|sought| sought.topic.clone()).collect();
    let mut described = lookup.describe(topics, ANSWER_TIMEOUT).await?;
    let mut settled = HashMap::with_capacity(sought.len());
    let mut starts = Vec::new();
    for Sought { topic, start, before } in sought {
        match (described.remove(&topic), before) {
            (Some(Ok(id)), Some((old, next))) if id == old => {
                settled.insert(topic, Ok(Settled { id, next }));
            }
            // Another topic of the same name, made while this one was being read: it is read whole.
            (Some(Ok(id)), Some(_)) => starts.push((topic, id, StartAt::Oldest)),
            (Some(Ok(id)), None) => starts.push((topic, id, start)),
            (Some(Err(error)), _) => {
                settled.insert(topic, Err(error));
            }
            (None, _) => {}
        }
    }
    let mut offsets = offsets(lookup, starts.iter().map(|(topic, _, start)| (topic.clone(), *start)).collect()).await?;
    for (topic, id, _) in starts {
        if let Some(offset) = offsets.remove(&topic) {
            settled.insert(topic, offset.map(|next| Settled { id, next }));
        }
    }
    Ok(settled)
}

async fn offsets(lookup: &Lookup, starts: Vec<(Topic, StartAt)>) -> Result<PerTopic<u64>, LogError> {
    // The ends come first: where a later question finds no record at or after its time, reading starts there, and what
    // was appended since is not skipped.
    let mut offsets = lookup.ends(starts.iter().map(|(topic, _)| topic.clone()).collect()).await?;
    let has_end = |topic: &Topic| matches!(offsets.get(topic), Some(Ok(_)));
    let asked = starts.iter().filter(|(topic, _)| has_end(topic)).filter_map(|(topic, start)| {
        let which = match start {
            StartAt::Oldest => Which::Oldest,
            StartAt::End => return None,
            StartAt::From { .. } | StartAt::BeforeNewest(_) => Which::Newest,
        };
        Some((topic.clone(), which))
    });
    let mut found = lookup.offsets(asked.collect()).await?;
    let mut windows = Vec::new();
    for (topic, start) in starts {
        match (start, found.remove(&topic)) {
            (StartAt::BeforeNewest(by), Some(Ok(Some(newest)))) => {
                windows.push((topic, from(appended(newest).before(by))));
            }
            (StartAt::From { time, back }, Some(Ok(Some(newest)))) => {
                windows.push((topic, from(time.min(appended(newest).before(back)))));
            }
            (_, Some(Ok(Some(found)))) => {
                offsets.insert(topic, Ok(found.offset));
            }
            (_, Some(Err(error))) => {
                offsets.insert(topic, Err(error));
            }
            (_, Some(Ok(None)) | None) => {}
        }
    }
    for (topic, found) in lookup.offsets(windows).await? {
        match found {
            Ok(Some(found)) => offsets.insert(topic, Ok(found.offset)),
            Ok(None) => None,
            Err(error) => offsets.insert(topic, Err(error)),
        };
    }
    Ok(offsets)
}

/// When a record was appended, where that has been told.
fn appended(found: Found) -> LogTime {
    LogTime(u64::try_from(found.time_ms).unwrap_or(0))
}

fn from(time: LogTime) -> Which {
    Which::From(i64::try_from(time.0).unwrap_or(i64::MAX))
}
