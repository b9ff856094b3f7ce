//! Whose frames wait when more workloads are busy than the frame budget allows: decisions without state or time.

use std::cmp::Reverse;
use std::time::Duration;

/// Of four frames, this many go to the workloads that have waited longest, and the rest to those that have changed most. So every
/// workload has its turn within a known time, and a busy one need not wait for it.
const TURNS_OF_FOUR: usize = 3;

/// Frames of one tick at most, but for those that open or close a busy spell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::publish) struct Budget {
    frames: usize,
}

/// A busy workload whose newest frame says that the next one may take a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate<T> {
    pub(super) workload: T,
    /// When its newest frame was cut.
    pub(super) cut_us: u64,
    /// Requests admitted and requests finished since then.
    pub(super) changes: u64,
}

impl Budget {
    pub(in crate::publish) const UNLIMITED: Self = Self { frames: usize::MAX };

    /// So many frames a second, at this tick; at least one frame a tick.
    pub(in crate::publish) fn new(frames_a_second: u32, tick: Duration) -> Self {
        let frames = tick.as_micros().saturating_mul(frames_a_second.into()) / 1_000_000;
        Self { frames: usize::try_from(frames).unwrap_or(usize::MAX).max(1) }
    }

    /// Whether each of so many busy workloads may have a frame at every tick.
    pub(super) fn suffices_for(self, workloads: usize) -> bool {
        workloads <= self.frames
    }

    /// Within so many ticks each of so many workloads has its turn.
    ///
    /// Each tick serves those first that have waited longest, [`Self::turns`] of them at least; whoever comes or is served meanwhile
    /// waits behind. So one is served when `workloads / turns` ticks have passed, rounded up.
    pub(super) fn round(self, workloads: usize) -> usize {
        if self.suffices_for(workloads) { 1 } else { workloads.div_ceil(self.turns()) }
    }

    /// Chooses those whose frames are cut at this tick, when `spent` frames went to others already; brings them to the front and
    /// gives their number.
    pub(super) fn choose<T>(self, candidates: &mut [Candidate<T>], spent: usize) -> usize {
        let frames = self.frames.saturating_sub(spent).max(self.turns()).min(candidates.len());
        let turns = self.turns().min(frames);
        if frames == candidates.len() {
            return frames;
        }
        if turns > 0 {
            candidates.select_nth_unstable_by_key(turns - 1, |candidate| candidate.cut_us);
        }
        let others = &mut candidates[turns..];
        if frames > turns {
            others.select_nth_unstable_by_key(frames - turns - 1, |candidate| Reverse(candidate.changes));
        }
        frames
    }

    fn turns(self) -> usize {
        // A budget of one frame serves by turns alone.
        (self.frames / 4 * TURNS_OF_FOUR).max(self.frames.min(4).div_ceil(2)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidates() -> impl Strategy<Value = Vec<Candidate<usize>>> {
        let one = (0..50_u64, 0..50_u64);
        prop::collection::vec(one, 0..200).prop_map(|all| {
            let of = |(workload, (cut_us, changes))| Candidate { workload, cut_us, changes };
            all.into_iter().enumerate().map(of).collect()
        })
    }

    proptest! {
        #[test]
        fn a_tick_never_has_more_than_the_budget_and_uses_all_of_it(
            mut candidates in candidates(), frames in 1..100_usize, spent in 0..150_usize,
        ) {
            let budget = Budget { frames };
            let chosen = budget.choose(&mut candidates, spent);
            prop_assert!(chosen <= frames && chosen <= candidates.len());
            prop_assert!(chosen >= candidates.len().min(frames.saturating_sub(spent)));
        }

        #[test]
        fn those_left_out_have_waited_less_and_changed_less_than_those_chosen_for_it(
            mut candidates in candidates(), frames in 1..100_usize,
        ) {
            let budget = Budget { frames };
            let chosen = budget.choose(&mut candidates, 0);
            let (served, left) = candidates.split_at(chosen);
            let turns = budget.turns().min(chosen);
            let longest = served[..turns].iter().map(|served| served.cut_us).max();
            let least = served[turns..].iter().map(|served| served.changes).min();
            for left in left {
                prop_assert!(longest.is_none_or(|served| left.cut_us >= served));
                prop_assert!(least.is_none_or(|served| left.changes <= served));
            }
        }

        #[test]
        fn each_workload_has_its_turn_within_a_round_however_much_others_change(
            workloads in 1..300_usize,
            frames in 1..100_usize,
            hot in prop::collection::vec(0..300_usize, 0..60),
        ) {
            let budget = Budget { frames };
            let round = u64::try_from(budget.round(workloads)).unwrap();
            let mut cut_at = vec![0_u64; workloads];
            for tick in 1..=3 * round {
                let of = |workload: usize| Candidate {
                    workload,
                    cut_us: cut_at[workload],
                    changes: if hot.contains(&workload) { 1_000 } else { 1 },
                };
                let mut all: Vec<_> = (0..workloads).map(of).collect();
                let chosen = budget.choose(&mut all, 0);
                prop_assert!(chosen <= frames);
                all[..chosen].iter().for_each(|served| cut_at[served.workload] = tick);
                prop_assert!(cut_at.iter().all(|cut| tick - cut < round), "{cut_at:?} at {tick}, round {round}");
            }
        }
    }

    #[test]
    fn the_round_is_one_tick_where_the_budget_suffices_and_grows_by_thirds_beyond() {
        let budget = Budget::new(10_000, Duration::from_secs(1));
        let rounds = [1, 10_000, 10_001, 15_000, 20_000, 100_000].map(|workloads| budget.round(workloads));
        assert_eq!(rounds, [1, 1, 2, 2, 3, 14]);
        assert_eq!(Budget::new(10, Duration::from_millis(10)), Budget { frames: 1 }, "it never comes to a stop");
        assert_eq!(Budget::new(u32::MAX, Duration::MAX), Budget::UNLIMITED);
    }
}
