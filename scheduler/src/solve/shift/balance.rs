//! Evening out the load.

use super::{Shift, Step};

/// Swaps are tried for this many of a collector's heaviest topics.
const SWAPS_TRIED: usize = 64;
/// With so many of the least loaded collectors.
const PARTNERS_TRIED: usize = 8;
/// From this many of the most loaded collectors something is sought for a cold one.
const DONORS_TRIED: usize = 16;

impl Shift<'_, '_> {
    /// Brings a group's collectors into the band, the hottest first, as far as the topics allow.
    pub(super) fn balance(&mut self, group: usize, made: &mut usize) -> Step {
        let mut stuck_hot = vec![false; self.draft.collectors.len()];
        let mut stuck_cold = stuck_hot.clone();
        let fair = self.fair[group];
        loop {
            let hottest = self.levels.hottest_first(group).find(|&index| !stuck_hot[index]);
            let coldest = self.levels.coldest_first(group).find(|&index| !stuck_cold[index]);
            let (step, stuck) = match (hottest, coldest) {
                (Some(from), _) if self.weight(from) > self.band.hot(fair) => {
                    (self.cool(from, made), &mut stuck_hot[from])
                }
                (_, Some(to)) if self.weight(to) < self.band.cold(fair) => (self.fill(to, made), &mut stuck_cold[to]),
                _ => return Step::Nothing,
            };
            match step {
                Step::Made => {}
                Step::OverBudget => return step,
                Step::Nothing => *stuck = true,
            }
        }
    }

    /// Takes something off a hot collector.
    fn cool(&mut self, from: usize, made: &mut usize) -> Step {
        let group = self.group(from);
        if let Some(to) = self.levels.coldest_with_room(group) {
            let step = self.hand(from, to, made);
            if step != Step::Nothing {
                return step;
            }
        }
        let partners: Vec<usize> = self.levels.coldest_first(group).take(PARTNERS_TRIED).collect();
        for to in partners {
            let step = self.swap(from, to, made);
            if step != Step::Nothing {
                return step;
            }
        }
        Step::Nothing
    }

    /// Gives something to a cold collector.
    fn fill(&mut self, to: usize, made: &mut usize) -> Step {
        let group = self.group(to);
        // One with a single topic can only hand on the whole of its load.
        let can_give = |&index: &usize| self.draft.collectors[index].topics > 1;
        let donors: Vec<usize> = self.levels.hottest_first(group).filter(can_give).take(DONORS_TRIED).collect();
        let roomy = self.draft.collectors[to].topics < self.capacity;
        for from in donors {
            if self.weight(from) <= self.fair[group] {
                break;
            }
            let step = if roomy { self.hand(from, to, made) } else { self.swap(from, to, made) };
            if step != Step::Nothing {
                return step;
            }
        }
        Step::Nothing
    }

    /// Moves the topic that evens the two best: the largest that neither makes the one lean nor the other full, or else the smallest,
    /// where the two are nearer to each other without it.
    fn hand(&mut self, from: usize, to: usize, made: &mut usize) -> Step {
        let (high, low) = (self.weight(from), self.weight(to));
        if from == to || high <= low {
            return Step::Nothing;
        }
        let (fair, band) = (self.fair[self.group(from)], self.band);
        let fits = high.saturating_sub(band.lean(fair)).min(band.full(fair).saturating_sub(low));
        let worth_it = |weight: u64| {
            let halves = weight <= (high - low) / 2;
            // Strictly less: or else the topic would come back, and so for ever.
            let cools = high > band.hot(fair) && low + weight + band.half(fair) < high;
            halves || cools
        };
        let topics = self.movable.of(self.draft, from);
        let smallest = || topics.smallest().filter(|&(weight, _)| worth_it(weight));
        let Some((_, topic)) = topics.largest_up_to(fits).or_else(smallest) else { return Step::Nothing };
        let step = self.try_move(topic, to, self.balance);
        *made += usize::from(step == Step::Made);
        step
    }

    /// Exchanges two topics, where no single one is right or there is no room for it: those that bring the two nearest to each other.
    fn swap(&mut self, from: usize, to: usize, made: &mut usize) -> Step {
        let (high, low) = (self.weight(from), self.weight(to));
        // The one that sheds gets something too, and so it must be open.
        if from == to || high <= low || !self.draft.collectors[from].is_open() {
            return Step::Nothing;
        }
        let (fair, even) = (self.fair[self.group(from)], (high - low) / 2);
        // One that is hot may fill the other beyond that: whatever leaves the hotter of the two cooler is better, and smaller topics that
        // the other has then go on to the rest.
        let full = if high > self.band.hot(fair) { u64::MAX } else { self.band.full(fair) };
        // The hotter of the two, afterwards; less than a crumb is not worth two moves.
        let mut best = (high.saturating_sub(self.band.crumb(fair)), None);
        let heavy: Vec<(u64, usize)> = self.movable.of(self.draft, from).descending().take(SWAPS_TRIED).collect();
        let light = self.movable.of(self.draft, to);
        for (weight, topic) in heavy {
            let ideal = weight.saturating_sub(even);
            let less = light.smallest_from(ideal).filter(|back| back.0 < weight);
            let more = light.largest_up_to(ideal).filter(|back| low + (weight - back.0) <= full);
            for (back_weight, back) in less.into_iter().chain(more) {
                let gives = weight - back_weight;
                let hotter = high.saturating_sub(gives).max(low + gives);
                if hotter < best.0 {
                    best = (hotter, Some((topic, back)));
                }
            }
        }
        let (_, Some((topic, back))) = best else { return Step::Nothing };
        if !self.affordable(&[(topic, to), (back, from)]) {
            return Step::OverBudget;
        }
        self.carry_out(topic, to, self.balance);
        self.carry_out(back, from, self.balance);
        *made += 2;
        Step::Made
    }

    fn group(&self, collector: usize) -> usize {
        self.draft.collectors[collector].group as usize
    }

    fn weight(&self, collector: usize) -> u64 {
        self.draft.collectors[collector].weight
    }
}
