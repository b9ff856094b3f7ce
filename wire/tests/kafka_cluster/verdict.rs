//! What the writers were told, held against what the readers were given.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use plimsoll_wire::log::{LogError, Topic};
use tokio::time::Instant;

use crate::trial::{Seen, Written};

/// The log promises an answer within a few seconds; the rest is for a busy machine.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Every acknowledged total is read, nothing is yielded twice, and no append waited for longer than is promised.
pub(crate) fn nothing_is_lost_or_repeated(written: &HashMap<Topic, Written>, seen: &[Seen]) {
    for (topic, written) in written {
        assert!(!written.acknowledged.is_empty(), "{topic}: nothing was acknowledged");
        for seen in seen {
            let records = &seen.records[topic];
            assert!(records.is_sorted_by(|(one, _), (next, _)| one < next), "{topic}: repeated or out of order");
            let totals: HashSet<u64> = records.iter().map(|(_, total)| *total).collect();
            let lost: Vec<_> = written.acknowledged.iter().filter(|(total, _)| !totals.contains(total)).collect();
            assert!(lost.is_empty(), "{topic}: acknowledged and not read: {lost:?}");
            // A total that is read later than a greater one, as a record that was on its way in an outage, changes nothing for who
            // keeps the greatest; and the greatest is at least the last that was acknowledged.
            let greatest = totals.iter().max();
            assert!(greatest >= written.acknowledged.last().map(|(total, _)| total), "{topic}: {greatest:?}");
        }
        for (took, error) in &written.failed {
            assert!(*took < ANSWER_LIMIT, "{topic}: an append failed only after {took:?}: {error}");
            assert!(matches!(error, LogError::Unavailable { .. }), "{topic}: {error:?}");
        }
    }
}

/// The longest time without an acknowledgement in this stretch of time.
pub(crate) fn longest_silence(written: &Written, from: Instant, to: Instant) -> Duration {
    let inside = written.acknowledged.iter().map(|(_, at)| *at).filter(|at| (from..to).contains(at));
    longest(std::iter::once(from).chain(inside).chain([to]))
}

/// The greatest age that the newest proof of this topic had in this stretch of time.
pub(crate) fn oldest_proof(seen: &Seen, topic: &Topic, from: Instant, to: Instant) -> Duration {
    let proofs = seen.proofs.get(topic).map(Vec::as_slice).unwrap_or_default();
    let mut oldest = Duration::ZERO;
    let mut newest = None;
    for (as_of, came) in proofs.iter().chain([&(to, to)]) {
        if let Some(newest) = newest
            && (from..=to).contains(came)
        {
            oldest = oldest.max(*came - newest);
        }
        newest = newest.max(Some(*as_of));
    }
    oldest
}

fn longest(times: impl Iterator<Item = Instant>) -> Duration {
    let times: Vec<_> = times.collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}
