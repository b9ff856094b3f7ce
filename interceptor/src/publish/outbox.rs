//! What to append next, and what a heartbeat may claim: the publisher's decisions, without I/O, tasks or timers.
//!
//! A workload is in the outbox from the first arrival of a busy spell until totals with nothing in flight have been
//! delivered; idle ones cost nothing. Only totals are kept here, never frames: a frame is cut when there is room to
//! send it, so the newest totals win, and memory is bounded by one frame a workload however long the log is away.
//!
//! With more busy workloads than the [`Budget`] has frames, some wait for later ticks. Their newest frame says how long the next one
//! may take (a *promise*), so that their silence until then claims nothing. Frames that open or close a busy spell never wait.
//!
//! A *claim* is opened at each tick. Its watermark is the time of the tick, and every workload in the outbox owes it a
//! frame cut at or after that time. As soon as all those have delivered that are expected to, the claim becomes a
//! [`Vouch`], which a heartbeat carries; at the next tick it does so in any case, and names those that have not.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use plimsoll_wire::frame::Frame;
use plimsoll_wire::log::Topic;

use crate::ledger::{Identity, Totals};
use budget::Candidate;
use entry::{Debt, Delivery, Entry, Standing};

mod budget;
mod entry;

pub(in crate::publish) use budget::Budget;

/// Frames handed out at a time: few enough that a wake-up never waits for the cutting of more than these (some 50 us),
/// and that one topic in trouble delays the acknowledgement of few others; enough to make good batches.
pub const BATCH: usize = 256;

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
    budget: Budget,
    /// Within so many ticks each busy workload has its turn: 1 while the budget suffices for all.
    round: usize,
    /// Frames since the last tick that were handed out for wake-ups.
    spent: usize,
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

#[derive(Debug, Default)]
struct Claim {
    watermark_us: u64,
    /// Entries whose debt is [`Debt::Awaited`].
    awaited: usize,
    vouched: bool,
}

impl Outbox {
    pub(super) fn new(identity: Identity, budget: Budget) -> Self {
        Self {
            identity,
            budget,
            round: 1,
            spent: 0,
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
            let entry = Entry { totals, delivery: Delivery::Due, debt: Debt::Paid, suspect: false, cut_admitted: 0 };
            self.entries.insert(topic, entry);
        }
        // A wake-up must not promise the next frame sooner than the next tick has room for it.
        self.round = self.round.max(self.budget.round(self.entries.len()));
    }

    /// A tick at this time. Every busy spell that began before it and has not been handed to [`Outbox::wake`] is in
    /// `woken`.
    pub(super) fn tick(&mut self, watermark_us: u64, woken: Vec<Arc<Totals>>) {
        if !self.claim.vouched {
            self.vouch();
        }
        self.wake(woken);
        self.round = self.budget.round(self.entries.len());
        let next_us = self.next_us(watermark_us);
        let mut waiting = Vec::new();
        let mut spent = std::mem::take(&mut self.spent);
        let Self { entries, due, suspects, .. } = self;
        entries.retain(|topic, entry| {
            let mut waits = false;
            match &mut entry.delivery {
                Delivery::Due => {}
                Delivery::Sent { again, .. } => {
                    // Late: it has not come back within the tick.
                    entry.suspect |= entry.debt == Debt::Awaited;
                    *again = true;
                }
                Delivery::Resting { frame, delivered } => match frame.standing(*delivered, &entry.totals, next_us) {
                    Standing::Idle => return false,
                    Standing::MayWait { changes } => {
                        waits = true;
                        waiting.push(Candidate { workload: topic.clone(), cut_us: frame.at_us, changes });
                    }
                    Standing::Owing => {
                        entry.delivery = Delivery::Due;
                        if entry.suspect { &mut *suspects } else { &mut *due }.push_back(topic.clone());
                        spent += usize::from(next_us.is_some());
                    }
                },
            }
            entry.debt = match () {
                () if entry.suspect => Debt::Named,
                () if waits => Debt::Paid,
                () => Debt::Awaited,
            };
            true
        });
        let chosen = self.budget.choose(&mut waiting, spent);
        for candidate in waiting.drain(..chosen) {
            self.make_due(candidate.workload);
        }
        let awaited = self.entries.values().filter(|entry| entry.debt == Debt::Awaited).count();
        self.claim = Claim { watermark_us, awaited, vouched: false };
        if awaited == 0 {
            self.vouch();
        }
    }

    /// When the tick after this one comes, where frames may wait for it.
    fn next_us(&self, watermark_us: u64) -> Option<u64> {
        (self.round > 1).then(|| watermark_us.saturating_add(self.identity.tick_us))
    }

    fn make_due(&mut self, topic: Topic) {
        let Some(entry) = self.entries.get_mut(&topic) else { return };
        entry.delivery = Delivery::Due;
        if entry.suspect {
            self.suspects.push_back(topic);
        } else {
            entry.debt = Debt::Awaited;
            self.due.push_back(topic);
        }
    }

    /// From the next tick on nothing waits: what is left is to be told before the end.
    pub(super) fn lift_budget(&mut self) {
        self.budget = Budget::UNLIMITED;
    }

    /// Ticks within which each busy workload's totals have their turn.
    pub(super) fn round(&self) -> usize {
        self.round
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
        self.spent += if wake { size } else { 0 };
        let mut cuts = Vec::with_capacity(size);
        for topic in queue.drain(..size) {
            // What is due stays in the outbox.
            let Some(entry) = self.entries.get_mut(&topic) else { continue };
            let mut frame = entry.totals.cut(&self.identity);
            let sent = entry.promise(&mut frame, wake, self.round);
            entry.delivery = Delivery::Sent { frame: sent, again: false };
            cuts.push(Cut { topic, frame });
        }
        Some(Batch { wake, cuts })
    }

    /// What came of the frame handed out for this topic.
    pub(super) fn returned(&mut self, topic: &Topic, outcome: Outcome) {
        let next_us = self.next_us(self.claim.watermark_us);
        let Some(entry) = self.entries.get_mut(topic) else { return };
        let Delivery::Sent { frame, again } = entry.delivery else { return };
        let owed = entry.debt;
        let idle = match outcome {
            Outcome::Delivered => entry.delivered(frame, again, self.claim.watermark_us, next_us),
            Outcome::Failed => entry.failed(frame, false),
            Outcome::UnknownTopic => entry.failed(frame, true),
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

#[cfg(test)]
mod tests;
