//! A workload in the outbox: where its next frame stands, and what its newest one has promised.

use std::sync::Arc;

use plimsoll_wire::frame::Frame;

use crate::ledger::Totals;

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) totals: Arc<Totals>,
    pub(super) delivery: Delivery,
    pub(super) debt: Debt,
    pub(super) suspect: bool,
    /// What the newest frame that was cut said were admitted.
    pub(super) cut_admitted: u64,
}

/// Where a workload's next frame stands.
#[derive(Debug)]
pub(super) enum Delivery {
    /// It is to be cut. An arrival, a tick or (after `Sent`) the return of the frame before leads here.
    Due,
    /// It has been handed out and is not back. With `again` a tick has come since: the next one is due once this one is
    /// delivered.
    Sent { frame: Sent, again: bool },
    /// It is back, and a tick decides.
    Resting { frame: Sent, delivered: bool },
}

/// What is remembered of a frame handed out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) at_us: u64,
    pub(super) admitted: u64,
    pub(super) finished: u64,
    pub(super) wake: bool,
    /// It says that nothing is in flight, and that silence after it means just that.
    pub(super) closes: bool,
    /// It says that the workload's next frame comes by then; none where its reader expects one at the next tick, or takes silence for
    /// the end of the busy spell.
    pub(super) promised_us: Option<u64>,
}

/// What the next tick has to do with a workload whose frame is back.
pub(super) enum Standing {
    /// Its busy spell is over and told.
    Idle,
    /// Its frame is due.
    Owing,
    /// Its frame may wait; it has changed so many times since the newest one.
    MayWait { changes: u64 },
}

/// What a workload owes the present claim: a delivered frame cut at its watermark or later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Debt {
    Paid,
    /// The claim waits for it.
    Awaited,
    /// The claim does not wait: the topic is named.
    Named,
}

impl Sent {
    /// With `next_us`, the next tick, frames may wait for that.
    pub(super) fn standing(&self, delivered: bool, totals: &Totals, next_us: Option<u64>) -> Standing {
        if delivered && self.closes && totals.settle(self.admitted) {
            return Standing::Idle;
        }
        let (admitted, finished) = totals.progress();
        let is_over = admitted == finished && admitted == self.admitted;
        // One that was not delivered is named in each heartbeat.
        if delivered && (is_over || !self.may_wait(next_us)) || next_us.is_none() {
            return Standing::Owing;
        }
        Standing::MayWait { changes: (admitted - self.admitted) + (finished - self.finished) }
    }

    fn may_wait(&self, next_us: Option<u64>) -> bool {
        next_us.is_some_and(|next_us| self.promised_us.is_some_and(|promised_us| promised_us >= next_us))
    }
}

impl Entry {
    /// Writes into the frame when the next one comes, and notes what was written.
    ///
    /// Where frames may wait, one with nothing in flight does not close the busy spell unless nothing has come since the frame before:
    /// else each frame of a workload of short requests would.
    pub(super) fn promise(&mut self, frame: &mut Frame, wake: bool, round: usize) -> Sent {
        let may_wait = round > 1;
        let is_empty = frame.in_flight() == 0;
        frame.open = may_wait && !wake && is_empty && frame.admitted != self.cut_admitted;
        self.cut_admitted = frame.admitted;
        let closes = is_empty && !frame.open;
        let mut promised_us = None;
        if may_wait && !closes {
            // One more than the round: at its last tick it is served, and need not be due before the one after it.
            let ticks = u64::try_from(round).unwrap_or(u64::MAX).saturating_add(1);
            frame.tick_us = frame.tick_us.saturating_mul(ticks);
            promised_us = Some(frame.at_us.saturating_add(frame.tick_us));
        }
        let Frame { at_us, admitted, finished, .. } = *frame;
        Sent { at_us, admitted, finished, wake, closes, promised_us }
    }

    /// Its frame is in the log. Whether that ends the busy spell, so that the workload leaves the outbox.
    pub(super) fn delivered(&mut self, frame: Sent, again: bool, watermark_us: u64, next_us: Option<u64>) -> bool {
        self.suspect = false;
        let may_wait = frame.may_wait(next_us);
        if frame.at_us >= watermark_us || may_wait {
            self.debt = Debt::Paid;
        }
        // The first frame of a spell ends it only at a tick, however short the spell is: else a workload of many short
        // requests would be woken by each of them.
        let may_settle = again || !frame.wake;
        let idle = may_settle && frame.closes && self.totals.settle(frame.admitted);
        self.delivery = if again && !may_wait { Delivery::Due } else { Delivery::Resting { frame, delivered: true } };
        idle
    }

    /// Its frame may not be in the log; a later tick tries again. Whether the workload leaves the outbox all the same.
    pub(super) fn failed(&mut self, frame: Sent, unknown_topic: bool) -> bool {
        self.suspect = true;
        if self.debt == Debt::Awaited {
            self.debt = Debt::Named;
        }
        self.delivery = Delivery::Resting { frame, delivered: false };
        unknown_topic && self.totals.settle_forgotten()
    }
}
