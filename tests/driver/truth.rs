//! What the values must be, computed from the record of clients and backends.

use std::{ops::RangeInclusive, time::Duration};

use super::load::Exchange;

/// The raster on which the truth is laid out: fine against every window.
const STEP: Duration = Duration::from_millis(10);

/// How old the evidence of a value may be: an interceptor is called missing after this.
const EVIDENCE_AGE: Duration = Duration::from_secs(3);

/// Bounds of what may rightly be told: which of the values in it is told depends on when exactly the evidence was taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bounds {
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Bounds {
    /// Whether a value is within the bounds, or off by at most this share of them.
    pub(crate) fn hold(self, value: f64, share: f64) -> bool {
        let tolerated = self.least * (1.0 - share)..=self.most * (1.0 + share);
        tolerated.contains(&value)
    }

    /// Whether the value, rounded up, is that of a value within the bounds.
    pub(crate) fn hold_rounded_up(self, value: f64, share: f64) -> bool {
        let tolerated: RangeInclusive<f64> = (self.least * (1.0 - share)).ceil()..=(self.most * (1.0 + share)).ceil();
        tolerated.contains(&value)
    }

    /// How far the bounds are apart, against their middle; zero where there is nothing.
    pub(crate) fn relative_width(self) -> f64 {
        let middle = f64::midpoint(self.least, self.most);
        if middle > 0.0 { (self.most - self.least) / middle } else { 0.0 }
    }
}

/// The truth about one workload.
pub(crate) struct Truth {
    interceptors: Vec<Share>,
}

/// What went through one interceptor. Its own view lies between these two: a request is in flight there at least while a
/// backend has it, and at most while its client waits. On a busy machine milliseconds lie between.
struct Share {
    clients: Totals,
    backends: Totals,
}

/// Running totals at each step of the raster.
struct Totals {
    arrivals: Vec<f64>,
    /// Seconds times requests in flight.
    busy: Vec<f64>,
}

impl Totals {
    /// Of requests that begin and end at these times.
    fn new(requests: impl Iterator<Item = (Duration, Duration)>, until: Duration) -> Self {
        let steps = steps(until) + 1;
        // What each step adds: to the arrivals, to the requests in flight after it, and to the time inside it that a request
        // which begins or ends there fills only in part.
        let (mut arrivals, mut in_flight, mut busy) = (vec![0.0; steps], vec![0.0; steps], vec![0.0; steps]);
        for (start, end) in requests {
            for (at, sign) in [(start, 1.0), (end, -1.0)] {
                let step = steps_begun(at);
                if step < steps {
                    busy[step] += sign * (STEP * step as u32 - at).as_secs_f64();
                    in_flight[step] += sign;
                }
            }
            if let Some(arrivals) = arrivals.get_mut(steps_begun(start)) {
                *arrivals += 1.0;
            }
        }
        let (mut open, mut time, mut count) = (0.0, 0.0, 0.0);
        for ((arrivals, in_flight), busy) in arrivals.iter_mut().zip(&in_flight).zip(&mut busy) {
            time += open * STEP.as_secs_f64() + *busy;
            count += *arrivals;
            open += in_flight;
            (*arrivals, *busy) = (count, time);
        }
        Self { arrivals, busy }
    }
}

/// A total at a step; before the first there was nothing, and after the last there is no change.
fn at(totals: &[f64], step: usize) -> f64 {
    totals.get(step).or(totals.last()).copied().unwrap_or(0.0)
}

impl Truth {
    /// Lays out all requests of a workload from the beginning of the load to `until`.
    pub(crate) fn new(exchanges: &[Exchange], interceptors: usize, until: Duration) -> Self {
        let share = |interceptor| {
            let own = || exchanges.iter().filter(move |exchange| exchange.interceptor == interceptor);
            let end = |exchange: &Exchange| exchange.end.unwrap_or(until).min(until);
            Share {
                clients: Totals::new(own().map(|exchange| (exchange.start, end(exchange))), until),
                backends: Totals::new(
                    own().map(|exchange| exchange.served.unwrap_or((exchange.start, end(exchange)))),
                    until,
                ),
            }
        };
        Self { interceptors: (0..interceptors).map(share).collect() }
    }

    /// Requests a second over a window, whose beginning may be off by `blur`.
    pub(crate) fn rate(&self, asked: Duration, answered: Duration, window: Duration, blur: Duration) -> Bounds {
        // The edges lie between two steps, and a request on its way to the proxy may be at any point of it.
        let blur = steps(blur);
        self.mean(asked, answered, window, |share, begin, end| {
            let least = at(&share.backends.arrivals, end) - at(&share.clients.arrivals, begin + 1 + blur);
            let most = at(&share.clients.arrivals, end + 1) - at(&share.backends.arrivals, begin.saturating_sub(blur));
            // Between two ticks arrivals are taken as even: at the window's beginning one of them may count in part.
            let part = if most > 0.0 { 1.0 } else { 0.0 };
            Bounds { least: (least - part).max(0.0), most: most + part }
        })
    }

    /// What KEDA is to be told as concurrency while nothing is held: the mean over the window, or over its last tenth
    /// where that is at least twice as much. The windows' beginning may be off by `blur`.
    pub(crate) fn concurrency(&self, asked: Duration, answered: Duration, window: Duration, blur: Duration) -> Bounds {
        let blur = steps(blur);
        let busy = |share: &Share, begin: usize, end| Bounds {
            least: at(&share.backends.busy, end) - at(&share.backends.busy, begin + blur),
            most: at(&share.clients.busy, end) - at(&share.clients.busy, begin.saturating_sub(blur)),
        };
        let mean = self.mean(asked, answered, window, busy);
        let burst = self.mean(asked, answered, window / 10, busy);
        let may_be_told = burst.most >= 2.0 * mean.least;
        let must_be_told = burst.least >= 2.0 * mean.most;
        Bounds {
            least: if must_be_told { burst.least } else { mean.least },
            most: if may_be_told { mean.most.max(burst.most) } else { mean.most },
        }
    }

    /// Each interceptor's share is taken over the window that ends at its own evidence: so the bounds of the sum are the
    /// sums of the bounds.
    fn mean(
        &self,
        asked: Duration,
        answered: Duration,
        window: Duration,
        change: impl Fn(&Share, usize, usize) -> Bounds,
    ) -> Bounds {
        let length = steps(window);
        let evidence = steps(asked.saturating_sub(EVIDENCE_AGE))..=steps_begun(answered);
        let mut sum = Bounds { least: 0.0, most: 0.0 };
        for share in &self.interceptors {
            let mut own = Bounds { least: f64::INFINITY, most: 0.0 };
            for end in evidence.clone() {
                let change = change(share, end.saturating_sub(length), end);
                own = Bounds { least: own.least.min(change.least), most: own.most.max(change.most) };
            }
            sum.least += own.least.max(0.0) / window.as_secs_f64();
            sum.most += own.most / window.as_secs_f64();
        }
        sum
    }
}

/// Whole steps until a time.
fn steps(time: Duration) -> usize {
    (time.as_nanos() / STEP.as_nanos()) as usize
}

/// Steps until a time, the one that it lies in included.
fn steps_begun(time: Duration) -> usize {
    time.as_nanos().div_ceil(STEP.as_nanos()) as usize
}
