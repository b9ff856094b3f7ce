//! Which brokers' answers prove something: a value without I/O.
//!
//! A broker that hangs for longer than its session loses its topics to others. When it goes on, it answers for a moment as if it led them
//! still, and what it calls a topic's end is where it ended long ago. Nothing in such an answer tells it from a good one.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::super::address::Address;

/// How long a broker that answers again may take to learn what it leads. A broker that was cut off asks the controllers anew within
/// `controller.quorum.fetch.timeout.ms`, 2 s; a vote among them may come before the answer.
const LEARNS_WITHIN: Duration = Duration::from_secs(5);

/// The brokers that have hung.
#[derive(Debug, Default)]
pub(super) struct Trust {
    /// From when on what is asked of them counts; none while they have not answered again.
    hung: HashMap<Address, Option<Instant>>,
}

impl Trust {
    /// The broker did not answer in time.
    pub(super) fn hung(&mut self, broker: &Address) {
        self.hung.insert(broker.clone(), None);
    }

    /// The broker has answered now what it was asked at `as_of`; whether that proves something.
    pub(super) fn proves(&mut self, broker: &Address, as_of: Instant) -> bool {
        match self.hung.get_mut(broker) {
            None => true,
            Some(from @ None) => {
                *from = Some(Instant::now() + LEARNS_WITHIN);
                false
            }
            Some(Some(from)) if as_of < *from => false,
            Some(Some(_)) => {
                self.hung.remove(broker);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn broker(host: &str) -> Address {
        Address::told(host, 1).expect("it is an address")
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_broker_that_hung_is_asked_counts_some_time_after_it_answers_again() {
        let (hangs, well) = (broker("hangs"), broker("well"));
        let mut trust = Trust::default();
        assert!(trust.proves(&hangs, Instant::now()));
        trust.hung(&hangs);
        advance(10 * LEARNS_WITHIN).await;
        let asked_while_it_hung = Instant::now();
        advance(Duration::from_millis(1)).await;
        assert!(!trust.proves(&hangs, asked_while_it_hung));
        assert!(trust.proves(&well, Instant::now()), "that is no other broker's fault");
        advance(LEARNS_WITHIN - Duration::from_millis(1)).await;
        let asked_early = Instant::now();
        assert!(!trust.proves(&hangs, asked_early));
        advance(Duration::from_millis(1)).await;
        assert!(!trust.proves(&hangs, asked_early), "the answer came late, and was asked for early");
        assert!(trust.proves(&hangs, Instant::now()));
        assert!(trust.proves(&hangs, asked_early + LEARNS_WITHIN));
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_hangs_again_begins_anew() {
        let hangs = broker("hangs");
        let mut trust = Trust::default();
        trust.hung(&hangs);
        assert!(!trust.proves(&hangs, Instant::now()));
        advance(LEARNS_WITHIN / 2).await;
        trust.hung(&hangs);
        advance(LEARNS_WITHIN).await;
        assert!(!trust.proves(&hangs, Instant::now()));
        advance(LEARNS_WITHIN).await;
        assert!(trust.proves(&hangs, Instant::now()));
    }
}
