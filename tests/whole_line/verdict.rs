//! Holds everything that was told against what was true.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use tonic::{Code, Status};

use super::{
    complaints::{Complaints, Fault},
    figures::Figures,
    scene::Scene,
};
use crate::driver::{
    accuracy::{Accuracy, TOLERANCE, stalled},
    load::{Ledger, Pattern},
    routes::Kind,
    sampler::{Sample, Told, all_told_after},
    truth::{Bounds, Truth},
};

/// While traffic begins or ends, a window's edge may lie between two ticks and inside the change.
const TOLERANCE_IN_CHANGE: f64 = 0.1;
/// The promise for a killed collector's topics.
const ANSWERED_AGAIN_WITHIN: Duration = Duration::from_secs(10);
/// From a workload's first request to its first value above zero, whatever the machine is busy with.
const WOKEN_WITHIN: Duration = Duration::from_secs(1);
/// After this every share's evidence is a tick's, and no longer only the first request's.
const EVIDENCE_FROM: Duration = Duration::from_secs(4);

/// What happened when, by the ledger's clock.
pub(crate) struct Events {
    /// From here on the windows have filled.
    pub(crate) warm: Duration,
    /// The collector's end.
    pub(crate) collector_killed: Duration,
    /// For each workload whether that collector had it.
    pub(crate) orphans: Vec<bool>,
    /// From here on the clients sent nothing any more.
    pub(crate) traffic_stopped: Duration,
}

/// Fails with every promise that was not kept; prints how well the others were.
pub(crate) fn pronounce(scene: &Scene, ledger: &Ledger, samples: &[Sample], events: &Events) -> Result<()> {
    let last_answer = |workload| ledger.of(workload).iter().filter_map(|exchange| exchange.end).max();
    let truths = (0..scene.roles.len())
        .map(|workload| Truth::new(&ledger.of(workload), super::INTERCEPTORS, ledger.now()))
        .collect();
    let mut court = Court {
        scene,
        ledger,
        events,
        truths,
        busy_until: (0..scene.roles.len()).map(last_answer).collect(),
        first_seen: BTreeMap::new(),
        complaints: Complaints::default(),
        accuracy: Accuracy::default(),
        accuracy_in_change: Accuracy::default(),
        figures: Figures::default(),
    };
    for failure in ledger.failures() {
        court.complaints.note("a client", Duration::ZERO, Fault::new(failure, ""));
    }
    for sample in samples {
        court.hear(sample);
    }
    court.nobody_slept_through();
    court.figures.print(samples, events.collector_killed);
    println!("{}", court.accuracy);
    let context = format!("times since the load began; the collector was killed at {:?}", events.collector_killed);
    court.complaints.settle(&context)?;
    all_told_after(samples, scene.roles.len(), events.collector_killed + ANSWERED_AGAIN_WITHIN)
}

struct Court<'a> {
    scene: &'a Scene,
    ledger: &'a Ledger,
    events: &'a Events,
    truths: Vec<Truth>,
    /// When each workload's last request was answered; none where it has no clients.
    busy_until: Vec<Option<Duration>>,
    /// When a manager first told a workload as above zero.
    first_seen: BTreeMap<(usize, usize), Duration>,
    complaints: Complaints,
    accuracy: Accuracy,
    accuracy_in_change: Accuracy,
    figures: Figures,
}

