//! What one run of an interceptor contributes to one topic.

use std::time::Duration;

use plimsoll_wire::frame::Frame;

use super::history::{History, Point, to_f64};
use super::roster::RunKey;

/// After this many ticks without a frame that was due, and with the run vouching for the time, the frame was lost.
const LOST_AFTER_TICKS: u64 = 3;
/// The tick of a frame that names none.
const DEFAULT_TICK_US: u64 = 1_000_000;
/// History kept beyond the longest window.
const MARGIN_US: u64 = 5_000_000;

/// The windows that a topic is answered over, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Windows {
    pub(crate) concurrency_us: u64,
    pub(crate) rate_us: u64,
}

impl Windows {
    pub(crate) fn new(concurrency: Duration, rate: Duration) -> Self {
        // Never zero: they are divisors.
        let us = |window: Duration| u64::try_from(window.as_micros()).unwrap_or(u64::MAX).max(1);
        Self { concurrency_us: us(concurrency), rate_us: us(rate) }
    }

    /// The window's last tenth, which shows a burst.
    pub(crate) fn burst_us(self) -> u64 {
        (self.concurrency_us / 10).max(1)
    }

    pub(crate) fn longest_us(self) -> u64 {
        self.concurrency_us.max(self.rate_us)
    }
}

/// Where a share's windows end, and what is in flight by its newest evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edge {
    /// In the run's own time.
    pub(crate) at_us: u64,
    pub(crate) in_flight: u64,
    pub(crate) held: u64,
}

/// A share's values, or the sum of several.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Values {
    pub(crate) in_flight: u64,
    pub(crate) held: u64,
    pub(crate) concurrency: f64,
    pub(crate) burst_concurrency: f64,
    pub(crate) request_rate: f64,
}

impl Values {
    /// Whether the share contributes anything.
    pub(crate) fn are_zero(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.in_flight = self.in_flight.saturating_add(other.in_flight);
        self.held = self.held.saturating_add(other.held);
        self.concurrency += other.concurrency;
        self.burst_concurrency += other.burst_concurrency;
        self.request_rate += other.request_rate;
    }
}

/// The newest frame's numbers that are no part of the history.
#[derive(Debug, Clone, Copy, Default)]
struct Newest {
    at_us: u64,
    admitted: u64,
    finished: u64,
    held: u64,
    tick_us: u64,
    open: bool,
    /// When its busy spell began.
    spell_at_us: u64,
}

/// One run's share of one topic.
#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) run: RunKey,
    history: History,
    newest: Newest,
    last_arrival_us: Option<u64>,
    /// Of the oldest frame read from the topic: its time, and that of its busy spell's beginning. An activation may be from before the
    /// reading began, and tells nothing of what came between.
    oldest_us: u64,
    oldest_spell_us: u64,
}

impl Share {
    pub(crate) fn new(run: RunKey) -> Self {
        Self {
            run,
            history: History::default(),
            newest: Newest::default(),
            last_arrival_us: None,
            oldest_us: u64::MAX,
            oldest_spell_us: u64::MAX,
        }
    }

    /// Takes a frame of the topic.
    pub(crate) fn read(&mut self, frame: &Frame, windows: Windows) {
        if frame.at_us < self.oldest_us {
            self.oldest_us = frame.at_us;
            self.oldest_spell_us = frame.spell_at_us;
        }
        self.apply(frame, windows);
    }

    /// Takes a frame, from wherever. Repeated and late ones are harmless: points are kept in the order of their time.
    pub(crate) fn apply(&mut self, frame: &Frame, windows: Windows) {
        let point = Point { at_us: frame.at_us, busy_us: frame.busy_us, admitted: frame.admitted };
        let base = Point { at_us: frame.spell_at_us, busy_us: frame.spell_busy_us, admitted: frame.spell_admitted };
        if base <= point && base.busy_us <= point.busy_us && base.admitted <= point.admitted {
            self.history.insert(base);
        }
        self.history.insert(point);
        let order = |at_us: u64, admitted: u64, finished: u64| (at_us, admitted, finished);
        if order(frame.at_us, frame.admitted, frame.finished)
            >= order(self.newest.at_us, self.newest.admitted, self.newest.finished)
        {
            self.newest = Newest {
                spell_at_us: frame.spell_at_us,
                at_us: frame.at_us,
                admitted: frame.admitted,
                finished: frame.finished,
                held: frame.held.min(frame.in_flight()),
                tick_us: if frame.tick_us == 0 { DEFAULT_TICK_US } else { frame.tick_us },
                open: frame.open,
            };
        }
        if frame.admitted > 0 {
            self.last_arrival_us = self.last_arrival_us.max(Some(frame.last_arrival_us));
        }
        self.history.forget_before(self.newest.at_us.saturating_sub(windows.longest_us().saturating_add(MARGIN_US)));
    }

