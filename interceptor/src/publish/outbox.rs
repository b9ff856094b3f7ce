//! What to append next, and what a heartbeat may claim: the publisher's decisions, without I/O, tasks or timers.
//!
//! A workload is in the outbox from the first arrival of a busy spell until totals with nothing in flight have been
//! delivered; idle ones cost nothing. Only totals are kept here, never frames: a frame is cut when there is room to
//! send it, so the newest totals win, and memory is bounded by one frame a workload however long the log is away.
//!
//! A *claim* is opened at each tick. Its watermark is the time of the tick, and every workload in the outbox owes it a
//! frame cut at or after that time. As soon as all those have delivered that are expected to, the claim becomes a
//! [`Vouch`], which a heartbeat carries; at the next tick it does so in any case, and names those that have not.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use plimsoll_wire::frame::Frame;
use plimsoll_wire::log::Topic;

use crate::ledger::{Identity, Totals};

/// Frames handed out at a time: few enough that a wake-up never waits for the cutting of more than these (some 50 us),
/// and that one topic in trouble delays the acknowledgement of few others; enough to make good batches.
const BATCH: usize = 256;

/// Undelivered topics that a heartbeat names at most. Where there are more the watermark stands still, which says less
/// of the other topics and keeps the heartbeat (some 250 KB then at most) inside what brokers take.
const MAX_UNDELIVERED: usize = 1_000;

/// Frames to append, each to its workload's topic.
#[derive(Debug)]
pub(super) struct Batch {
    /// The first frames of busy spells: they are urgent.
    pub(super) wake: bool,
    pub(super) cuts: Vec<Cut>,
}

/// A frame to append.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) topic: Topic,
    pub(super) frame: Frame,
}

/// What came of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is in the log.
    Delivered,
    /// It may be in the log or not.
    Failed,
    /// Its topic does not exist.
    UnknownTopic,
}

/// What a heartbeat may say: every change before the watermark is in a delivered frame, but for these topics'.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Vouch {
    pub(super) watermark_us: u64,
    pub(super) undelivered: Vec<Topic>,
}

#[derive(Debug)]
pub(super) struct Outbox {
    identity: Identity,
    entries: HashMap<Topic, Entry>,
    /// Entries that are [`Delivery::Due`], each in exactly one of the three.
    urgent: VecDeque<Topic>,
    due: VecDeque<Topic>,
    /// Those whose last frame failed or is late go in batches of their own, so that they hold up no sound topic.
    suspects: VecDeque<Topic>,
    claim: Claim,
    vouched: Vouch,
    /// `vouched` has not been taken yet.
    news: bool,
    /// Topics that the last claim left undelivered; more than `vouched` names where there were too many to name.
    undelivered: usize,
}

#[derive(Debug)]
struct Entry {
    totals: Arc<Totals>,
    delivery: Delivery,
    debt: Debt,
    suspect: bool,
}

/// Where a workload's next frame stands.
#[derive(Debug)]
enum Delivery {
    /// It is to be cut. An arrival, a tick or (after `Sent`) the return of the frame before leads here.
    Due,
    /// It has been handed out and is not back. With `again` a tick has come since: the next one is due once this one is
    /// delivered.
    Sent { frame: Sent, again: bool },
    /// It is back, and the next tick decides. Where it was delivered with nothing in flight: how many it said were
    /// admitted.
    Resting { final_admitted: Option<u64> },
}

/// What is remembered of a frame handed out.
#[derive(Debug, Clone, Copy)]
struct Sent {
    at_us: u64,
    admitted: u64,
    in_flight: u64,
    wake: bool,
}

/// What a workload owes the present claim: a delivered frame cut at its watermark or later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Debt {
    Paid,
    /// The claim waits for it.
    Awaited,
    /// The claim does not wait: the topic is named.
    Named,
}

#[derive(Debug, Default)]
struct Claim {
    watermark_us: u64,
    /// Entries whose debt is [`Debt::Awaited`].
    awaited: usize,
    vouched: bool,
}

impl Outbox {
    pub(super) fn new(identity: Identity) -> Self {
        Self {
            identity,
            entries: HashMap::new(),
            urgent: VecDeque::new(),
            due: VecDeque::new(),
            suspects: VecDeque::new(),
            claim: Claim { vouched: true, ..Claim::default() },
            vouched: Vouch::default(),
            news: false,
            undelivered: 0,
        }
    }

    /// Workloads whose busy spell has begun.
    pub(super) fn wake(&mut self, woken: Vec<Arc<Totals>>) {
        for totals in woken {
            let topic = totals.topic().clone();
            self.urgent.push_back(topic.clone());
            // It began after the present claim's watermark, or else the tick had found it.
            self.entries.insert(topic, Entry { totals, delivery: Delivery::Due, debt: Debt::Paid, suspect: false });
        }
    }

