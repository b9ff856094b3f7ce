//! Whether values are the truth.

use std::{fmt, time::Duration};

use super::{
    load::Ledger,
    sampler::{Sample, Told},
    truth::{Bounds, Truth},
};

/// The promise: within 1 % of the truth.
pub(crate) const TOLERANCE: f64 = 0.01;

/// Interceptors cut their totals once in this time.
const TICK: Duration = Duration::from_secs(1);

/// Counts values.
#[derive(Debug, Default)]
pub(crate) struct Accuracy {
    exact: usize,
    blurred: usize,
}

impl Accuracy {
    /// Judges a value over a window. `bounds` are those of windows whose beginning is off by so much at most, and `holds`
    /// says whether the value is within. The error has the bounds that it should have kept to.
    ///
    /// Totals are exact at the ticks. Where the whole machine has stalled ticks come late, and then a window may begin
    /// between two of them: only such a value may be off, by what came in that time.
    pub(crate) fn judge(
        &mut self,
        bounds: impl Fn(Duration) -> Bounds,
        holds: impl Fn(Bounds) -> bool,
        stalled: bool,
    ) -> Result<(), Bounds> {
        if holds(bounds(Duration::ZERO)) {
            self.exact += 1;
        } else if stalled && holds(bounds(TICK)) {
            self.blurred += 1;
        } else {
            return Err(bounds(Duration::ZERO));
        }
        Ok(())
    }

    /// Judges both values of a sample over the same window; says what is wrong with them.
    pub(crate) fn judge_both(
        &mut self,
        sample: &Sample,
        told: Told,
        truth: &Truth,
        ledger: &Ledger,
        window: Duration,
    ) -> Option<String> {
        let stalled = stalled(ledger, sample, window);
        let concurrency = |blur| truth.concurrency(sample.asked, sample.answered, window, blur);
        let rate = |blur| truth.rate(sample.asked, sample.answered, window, blur);
        let told_rate = told.rate.unwrap_or(f64::NAN);
        let outcomes = [
            self.judge(concurrency, |bounds| bounds.hold(told.concurrency, TOLERANCE), stalled),
            self.judge(rate, |bounds| bounds.hold(told_rate, TOLERANCE), stalled),
        ];
        outcomes.into_iter().find_map(|outcome| Some(format!("{told:?} is not within {:?}", outcome.err()?)))
    }
}

impl fmt::Display for Accuracy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = TOLERANCE * 100.0;
        write!(f, "{} values within {percent} % of the truth", self.exact)?;
        match self.blurred {
            0 => Ok(()),
            blurred => write!(f, ", and {blurred} while the machine stalled"),
        }
    }
}

/// Whether the machine stalled in or near the window of a sample.
pub(crate) fn stalled(ledger: &Ledger, sample: &Sample, window: Duration) -> bool {
    // The window, the evidence's age, and the ticks at both ends.
    let reach = window + 5 * TICK;
    ledger.stalled(sample.asked.saturating_sub(reach)..=sample.answered)
}