    /// Where the windows of a run that has not ended end: at its newest evidence, the newest frame or what the run vouches for.
    pub(crate) fn edge(&self, claim_us: Option<u64>) -> Edge {
        let Newest { at_us, held, tick_us, open, .. } = self.newest;
        let in_flight = self.in_flight();
        let claim_us = claim_us.unwrap_or(0);
        if in_flight == 0 && !open {
            // Silence after a final frame: nothing has changed for as long as the run vouches for it.
            return Edge { at_us: at_us.max(claim_us), in_flight: 0, held: 0 };
        }
        if claim_us >= at_us.saturating_add(tick_us.saturating_mul(LOST_AFTER_TICKS)) {
            // The final frame was lost. The base totals of the next busy spell will put the integral right.
            return Edge { at_us: claim_us, in_flight: 0, held: 0 };
        }
        // Another frame is due: its own time is the edge, so that both ends of the window are exact.
        Edge { at_us, in_flight, held }
    }

    /// Where the windows end: at [`Self::edge`], but for the frame that opens a busy spell.
    ///
    /// All other frames are cut at ticks, a whole number of which lies in each window: so where a window that ends at a frame begins,
    /// there is a frame too, and nothing has to be guessed. The opening frame is cut between two ticks. The windows end at the tick
    /// that the run has vouched for last then, which is as well known, until the next one; unless it is long ago, or nothing would be in them, since a first
    /// request is told at once.
    pub(crate) fn edge_on_tick(&self, claim_us: Option<u64>, windows: Windows) -> Edge {
        let edge = self.edge(claim_us);
        let Newest { at_us, spell_at_us, tick_us, .. } = self.newest;
        let vouched_us = claim_us.unwrap_or(0);
        let is_recent = at_us.saturating_sub(vouched_us) <= tick_us.saturating_mul(2).min(MARGIN_US);
        if edge.at_us != at_us || vouched_us >= spell_at_us || !is_recent {
            return edge;
        }
        let shortest_us = windows.concurrency_us.min(windows.rate_us);
        let change = self.history.change(vouched_us.saturating_sub(shortest_us), vouched_us);
        let tells = change.busy_us > 0.0 && change.admitted > 0.0;
        if tells { Edge { at_us: vouched_us, ..edge } } else { edge }
    }

    /// The share over the windows that end there.
    pub(crate) fn values(&self, edge: Edge, windows: Windows) -> Values {
        // The whole window divides, also where it reaches back to before the run's start: nothing was in flight then.
        let mean = |length_us: u64| {
            self.history.change(edge.at_us.saturating_sub(length_us), edge.at_us).busy_us / to_f64(length_us)
        };
        let arrivals = self.history.change(edge.at_us.saturating_sub(windows.rate_us), edge.at_us).admitted;
        Values {
            in_flight: edge.in_flight,
            held: edge.held,
            concurrency: mean(windows.concurrency_us),
            burst_concurrency: mean(windows.burst_us()),
            request_rate: arrivals * 1e6 / to_f64(windows.rate_us),
        }
    }

    /// Whether all that the windows need has been read: a frame from before them, or a busy spell that began in them.
    pub(crate) fn covers(&self, edge: Edge, windows: Windows) -> bool {
        let from_us = edge.at_us.saturating_sub(windows.longest_us());
        self.oldest_us <= from_us || self.oldest_spell_us >= from_us
    }

    /// Drops the history that windows ending there do not need.
    pub(crate) fn forget_before(&mut self, edge: Edge, windows: Windows) {
        self.history.forget_before(edge.at_us.saturating_sub(windows.longest_us().saturating_add(MARGIN_US)));
    }

