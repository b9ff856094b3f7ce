//! What each collector should carry.

use super::super::CollectorState;
use super::super::draft::Draft;

/// What those that are ready carry on average, when those that are draining are empty. None where none is ready.
pub(super) fn mean(draft: &Draft<'_>) -> Option<u64> {
    let count = draft.ready().count() as u64;
    (count > 0).then(|| shared_weight(draft) / count)
}

/// The fair share: the mean, leaving out topics that alone are more than that. Such a topic has a collector of its own, and the others
/// share the rest; against the plain mean they would all look as if they wanted more.
pub(super) fn share(draft: &Draft<'_>) -> u64 {
    let mut collectors = draft.ready().count() as u64;
    let mut weight = shared_weight(draft);
    let mut oversized_from = u64::MAX;
    loop {
        let share = weight / collectors.max(1);
        // Those between this share and the one before: each round finds fewer than there are collectors left, since together they
        // weigh no more than what is shared.
        let found = draft.entries.iter().filter(|entry| {
            entry.weight > share
                && entry.weight <= oversized_from
                && draft.collector(entry.now.target()).is_some_and(|to| shares(to.info.state))
        });
        let (count, sum) = found.fold((0, 0), |(count, sum), entry| (count + 1, sum + entry.weight));
        if count == 0 || count >= collectors {
            return share;
        }
        collectors -= count;
        weight -= sum;
        oversized_from = share;
    }
}

fn shared_weight(draft: &Draft<'_>) -> u64 {
    draft.collectors.iter().filter(|collector| shares(collector.info.state)).map(|collector| collector.weight).sum()
}

fn shares(state: CollectorState) -> bool {
    matches!(state, CollectorState::Ready | CollectorState::Draining)
}