impl Court<'_> {
    fn hear(&mut self, sample: &Sample) {
        let role = &self.scene.roles[sample.workload];
        let mut faults = Vec::new();
        for error in [sample.active.as_ref().err(), sample.told.as_ref().err()].into_iter().flatten() {
            faults.extend(self.is_no_undue_error(sample, error));
        }
        if self.busy_until[sample.workload].is_some_and(|end| sample.answered < end) {
            faults.extend(self.is_no_false_zero(sample));
        }
        if !role.is_busy() && sample.active.as_ref().is_ok_and(|active| *active) {
            faults.push(Fault::new("active", "and nobody asks for it"));
        }
        if let Ok(told) = sample.told
            && sample.asked >= EVIDENCE_FROM
        {
            faults.extend(self.is_true(sample, told));
        }
        let who = format!("manager {} of workload {} ({:?})", sample.manager, sample.workload, role.pattern);
        for fault in faults {
            self.complaints.note(&who, sample.answered, fault);
        }
    }

    /// Only what the killed collector had may be unknown, and only for so long.
    fn is_no_undue_error(&mut self, sample: &Sample, error: &Status) -> Option<Fault> {
        let killed = self.events.collector_killed;
        let may_be_unknown = self.events.orphans[sample.workload]
            && sample.answered >= killed
            && sample.asked <= killed + ANSWERED_AGAIN_WITHIN;
        // A fleet that has just started has not read every new topic to its end yet, and says so.
        let may_be_unknown = may_be_unknown || sample.asked < EVIDENCE_FROM;
        if may_be_unknown && error.code() == Code::Unavailable && !error.message().is_empty() {
            self.figures.unknown(sample.answered);
            return None;
        }
        Some(Fault::new(format!("{:?}: {}", error.code(), error.message()), "without need"))
    }

    /// Once seen at work, a workload is never called idle before its clients have stopped.
    fn is_no_false_zero(&mut self, sample: &Sample) -> Option<Fault> {
        let zero = sample.told.as_ref().is_ok_and(|told| told.concurrency == 0.0 || told.rate == Some(0.0));
        let inactive = matches!(sample.active, Ok(false));
        let key = (sample.manager, sample.workload);
        if self.first_seen.contains_key(&key) {
            return (zero || inactive)
                .then(|| Fault::new(format!("falsely zero: {:?}, active {:?}", sample.told, sample.active), ""));
        }
        if sample.told.is_ok() && sample.active.is_ok() && !zero && !inactive {
            self.first_seen.insert(key, sample.answered);
        }
        None
    }

    fn is_true(&mut self, sample: &Sample, told: Told) -> Vec<Fault> {
        let role = &self.scene.roles[sample.workload];
        let truth = &self.truths[sample.workload];
        let steady = sample.asked >= self.events.warm && sample.answered < self.events.traffic_stopped;
        let tolerance = if steady { TOLERANCE } else { TOLERANCE_IN_CHANGE };
        let mut faults = Vec::new();
        let accuracy = if steady { &mut self.accuracy } else { &mut self.accuracy_in_change };
        let window = role.concurrency_window().max(role.route.rate_window.unwrap_or_default());
        let may_blur = !steady || stalled(self.ledger, sample, window);
        let (asked, answered) = (sample.asked, sample.answered);
        let concurrency = |blur| truth.concurrency(asked, answered, role.concurrency_window(), blur);
        let holds = |bounds: Bounds| match role.route.kind {
            Kind::InterceptorRoute => bounds.hold(told.concurrency, tolerance),
            Kind::HttpScaledObject => bounds.hold_rounded_up(told.concurrency, tolerance),
        };
        if let Err(bounds) = accuracy.judge(concurrency, holds, may_blur) {
            faults.push(Fault::new(format!("concurrency {}", told.concurrency), format!("is not within {bounds:?}")));
        }
        if steady && role.route.kind == Kind::InterceptorRoute {
            self.figures.concurrency.note(told.concurrency, concurrency(Duration::ZERO));
        }
        match (told.rate, role.route.rate_window) {
            (Some(rate), Some(window)) => {
                let bounds = |blur| truth.rate(asked, answered, window, blur);
                if let Err(bounds) = accuracy.judge(bounds, |bounds| bounds.hold(rate, tolerance), may_blur) {
                    faults.push(Fault::new(format!("rate {rate}"), format!("is not within {bounds:?}")));
                }
                // Of few long requests one more or less is inside a window: that says nothing about accuracy.
                if steady && matches!(role.pattern, Pattern::Bursts { .. }) {
                    self.figures.rate.note(rate, bounds(Duration::ZERO));
                }
            }
            (None, None) => {}
            (told, window) => faults.push(Fault::new(format!("rate {told:?}"), format!("for the window {window:?}"))),
        }
        faults
    }

    /// Every busy workload has been seen, soon.
    fn nobody_slept_through(&mut self) {
        for workload in (0..self.scene.roles.len()).filter(|number| self.scene.roles[*number].is_busy()) {
            let Some(first) = self.ledger.of(workload).first().map(|exchange| exchange.start) else {
                let fault = Fault::new(format!("workload {workload} had no request"), "");
                self.complaints.note("the load", Duration::ZERO, fault);
                continue;
            };
            for manager in 0..super::MANAGERS {
                let seen = self.first_seen.get(&(manager, workload)).copied();
                if let Some(seen) = seen {
                    self.figures.woken(seen.saturating_sub(first));
                }
                if seen.is_none_or(|seen| seen > first + WOKEN_WITHIN) {
                    let fault = Fault::new(format!("workload {workload} first told at {seen:?}"), "");
                    self.complaints.note(&format!("manager {manager}"), first, fault);
                }
            }
        }
    }
}