    /// Requests in flight by the newest frame.
    pub(crate) fn in_flight(&self) -> u64 {
        self.newest.admitted.saturating_sub(self.newest.finished)
    }

    /// Requests admitted since the run's start.
    pub(crate) fn admitted(&self) -> u64 {
        self.newest.admitted
    }

    /// When the newest frame was cut, by the run's own clock.
    pub(crate) fn newest_us(&self) -> u64 {
        self.newest.at_us
    }

    /// When the newest request was admitted, by the run's own clock.
    pub(crate) fn last_arrival_us(&self) -> Option<u64> {
        self.last_arrival_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::roster::Roster;
    use plimsoll_wire::log::LogTime;

    const S: u64 = 1_000_000;
    const WINDOWS: Windows = Windows { concurrency_us: 10 * S, rate_us: 20 * S };

    fn share() -> Share {
        Share::new(Roster::default().frame(&Frame::default(), LogTime(0)))
    }

    /// A frame of a spell that began at 10 s.
    fn frame(at_us: u64, admitted: u64, finished: u64, busy_us: u64) -> Frame {
        Frame {
            at_us,
            admitted,
            finished,
            busy_us,
            last_arrival_us: at_us,
            spell_at_us: 10 * S,
            tick_us: S,
            ..Frame::default()
        }
    }

    #[test]
    fn a_lost_frame_changes_no_total() {
        let (mut all, mut some) = (share(), share());
        for second in 11..=20 {
            let frame = frame(second * S, second - 9, 1, (second - 10) * S);
            all.read(&frame, WINDOWS);
            if second % 3 == 2 {
                some.read(&frame, WINDOWS);
            }
        }
        assert_eq!(all.values(all.edge(None), WINDOWS), some.values(some.edge(None), WINDOWS));
        assert_eq!(all.values(all.edge(None), WINDOWS).concurrency, 1.0);
    }

    #[test]
    fn an_idle_stretch_lies_where_the_base_totals_say_although_its_neighbours_are_lost() {
        let mut share = share();
        share.read(&frame(11 * S, 1, 0, S), WINDOWS);
        // The final frame of that spell, at 12 s, is lost; a new spell begins at 18 s.
        let next = Frame { spell_at_us: 18 * S, spell_admitted: 1, spell_busy_us: 2 * S, ..frame(19 * S, 2, 1, 3 * S) };
        share.read(&next, WINDOWS);
        let values = share.values(share.edge(None), Windows { concurrency_us: S, rate_us: S });
        assert_eq!((values.concurrency, values.request_rate), (1.0, 1.0));
        let values = share.values(share.edge(None), WINDOWS);
        assert_eq!(values.concurrency, 0.3, "all of the integral is there");
    }

    #[test]
    fn what_is_in_flight_ends_three_ticks_after_a_final_frame_that_was_lost() {
        let mut share = share();
        share.read(&frame(11 * S, 1, 0, S), WINDOWS);
        assert_eq!(share.edge(Some(13 * S)), Edge { at_us: 11 * S, in_flight: 1, held: 0 });
        assert_eq!(share.edge(Some(14 * S)), Edge { at_us: 14 * S, in_flight: 0, held: 0 });
    }

    #[test]
    fn silence_after_a_frame_that_leaves_its_spell_open_says_nothing_until_the_next_was_lost() {
        let mut share = share();
        share.read(&Frame { open: true, tick_us: 4 * S, ..frame(12 * S, 1, 1, 2 * S) }, WINDOWS);
        assert_eq!(share.edge(Some(20 * S)), Edge { at_us: 12 * S, in_flight: 0, held: 0 });
        assert_eq!(share.values(share.edge(Some(20 * S)), WINDOWS).concurrency, 0.2);
        assert_eq!(share.edge(Some(24 * S)), Edge { at_us: 24 * S, in_flight: 0, held: 0 });
        // The frame that closes it.
        share.read(&frame(16 * S, 1, 1, 2 * S), WINDOWS);
        assert_eq!(share.edge(Some(20 * S)), Edge { at_us: 20 * S, in_flight: 0, held: 0 });
    }

    #[test]
    fn windows_end_at_ticks_so_that_they_begin_at_frames() {
        let mut share = share();
        // Two requests for 0.8 s in each second, from half a second after a tick on: no tick is idle.
        for second in 10..=20 {
            share.read(&frame(second * S, 2 * (second - 9), 2 * (second - 10), (second - 10) * 1_600_000 + S), WINDOWS);
        }
        let steady = share.values(share.edge_on_tick(Some(20 * S), WINDOWS), WINDOWS).concurrency;
        assert_eq!(steady, 1.6);
        // Then the spell is over, and another one opens between two ticks.
        share.read(&frame(21 * S, 22, 22, 17_600_000 + S), WINDOWS);
        let opening = Frame {
            spell_at_us: 21_500_000,
            spell_admitted: 22,
            spell_busy_us: 17_600_000 + S,
            ..frame(21_500_100, 24, 22, 17_600_000 + S + 200)
        };
        share.read(&opening, WINDOWS);
        let edge = share.edge_on_tick(Some(21 * S), WINDOWS);
        assert_eq!(edge, Edge { at_us: 21 * S, in_flight: 2, held: 0 });
        assert_eq!(share.values(edge, WINDOWS).concurrency, 1.6);
    }

    #[test]
    fn the_first_request_after_idleness_is_told_at_once() {
        let mut share = share();
        share.read(&frame(11 * S, 1, 1, S / 2), WINDOWS);
        let opening = Frame {
            spell_at_us: 40 * S,
            spell_admitted: 1,
            spell_busy_us: S / 2,
            ..frame(40 * S + 100, 2, 1, S / 2 + 100)
        };
        share.read(&opening, WINDOWS);
        let edge = share.edge_on_tick(Some(39 * S), WINDOWS);
        assert_eq!(edge.at_us, 40 * S + 100);
        assert!(share.values(edge, WINDOWS).concurrency > 0.0);
    }

    #[test]
    fn silence_moves_the_window_only_as_far_as_the_run_vouches() {
        let mut share = share();
        share.read(&frame(12 * S, 1, 1, S), WINDOWS);
        assert_eq!(share.edge(None).at_us, 12 * S);
        assert_eq!(share.edge(Some(11 * S)).at_us, 12 * S);
        assert_eq!(share.values(share.edge(Some(20 * S)), WINDOWS).concurrency, 0.1);
        assert!(share.values(share.edge(Some(60 * S)), WINDOWS).are_zero());
    }

    #[test]
    fn before_the_runs_start_nothing_was_in_flight_and_the_whole_window_divides() {
        let mut share = share();
        share.read(&Frame { spell_at_us: S, ..frame(2 * S, 4, 0, 4 * S) }, WINDOWS);
        assert_eq!(share.values(share.edge(None), WINDOWS).concurrency, 0.4);
        assert_eq!(share.values(share.edge(None), WINDOWS).request_rate, 0.2);
    }

    #[test]
    fn a_window_is_covered_by_a_frame_from_before_it_or_a_spell_that_began_in_it() {
        let covers = |frames: &[Frame]| {
            let mut share = share();
            for frame in frames {
                share.read(frame, WINDOWS);
            }
            share.covers(share.edge(None), WINDOWS)
        };
        assert!(covers(&[frame(12 * S, 1, 0, 2 * S)]), "the spell began in the window");
        assert!(
            !covers(&[frame(60 * S, 1, 0, 50 * S)]),
            "where the integral was at the window's beginning is not known"
        );
        assert!(covers(&[frame(39 * S, 1, 0, 29 * S), frame(60 * S, 1, 0, 50 * S)]));
    }

    #[test]
    fn nonsense_from_an_interceptor_panics_nowhere() {
        let mut share = share();
        for at_us in [u64::MAX, 0, 1, u64::MAX - 1] {
            for (admitted, finished, busy) in [(0, u64::MAX, u64::MAX), (u64::MAX, 0, 0)] {
                let tick_us = u64::MAX;
                share
                    .read(&Frame { tick_us, spell_at_us: u64::MAX, ..frame(at_us, admitted, finished, busy) }, WINDOWS);
                let values = share.values(share.edge(Some(u64::MAX)), WINDOWS);
                assert!(values.concurrency >= 0.0 && values.request_rate >= 0.0);
            }
        }
    }
}
