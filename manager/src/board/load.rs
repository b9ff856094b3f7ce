//! How much of a topic there is to read.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_scheduler::load;
use tokio::time::Instant;

use super::cell::Heard;
use super::link::Link;

/// What is read of a topic in a second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Load {
    /// Frames.
    pub frames_per_second: f64,
    /// Their bytes.
    pub bytes_per_second: f64,
}

impl Load {
    /// What reading it costs, in frames a second: see [`load::weight`].
    #[must_use]
    pub fn weight(self) -> f64 {
        load::weight(self.frames_per_second, self.bytes_per_second)
    }

    fn times(self, factor: f64) -> Self {
        let Self { frames_per_second, bytes_per_second } = self;
        Self { frames_per_second: frames_per_second * factor, bytes_per_second: bytes_per_second * factor }
    }

    /// So far towards another one: 0 stays, 1 is there.
    fn towards(self, other: Self, part: f64) -> Self {
        let (stays, comes) = (self.times(1.0 - part), other.times(part));
        Self {
            frames_per_second: stays.frames_per_second + comes.frames_per_second,
            bytes_per_second: stays.bytes_per_second + comes.bytes_per_second,
        }
    }
}

/// What a collector has read of a topic since it took it over.
#[derive(Debug, Clone, Copy)]
struct Count {
    frames: u64,
    bytes: u64,
}

/// How much of one topic there is to read, smoothed.
#[derive(Debug, Default)]
pub(super) struct LoadMeter {
    /// When the newest count came, from whom, and what it was.
    last: Option<(Instant, Arc<Link>, Count)>,
    /// Sum of the rates seen, each by its weight; what is older weighs less.
    weighted_rates: Load,
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
        let now = heard.at;
        let count = Count { frames: heard.answer.frames_total, bytes: heard.answer.bytes_total };
        if !heard.answer.warm {
            return;
        }
        if let Some((before, link, had)) = &self.last {
            let (same, passed) = (Arc::ptr_eq(link, &heard.link), now.duration_since(*before));
            if (same && passed < Duration::from_secs(1)) || (!same && passed < LOAD_HANDOVER) {
                return;
            }
            if same && count.frames >= had.frames && count.bytes >= had.bytes {
                let seconds = passed.as_secs_f64();
                let rate = Load {
                    frames_per_second: (count.frames - had.frames) as f64 / seconds,
                    bytes_per_second: (count.bytes - had.bytes) as f64 / seconds,
                };
                let weight = 1.0 - (-seconds / LOAD_SMOOTHING_S).exp();
                self.weighted_rates = self.weighted_rates.towards(rate, weight);
                self.weights += weight * (1.0 - self.weights);
            }
        }
        self.last = Some((now, heard.link.clone(), count));
    }

    /// As of now; answers come only when something changes, so silence decays.
    pub(super) fn now(&self, now: Instant) -> Load {
        let last = self.last.as_ref();
        let silent = last.map_or(0.0, |(at, ..)| now.duration_since(*at).as_secs_f64() - 2.0).max(0.0);
        if self.weights == 0.0 {
            return Load::default();
        }
        self.weighted_rates.times((-silent / LOAD_SMOOTHING_S).exp() / self.weights)
    }
}

#[cfg(test)]
mod tests {
    use plimsoll_wire::collector::Answer;
    use plimsoll_wire::log::Topic;

    use super::super::{Board, Link};
    use super::*;

    /// Each frame has 100 bytes.
    fn frames(total: u64, warm: bool) -> Answer {
        let bytes_total = total * 100;
        Answer { topic: "t".into(), frames_total: total, bytes_total, known: true, warm, ..Answer::default() }
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
        let load = board.cell(&Topic::from("t")).load();
        assert!((0.9..=1.1).contains(&load.frames_per_second), "{load:?}");
        assert!((90.0..=110.0).contains(&load.bytes_per_second), "{load:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_manager_that_has_just_started_knows_the_load_from_the_second_answer_on() {
        let board = Board::new(Duration::from_secs(30));
        let link = board.link("a");
        board.take(&link, vec![frames(1000, true)]);
        let cell = board.cell(&Topic::from("t"));
        assert_eq!(cell.load(), Load::default(), "one count is no rate");
        tokio::time::advance(Duration::from_secs(2)).await;
        board.take(&link, vec![frames(1008, true)]);
        let load = cell.load();
        assert!(
            (load.frames_per_second - 4.0).abs() < 1e-9 && (load.bytes_per_second - 400.0).abs() < 1e-9,
            "{load:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_topics_with_as_many_frames_the_one_with_more_bytes_weighs_more() {
        let board = Board::new(Duration::from_secs(30));
        let link = board.link("a");
        for second in 0..10_u64 {
            let answer = |topic: &str, bytes: u64| Answer {
                topic: topic.into(),
                frames_total: second,
                bytes_total: second * bytes,
                known: true,
                warm: true,
                ..Answer::default()
            };
            board.take(&link, vec![answer("short", 100), answer("long", 40_960)]);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let weight = |topic: &str| board.cell(&Topic::from(topic)).load().weight();
        assert!((1.1..1.2).contains(&weight("short")), "{}", weight("short"));
        assert!((11.0..11.2).contains(&weight("long")), "{}", weight("long"));
        assert_eq!(weight("silent"), load::IDLE);
    }
}
