//! All workloads as rows, and word of each change.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use plimsoll_wire::log::Topic;
use serde::Serialize;
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::history::{History, POINTS, Point, SLOT, SLOTS};
use super::values::Values;
use crate::api::{LiveRow, RowsView, WholeRow};
use crate::board::Board;
use crate::catalogue::Entry;
use crate::lead::decisions::unix_ms;

/// Messages that wait for one slow listener: seconds. One that is further behind is let go, and begins anew.
const WAITING: usize = 16;
/// Listeners at once. What one is told first, all rows, waits for it in memory: 1.5 MB of 10,000 workloads.
const LISTENERS: usize = 64;
/// Rows of one message: the first of them are on a screen before the last have been sent.
const ROWS_A_MESSAGE: usize = 1_000;

/// A message to whoever listens.
#[derive(Debug, Clone)]
pub struct Told {
    /// What it is about: `rows` or `fleet`.
    pub event: &'static str,
    /// JSON.
    pub data: Arc<str>,
}

/// What is known of one workload beside its resource.
#[derive(Debug)]
struct Row {
    id: u32,
    entry: Arc<Entry>,
    collector: Option<Arc<str>>,
    values: Values,
    history: History,
    /// The round that has seen it last.
    round: u64,
    change: Change,
}

/// What listeners have not been told of a row yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Nothing,
    Values,
    All,
}

/// All rows.
#[derive(Debug)]
pub struct Live {
    held: Mutex<Held>,
    told: broadcast::Sender<Told>,
    began: Instant,
    began_unix_ms: u64,
}

#[derive(Debug, Default)]
struct Held {
    rows: HashMap<Topic, Row>,
    changed: Vec<Topic>,
    next_id: u32,
    round: u64,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            held: Mutex::default(),
            told: broadcast::Sender::new(WAITING),
            began: Instant::now(),
            began_unix_ms: unix_ms(),
        }
    }
}

impl Live {
    /// Whether anybody listens.
    pub fn is_heard(&self) -> bool {
        self.told.receiver_count() > 0
    }

    /// Looks at some workloads of the round. The caller goes through all of them in parts, so that no other task waits for long.
    pub fn look(&self, entries: &[Arc<Entry>], of: usize, board: &Board, activity_window: Duration) {
        let slot = self.slot();
        let points_max = (POINTS / of.max(1)).min(SLOTS as usize);
        let mut held = self.held.lock();
        let held = &mut *held;
        for entry in entries {
            let (values, collector) = Values::now(entry, &board.cell(&entry.topic), activity_window);
            let row = held.rows.entry(entry.topic.clone()).or_insert_with(|| {
                held.next_id += 1;
                Row {
                    id: held.next_id,
                    entry: entry.clone(),
                    collector: None,
                    values: Values::default(),
                    history: History::default(),
                    round: 0,
                    change: Change::Nothing,
                }
            });
            let change = if row.round == 0 || !Arc::ptr_eq(&row.entry, entry) || row.collector != collector {
                Change::All
            } else if row.values != values {
                Change::Values
            } else {
                Change::Nothing
            };
            if row.change == Change::Nothing && change != Change::Nothing {
                held.changed.push(entry.topic.clone());
            }
            row.change = row.change.max(change);
            row.history.take(slot, &values, points_max);
            (row.entry, row.collector, row.values, row.round) = (entry.clone(), collector, values, held.round + 1);
        }
    }

    /// Ends a round that has gone through all workloads: the others have gone. Tells what has changed.
    pub fn end_round(&self) {
        let mut held = self.held.lock();
        let held = &mut *held;
        held.round += 1;
        let round = held.round;
        let mut message = empty();
        held.rows.retain(|_, row| {
            let stays = row.round == round;
            if !stays {
                message.gone.push(row.id);
            }
            stays
        });
        let changed = std::mem::take(&mut held.changed);
        message.total = held.rows.len();
        let mut told = Vec::new();
        for topic in &changed {
            let Some(row) = held.rows.get_mut(topic) else { continue };
            let change = std::mem::replace(&mut row.change, Change::Nothing);
            told.push((topic, change));
        }
        for (topic, change) in told {
            let Some(row) = held.rows.get(topic) else { continue };
            if change == Change::All { message.whole.push(row.whole()) } else { message.live.push(row.live()) }
        }
        if self.is_heard() && !(message.whole.is_empty() && message.live.is_empty() && message.gone.is_empty()) {
            // Nobody listening any more is no failure.
            let _ = self.told.send(Told { event: "rows", data: json(&message) });
        }
    }

    /// Tells how the fleet is.
    pub fn tell_fleet(&self, fleet: &impl Serialize) {
        // Nobody listening any more is no failure.
        let _ = self.told.send(Told { event: "fleet", data: json(fleet) });
    }

    /// All rows as they are, and the messages that come from now on; none where too many listen already. Rows say how they are, not how
    /// they differ, so a change that is in both does no harm.
    pub fn listen(&self) -> Option<(Vec<Told>, broadcast::Receiver<Told>)> {
        let held = self.held.lock();
        if self.told.receiver_count() >= LISTENERS {
            return None;
        }
        let coming = self.told.subscribe();
        let mut rows: Vec<&Row> = held.rows.values().filter(|row| row.round > 0).collect();
        rows.sort_unstable_by_key(|row| row.id);
        let total = rows.len();
        let message = |reset, rows: &[&Row]| {
            let whole = rows.iter().map(|row| row.whole()).collect();
            Told { event: "rows", data: json(&RowsView { reset, total, whole, ..empty() }) }
        };
        let mut parts = rows.chunks(ROWS_A_MESSAGE);
        let mut known = vec![message(true, parts.next().unwrap_or_default())];
        known.extend(parts.map(|part| message(false, part)));
        Some((known, coming))
    }

    /// One workload's points, the newest last, each with when it began in milliseconds since the Unix epoch; so many at most.
    pub fn history(&self, topic: &Topic, points: u32) -> Vec<(u64, Point)> {
        let first = (self.slot() + 1).saturating_sub(points);
        let held = self.held.lock();
        let points = held.rows.get(topic).map(|row| row.history.since(first)).unwrap_or_default();
        let slot_ms = u64::try_from(SLOT.as_millis()).unwrap_or(u64::MAX);
        points.into_iter().map(|point| (self.began_unix_ms + u64::from(point.slot) * slot_ms, point)).collect()
    }

    fn slot(&self) -> u32 {
        u32::try_from(self.began.elapsed().as_secs() / SLOT.as_secs()).unwrap_or(u32::MAX)
    }
}

impl Row {
    fn live(&self) -> LiveRow {
        let Values { flags, in_flight, held, concurrency, request_rate, wanted } = self.values;
        (self.id, flags, in_flight, held, concurrency, request_rate, wanted)
    }

    fn whole(&self) -> WholeRow<&str> {
        let workload = &self.entry.workload;
        let scaling = &workload.scaling;
        (
            &workload.id.namespace,
            &workload.id.name,
            &workload.provider,
            scaling.concurrency_target,
            scaling.rate_target,
            scaling.min_replicas,
            scaling.max_replicas,
            self.collector.as_deref(),
            self.live(),
        )
    }
}

fn empty<'a>() -> RowsView<&'a str> {
    RowsView { unix_ms: unix_ms(), reset: false, total: 0, whole: Vec::new(), live: Vec::new(), gone: Vec::new() }
}

/// A message of strings and numbers can always be written.
fn json(message: &impl Serialize) -> Arc<str> {
    Arc::from(serde_json::to_string(message).unwrap_or_default())
}

#[cfg(test)]
mod tests;
