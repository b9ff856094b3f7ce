//! How long a response's head may take.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// How long the response's head may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// When the request as a whole is too late.
    pub(crate) until: Option<Instant>,
    /// For how long nothing may come once the request has been sent.
    pub(crate) after_sent: Option<Duration>,
}

/// What took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// The request as a whole.
    Request,
    /// The response's head, after the request had been sent.
    ResponseHeader,
}

/// A connection's timer. Reused from request to request: moving a deadline further away costs next to nothing, making a timer
/// does not.
#[derive(Debug, Default)]
pub(super) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Goes off at this instant next, or never.
    pub(super) fn set(&mut self, at: Option<Instant>) {
        match (&mut self.0, at) {
            (Some(timer), Some(at)) => timer.as_mut().reset(at),
            (None, Some(at)) => self.0 = Some(Box::pin(tokio::time::sleep_until(at))),
            (_, None) => self.0 = None,
        }
    }

    /// Ready when this instant has come.
    pub(super) fn poll_until(&mut self, cx: &mut Context<'_>, instant: Instant) -> Poll<()> {
        if self.0.as_ref().is_none_or(|timer| timer.deadline() != instant) {
            self.set(Some(instant));
        }
        self.0.as_mut().map_or(Poll::Pending, |timer| timer.as_mut().poll(cx))
    }

    /// Ready when patience has come to an end. `sent_at` is none while the request is still being sent.
    pub(super) fn poll_patience(
        &mut self,
        cx: &mut Context<'_>,
        patience: &Patience,
        sent_at: Option<Instant>,
    ) -> Poll<Over> {
        while let Some(timer) = &mut self.0 {
            if timer.as_mut().poll(cx).is_pending() {
                break;
            }
            match patience.ends(Instant::now(), sent_at) {
                Ok(look_again_at) => self.set(Some(look_again_at)),
                Err(over) => return Poll::Ready(over),
            }
        }
        Poll::Pending
    }
}

impl Patience {
    /// When to look for the first time, for a request that is begun at this instant.
    pub(super) fn first_look(&self, began: Instant) -> Option<Instant> {
        match (self.until, self.after_sent.map(|after| began + after)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// When to look again, or what has taken too long.
    fn ends(&self, now: Instant, sent_at: Option<Instant>) -> Result<Instant, Over> {
        if self.until.is_some_and(|until| now >= until) {
            return Err(Over::Request);
        }
        let head_until = self.after_sent.map(|after| sent_at.unwrap_or(now) + after);
        if head_until.is_some_and(|until| now >= until) {
            return Err(Over::ResponseHeader);
        }
        Ok(self.until.into_iter().chain(head_until).min().unwrap_or(now + FAR))
    }
}

/// A timer was set, so something has a limit; this is only how the type is satisfied.
const FAR: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_long_upload_does_not_use_up_the_time_for_the_response() {
        let began = Instant::now();
        let patience = Patience { until: None, after_sent: Some(SECOND) };
        assert_eq!(patience.ends(began + 10 * SECOND, None).ok(), Some(began + 11 * SECOND));
        assert_eq!(patience.ends(began + 11 * SECOND, Some(began + 10 * SECOND + SECOND / 2)).ok(), {
            Some(began + 11 * SECOND + SECOND / 2)
        });
        assert_eq!(patience.ends(began + 12 * SECOND, Some(began + 11 * SECOND)), Err(Over::ResponseHeader));
    }

    #[tokio::test(start_paused = true)]
    async fn the_whole_requests_limit_holds_during_an_upload_too() {
        let began = Instant::now();
        let patience = Patience { until: Some(began + SECOND), after_sent: Some(5 * SECOND) };
        assert_eq!(patience.first_look(began), Some(began + SECOND));
        assert_eq!(patience.ends(began + SECOND, None), Err(Over::Request));
    }
}
