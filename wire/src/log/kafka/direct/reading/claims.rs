//! Up to when a topic has been read through, by its leader's word, and up to when that is borne out: a value without I/O.

use tokio::time::Instant;

/// What one leader's answers claim of one topic.
///
/// A claim counts when other brokers have been asked after it. They are asked in rounds, and claims come between these: the first that
/// is open is kept, so that a round always finds one that is old enough, and the newest, so that proofs are as young as they can be.
#[derive(Debug, Default)]
pub(super) struct Claims {
    proven: Option<Instant>,
    first: Option<Instant>,
    newest: Option<Instant>,
}

impl Claims {
    /// The topic has been read through as of then, says its leader.
    pub(super) fn claim(&mut self, as_of: Instant) {
        self.first.get_or_insert(as_of);
        self.newest = self.newest.max(Some(as_of));
    }

    /// What has been claimed up to then is true. Whether something is open still.
    pub(super) fn bear_out(&mut self, through: Instant) -> bool {
        let borne_out = |claim: &Instant| *claim <= through;
        let newest = self.newest.filter(borne_out).or(self.first.filter(borne_out));
        self.proven = self.proven.max(newest);
        if newest.is_some() {
            self.newest = self.newest.filter(|claim| !borne_out(claim));
            self.first = self.newest;
        }
        self.first.is_some()
    }

    /// Another leader's claims follow: what this one's have not been borne out by now never is.
    pub(super) fn drop_open(&mut self) {
        (self.first, self.newest) = (None, None);
    }

    /// All that had been appended by then has been read.
    pub(super) fn proven(&self) -> Option<Instant> {
        self.proven
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_newest_claim_before_a_round_is_proven_and_none_after_it() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut claims = Claims::default();
        assert!(!claims.bear_out(at(9)) && claims.proven().is_none(), "nothing is claimed");
        for claim in [10, 20, 30] {
            claims.claim(at(claim));
        }
        assert!(claims.bear_out(at(5)) && claims.proven().is_none());
        assert!(claims.bear_out(at(25)), "the one of 30 is open");
        assert_eq!(claims.proven(), Some(at(10)), "only the first and the newest are kept");
        assert!(!claims.bear_out(at(30)));
        assert_eq!(claims.proven(), Some(at(30)));
        assert!(!claims.bear_out(at(99)) && claims.proven() == Some(at(30)), "a round claims nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn claims_that_always_come_just_after_a_round_is_asked_are_proven_all_the_same() {
        let mut claims = Claims::default();
        let mut oldest = Duration::ZERO;
        for _ in 0..40 {
            let asked = Instant::now();
            tokio::time::advance(Duration::from_millis(1)).await;
            claims.claim(Instant::now());
            claims.bear_out(asked);
            oldest = oldest.max(claims.proven().map_or(Duration::ZERO, |proven| proven.elapsed()));
            tokio::time::advance(Duration::from_millis(249)).await;
        }
        assert!(claims.proven().is_some() && oldest <= Duration::from_millis(500), "{oldest:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_former_leader_claimed_is_not_borne_out_by_a_later_round() {
        let mut claims = Claims::default();
        claims.claim(Instant::now());
        claims.drop_open();
        assert!(!claims.bear_out(Instant::now()) && claims.proven().is_none());
    }
}
