//! How much of a topic there is to read.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::cell::Heard;
use super::link::Link;

/// Frames a second of one topic, smoothed.
#[derive(Debug, Default)]
pub(super) struct LoadMeter {
    /// When the newest count came, from whom, and what it was.
    last: Option<(Instant, Arc<Link>, u64)>,
    /// Sum of the rates seen, each by its weight; what is older weighs less.
    weighted_rates: f64,
    /// Sum of the weights, up to one. Dividing by it makes the mean right from the first rate on: without it a manager that has
    /// just started would take every topic for idle, and move them all half a minute later.
    weights: f64,
}

/// How long the meter averages, in seconds: long enough that a tick more or less makes no move.
const LOAD_SMOOTHING_S: f64 = 30.0;
/// Another collector's count is taken up only when the one before has said nothing for this long.
const LOAD_HANDOVER: Duration = Duration::from_secs(2);

impl LoadMeter {
    /// Takes a count. Each collector counts from when it took the topic over, and a replay is no load.
    #[allow(clippy::cast_precision_loss, reason = "frames between two answers are few")]
    pub(super) fn add(&mut self, heard: &Heard) {
        let (now, total) = (heard.at, heard.answer.frames_total);
        if !heard.answer.warm {
            return;
        }
        if let Some((before, link, frames)) = &self.last {
            let (same, passed) = (Arc::ptr_eq(link, &heard.link), now.duration_since(*before));
            if (same && passed < Duration::from_secs(1)) || (!same && passed < LOAD_HANDOVER) {
                return;
            }
            if same && total >= *frames {
                let seconds = passed.as_secs_f64();
                let rate = (total - frames) as f64 / seconds;
                let weight = 1.0 - (-seconds / LOAD_SMOOTHING_S).exp();
                self.weighted_rates += weight * (rate - self.weighted_rates);
                self.weights += weight * (1.0 - self.weights);
            }
        }
        self.last = Some((now, heard.link.clone(), total));
    }

    /// Frames a second; answers come only when something changes, so silence decays.
    pub(super) fn now(&self, now: Instant) -> f64 {
        let last = self.last.as_ref();
        let silent = last.map_or(0.0, |(at, ..)| now.duration_since(*at).as_secs_f64() - 2.0).max(0.0);
        if self.weights == 0.0 {
            return 0.0;
        }
        self.weighted_rates / self.weights * (-silent / LOAD_SMOOTHING_S).exp()
    }
}

#[cfg(test)]
mod tests {
    use plimsoll_wire::collector::Answer;
    use plimsoll_wire::log::Topic;

    use super::super::{Board, Link};
    use super::*;

    fn frames(total: u64, warm: bool) -> Answer {
        Answer { topic: "t".into(), frames_total: total, known: true, warm, ..Answer::default() }
    }

    /// Two collectors that read one topic, at a frame a second; the newer one had to replay a window.
    async fn a_minute(board: &Board, old: &Arc<Link>, new: &Arc<Link>) {
        for second in 0..60 {
            board.take(old, vec![frames(86_400 + second, true)]);
            board.take(new, vec![frames(80 + second, true)]);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn neither_another_collectors_count_nor_a_replay_looks_like_load() {
        let board = Board::new(Duration::from_secs(30));
        let (old, new) = (board.link("old"), board.link("new"));
        board.take(&new, vec![frames(80, false)]);
        a_minute(&board, &old, &new).await;
        let load = board.cell(&Topic::from("t")).frames_per_second();
        assert!((0.9..=1.1).contains(&load), "{load}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_manager_that_has_just_started_knows_the_load_from_the_second_answer_on() {
        let board = Board::new(Duration::from_secs(30));
        let link = board.link("a");
        board.take(&link, vec![frames(1000, true)]);
        let cell = board.cell(&Topic::from("t"));
        assert!(cell.frames_per_second().abs() < 1e-9, "one count is no rate");
        tokio::time::advance(Duration::from_secs(2)).await;
        board.take(&link, vec![frames(1008, true)]);
        assert!((cell.frames_per_second() - 4.0).abs() < 1e-9, "{}", cell.frames_per_second());
    }
}
