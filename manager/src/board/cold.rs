//! A topic's cold starts, as its answers tell them: from the first that says that requests are held to the first that says that none is.
//!
//! Told by the log's own clock. The first held request is published at once, the end with the interceptor's next frame: a cold start looks
//! up to one tick (1 s) longer than it was.

use std::collections::VecDeque;

use plimsoll_wire::collector::Answer;

/// Cold starts remembered of one topic.
const REMEMBERED: usize = 20;

/// One cold start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColdStart {
    /// When requests began to be held, by the log's clock, in milliseconds since the Unix epoch.
    pub began_unix_ms: u64,
    /// When none was held any more; none while some are.
    pub ended_unix_ms: Option<u64>,
    /// The most that were held at once, as far as was told.
    pub held: u64,
}

/// Those of one topic, the newest last.
#[derive(Debug, Default)]
pub(super) struct ColdStarts {
    seen: VecDeque<ColdStart>,
    /// Up to when the evidence has been taken. Of two collectors that answer, one may be behind, and says again what was.
    evidence_unix_ms: u64,
}

impl ColdStarts {
    pub(super) fn take(&mut self, answer: &Answer) {
        if !(answer.known && answer.warm) || answer.evidence_unix_ms < self.evidence_unix_ms {
            return;
        }
        let now = answer.evidence_unix_ms;
        let open = self.seen.back_mut().filter(|last| last.ended_unix_ms.is_none());
        match (open, answer.held) {
            (None, 0) => return,
            (None, held) => {
                if self.seen.len() == REMEMBERED {
                    self.seen.pop_front();
                }
                self.seen.push_back(ColdStart { began_unix_ms: now, ended_unix_ms: None, held });
            }
            (Some(open), 0) => open.ended_unix_ms = Some(now),
            (Some(open), held) => open.held = open.held.max(held),
        }
        self.evidence_unix_ms = now;
    }

    pub(super) fn seen(&self) -> Vec<ColdStart> {
        self.seen.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(evidence_unix_ms: u64, held: u64) -> Answer {
        Answer { evidence_unix_ms, held, known: true, warm: true, ..Answer::default() }
    }

    fn seen(answers: &[Answer]) -> Vec<(u64, Option<u64>, u64)> {
        let mut cold = ColdStarts::default();
        answers.iter().for_each(|answer| cold.take(answer));
        cold.seen().iter().map(|one| (one.began_unix_ms, one.ended_unix_ms, one.held)).collect()
    }

    #[test]
    fn a_cold_start_is_from_the_first_held_request_until_none_is() {
        let answers =
            [(10, 0), (20, 1), (30, 7), (40, 3), (50, 0), (60, 0), (70, 2)].map(|(at, held)| answer(at, held));
        assert_eq!(seen(&answers), [(20, Some(50), 7), (70, None, 2)]);
    }

    #[test]
    fn a_collector_that_is_behind_makes_no_cold_start_and_ends_none() {
        let told = [answer(20, 1), answer(15, 0), answer(50, 0), answer(30, 1), answer(60, 0)];
        assert_eq!(seen(&told), [(20, Some(50), 1)]);
        let unknown = Answer { known: false, ..answer(70, 4) };
        assert!(seen(&[unknown]).is_empty());
    }

    #[test]
    fn the_oldest_are_forgotten_first() {
        let mut cold = ColdStarts::default();
        for spell in 1..=50 {
            cold.take(&answer(spell * 10, 1));
            cold.take(&answer(spell * 10 + 5, 0));
        }
        let seen = cold.seen();
        assert_eq!((seen.len(), seen[0].began_unix_ms), (REMEMBERED, 310));
    }
}
