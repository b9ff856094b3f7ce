//! An outbox between a ledger and a log that answers when and how a test says, and the truth to hold it against.

use plimsoll_wire::topic::WorkloadId;

use super::*;
use crate::ledger::{Clock, InFlight, Ledger};

/// An outbox, the ledger that it publishes, and the log's side: frames that are under way and what has been delivered.
pub(super) struct World {
    pub(super) ledger: Ledger,
    pub(super) outbox: Outbox,
    pub(super) workloads: Vec<Arc<Totals>>,
    pub(super) in_flight: Vec<(usize, InFlight)>,
    /// For each workload, when its totals changed and what (admitted, finished) they were then.
    pub(super) changes: Vec<Vec<(u64, (u64, u64))>>,
    /// Nobody is left to tell of these.
    pub(super) forgotten: Vec<Topic>,
    pub(super) under_way: Vec<Cut>,
    pub(super) delivered: HashMap<Topic, Frame>,
    pub(super) vouches: Vec<Vouch>,
    tick_us: u64,
}

impl World {
    pub(super) fn new(workloads: usize) -> Self {
        Self::with_budget(workloads, Budget::UNLIMITED)
    }

    pub(super) fn with_budget(workloads: usize, budget: Budget) -> Self {
        let ledger = Ledger::new(Clock::start());
        let tick_us = 1_000_000;
        let identity = Identity { interceptor: "a".into(), incarnation: 7, tick_us };
        Self {
            workloads: (0..workloads).map(|n| ledger.workload(&Self::id(n))).collect(),
            changes: vec![vec![]; workloads],
            forgotten: vec![],
            ledger,
            outbox: Outbox::new(identity, budget),
            in_flight: vec![],
            under_way: vec![],
            delivered: HashMap::new(),
            vouches: vec![],
            tick_us,
        }
    }

    pub(super) fn id(workload: usize) -> WorkloadId {
        WorkloadId::new("shop", format!("w{workload:04}"))
    }

    pub(super) fn admit(&mut self, workload: usize) {
        self.in_flight.push((workload, self.workloads[workload].admit()));
        self.changed(workload, |(admitted, finished)| (admitted + 1, finished));
    }

    pub(super) fn depart(&mut self, which: usize) {
        let (workload, _request) = self.in_flight.swap_remove(which);
        self.changed(workload, |(admitted, finished)| (admitted, finished + 1));
    }

    pub(super) fn changed(&mut self, workload: usize, change: impl Fn((u64, u64)) -> (u64, u64)) {
        let changes = &mut self.changes[workload];
        let before = changes.last().map_or((0, 0), |(_, totals)| *totals);
        changes.push((self.ledger.clock().now_us(), change(before)));
    }

    pub(super) fn wake(&mut self) {
        self.outbox.wake(self.ledger.take_woken());
    }

    pub(super) fn tick(&mut self) {
        let (watermark_us, woken) = self.ledger.watermark();
        self.outbox.tick(watermark_us, woken);
        self.hear();
    }

    /// Hands out one batch; how many frames it has.
    pub(super) fn hand(&mut self) -> usize {
        let cuts = self.outbox.next_batch().map(|batch| batch.cuts).unwrap_or_default();
        let count = cuts.len();
        for cut in cuts {
            assert!(
                self.under_way.iter().all(|other| other.topic != cut.topic),
                "two frames under way to {}",
                cut.topic
            );
            self.under_way.push(cut);
        }
        count
    }

    pub(super) fn give_back(&mut self, which: usize, outcome: Outcome) {
        let cut = self.under_way.swap_remove(which);
        if outcome == Outcome::Delivered {
            self.delivered.insert(cut.topic.clone(), cut.frame);
        }
        self.outbox.returned(&cut.topic, outcome);
        self.hear();
    }

    /// Hands out all that is due, and all of it comes back like this.
    pub(super) fn exchange(&mut self, outcome: Outcome) {
        loop {
            while self.hand() > 0 {}
            if self.under_way.is_empty() {
                return;
            }
            self.give_back(0, outcome);
        }
    }

    pub(super) fn hear(&mut self) {
        let Some(vouch) = self.outbox.take_vouch() else { return };
        self.check(&vouch);
        self.vouches.push(vouch);
    }

    /// The promise: every change before the watermark is in a delivered frame, or its topic is named, or the newest delivered frame
    /// says that another comes later than the watermark.
    pub(super) fn check(&self, vouch: &Vouch) {
        for (totals, changes) in self.workloads.iter().zip(&self.changes) {
            if vouch.undelivered.contains(totals.topic()) || self.forgotten.contains(totals.topic()) {
                continue;
            }
            let Some((at_us, (admitted, finished))) = changes.iter().rfind(|(at_us, _)| *at_us < vouch.watermark_us)
            else {
                continue;
            };
            let later = |frame: &Frame| {
                (frame.in_flight() > 0 || frame.open)
                    && frame.tick_us > self.tick_us
                    && frame.at_us + frame.tick_us > vouch.watermark_us
            };
            if self.delivered.get(totals.topic()).is_some_and(later) {
                continue;
            }
            let told = self.delivered.get(totals.topic()).map_or((0, 0), |frame| (frame.admitted, frame.finished));
            assert!(
                told.0 >= *admitted && told.1 >= *finished,
                "the watermark {} hides {}'s change at {at_us} to {admitted}, {finished}: delivered is {told:?}",
                vouch.watermark_us,
                totals.topic(),
            );
        }
        let before = self.vouches.last().map_or(0, |before| before.watermark_us);
        assert!(vouch.watermark_us >= before, "the watermark went back");
    }

    pub(super) fn last_vouch(&self) -> &Vouch {
        self.vouches.last().unwrap()
    }
}