    /// A tick at this time. Every busy spell that began before it and has not been handed to [`Outbox::wake`] is in
    /// `woken`.
    pub(super) fn tick(&mut self, watermark_us: u64, woken: Vec<Arc<Totals>>) {
        if !self.claim.vouched {
            self.vouch();
        }
        self.wake(woken);
        let mut awaited = 0;
        let Self { entries, due, suspects, .. } = self;
        entries.retain(|topic, entry| {
            match &mut entry.delivery {
                Delivery::Due => {}
                Delivery::Sent { again, .. } => {
                    // Late: it has not come back within the tick.
                    entry.suspect |= entry.debt == Debt::Awaited;
                    *again = true;
                }
                Delivery::Resting { final_admitted } => {
                    if final_admitted.is_some_and(|admitted| entry.totals.settle(admitted)) {
                        return false;
                    }
                    entry.delivery = Delivery::Due;
                    if entry.suspect { &mut *suspects } else { &mut *due }.push_back(topic.clone());
                }
            }
            entry.debt = if entry.suspect { Debt::Named } else { Debt::Awaited };
            awaited += usize::from(entry.debt == Debt::Awaited);
            true
        });
        self.claim = Claim { watermark_us, awaited, vouched: false };
        if awaited == 0 {
            self.vouch();
        }
    }

    /// Whether [`Outbox::next_batch`] has one.
    pub(super) fn has_batch(&self) -> bool {
        !(self.urgent.is_empty() && self.due.is_empty() && self.suspects.is_empty())
    }

    /// Frames to append now, cut in this moment. The outcome of each must come back through [`Outbox::returned`], once.
    pub(super) fn next_batch(&mut self) -> Option<Batch> {
        let wake = !self.urgent.is_empty();
        let queue = match () {
            () if wake => &mut self.urgent,
            () if !self.due.is_empty() => &mut self.due,
            () if !self.suspects.is_empty() => &mut self.suspects,
            () => return None,
        };
        let size = queue.len().min(BATCH);
        let mut cuts = Vec::with_capacity(size);
        for topic in queue.drain(..size) {
            // What is due stays in the outbox.
            let Some(entry) = self.entries.get_mut(&topic) else { continue };
            let frame = entry.totals.cut(&self.identity);
            let sent = Sent { at_us: frame.at_us, admitted: frame.admitted, in_flight: frame.in_flight(), wake };
            entry.delivery = Delivery::Sent { frame: sent, again: false };
            cuts.push(Cut { topic, frame });
        }
        Some(Batch { wake, cuts })
    }

    /// What came of the frame handed out for this topic.
    pub(super) fn returned(&mut self, topic: &Topic, outcome: Outcome) {
        let Some(entry) = self.entries.get_mut(topic) else { return };
        let Delivery::Sent { frame, again } = entry.delivery else { return };
        let owed = entry.debt;
        let idle = match outcome {
            Outcome::Delivered => entry.delivered(frame, again, self.claim.watermark_us),
            Outcome::Failed => entry.failed(false),
            Outcome::UnknownTopic => entry.failed(true),
        };
        if owed == Debt::Awaited && (idle || entry.debt != Debt::Awaited) {
            self.claim.awaited -= 1;
        }
        if idle {
            self.entries.remove(topic);
        } else if matches!(entry.delivery, Delivery::Due) {
            self.due.push_back(topic.clone());
        }
        if self.claim.awaited == 0 && !self.claim.vouched {
            self.vouch();
        }
    }

    /// What the next heartbeat says, where that is news since the last call.
    pub(super) fn take_vouch(&mut self) -> Option<Vouch> {
        std::mem::take(&mut self.news).then(|| self.vouched.clone())
    }

    /// What the last heartbeat of all says: the present claim as it stands.
    pub(super) fn last_vouch(&mut self) -> Vouch {
        self.vouch();
        self.vouched.clone()
    }

    /// Whether the present claim is met by every topic.
    pub(super) fn is_delivered(&self) -> bool {
        self.entries.values().all(|entry| entry.debt == Debt::Paid)
    }

    /// Workloads in the outbox.
    pub(super) fn busy(&self) -> usize {
        self.entries.len()
    }

    /// Topics that the last claim left undelivered.
    pub(super) fn undelivered(&self) -> usize {
        self.undelivered
    }

    fn vouch(&mut self) {
        let owing = || self.entries.iter().filter(|(_, entry)| entry.debt != Debt::Paid).map(|(topic, _)| topic);
        self.undelivered = owing().count();
        if self.undelivered <= MAX_UNDELIVERED {
            let mut undelivered: Vec<_> = owing().cloned().collect();
            undelivered.sort_unstable();
            self.vouched = Vouch { watermark_us: self.claim.watermark_us, undelivered };
        }
        self.claim.vouched = true;
        self.news = true;
    }
}

impl Entry {
    /// Its frame is in the log. Whether that ends the busy spell, so that the workload leaves the outbox.
    fn delivered(&mut self, frame: Sent, again: bool, watermark_us: u64) -> bool {
        self.suspect = false;
        if frame.at_us >= watermark_us {
            self.debt = Debt::Paid;
        }
        let final_admitted = (frame.in_flight == 0).then_some(frame.admitted);
        // The first frame of a spell ends it only at a tick, however short the spell is: else a workload of many short
        // requests would be woken by each of them.
        let may_settle = again || !frame.wake;
        let idle = may_settle && final_admitted.is_some_and(|admitted| self.totals.settle(admitted));
        self.delivery = if again { Delivery::Due } else { Delivery::Resting { final_admitted } };
        idle
    }

    /// Its frame may not be in the log; the next tick tries again. Whether the workload leaves the outbox all the same.
    fn failed(&mut self, unknown_topic: bool) -> bool {
        self.suspect = true;
        if self.debt == Debt::Awaited {
            self.debt = Debt::Named;
        }
        self.delivery = Delivery::Resting { final_admitted: None };
        unknown_topic && self.totals.settle_forgotten()
    }
}

#[cfg(test)]
mod tests;
