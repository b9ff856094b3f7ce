//! Wake-ups of a connection that is driven by the task that waits for it.
//!
//! Inside hyper a connection and its user talk over channels, and each message wakes the other side. Here both sides are polled by
//! one and the same task, so most of these wake-ups come while it is just polling: each would have the whole task polled
//! once more, for nothing. A relay keeps them back and has the connection polled again on the spot.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;

/// Polls on the spot at most; then the task is woken after all, so that it yields when it must.
const POLLS_AT_ONCE: usize = 8;

/// Nothing has happened since the last poll: a wake-up is passed on.
const WAITING: u8 = 0;
/// The task is polling: a wake-up means polling once more.
const POLLING: u8 = 1;
/// Woken; nothing more is passed on before the next poll.
const WOKEN: u8 = 2;

/// The relay of one connection, for the connection's whole life.
#[derive(Debug)]
pub(super) struct Relay {
    shared: Arc<Shared>,
    /// Made of the shared state once: making one for each request would cost an atomic operation or two.
    waker: Waker,
    /// Which waker the shared state has, so that it need not be locked to find out.
    known: (*const (), *const ()),
}

#[derive(Debug, Default)]
struct Shared {
    state: AtomicU8,
    /// The task that drives the connection, or drove it last.
    task: Mutex<Option<Waker>>,
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let waiting = self.state.swap(WOKEN, Ordering::AcqRel) == WAITING;
        if waiting && let Some(task) = self.task.lock().as_ref() {
            task.wake_by_ref();
        }
    }
}

impl Relay {
    /// Wakes nobody yet.
    pub(super) fn new() -> Self {
        let shared = Arc::<Shared>::default();
        Self { waker: shared.clone().into(), shared, known: (std::ptr::null(), std::ptr::null()) }
    }

    /// Polls until something is ready or nothing more can happen now; the task of `cx` is woken when it can again.
    pub(super) fn poll<T>(&mut self, cx: &Context<'_>, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        let task = cx.waker();
        let id = (task.data(), std::ptr::from_ref(task.vtable()).cast());
        if self.known != id {
            *self.shared.task.lock() = Some(task.clone());
            self.known = id;
        }
        let state = &self.shared.state;
        // A wake-up that this overwrites has been passed on, or is seen by the poll that follows.
        state.swap(POLLING, Ordering::AcqRel);
        let mut relayed = Context::from_waker(&self.waker);
        for _ in 0..POLLS_AT_ONCE {
            let outcome = poll(&mut relayed);
            if outcome.is_ready() {
                state.store(WOKEN, Ordering::Release);
                return outcome;
            }
            if state.compare_exchange(POLLING, WAITING, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return Poll::Pending;
            }
            state.swap(POLLING, Ordering::AcqRel);
        }
        task.wake_by_ref();
        Poll::Pending
    }

    /// Passes nothing on before the next poll, since nobody waits.
    pub(super) fn rest(&self) {
        self.shared.state.store(WOKEN, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::SeqCst;

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn a_wake_up_while_polling_polls_again_and_wakes_nobody() {
        let (task, mut relay) = (Arc::<Counter>::default(), Relay::new());
        let waker = task.clone().into();
        let mut polls = 0;
        let outcome = relay.poll(&Context::from_waker(&waker), |cx| {
            polls += 1;
            if polls < 3 {
                cx.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        });
        assert!(outcome.is_pending());
        assert_eq!((polls, task.0.load(SeqCst)), (3, 0));
    }

    #[test]
    fn what_wakes_itself_for_ever_yields() {
        let (task, mut relay) = (Arc::<Counter>::default(), Relay::new());
        let waker = task.clone().into();
        let outcome = relay.poll(&Context::from_waker(&waker), |cx| {
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        assert!(outcome.is_pending());
        assert_eq!(task.0.load(SeqCst), 1);
    }

    #[test]
    fn a_later_wake_up_reaches_the_task_until_the_connection_rests() {
        let (task, mut relay) = (Arc::<Counter>::default(), Relay::new());
        let waker = task.clone().into();
        let mut kept = None;
        let outcome = relay.poll(&Context::from_waker(&waker), |cx| {
            kept = Some(cx.waker().clone());
            Poll::<()>::Pending
        });
        assert!(outcome.is_pending());
        kept.as_ref().unwrap().wake_by_ref();
        assert_eq!(task.0.load(SeqCst), 1);
        relay.rest();
        kept.unwrap().wake();
        assert_eq!(task.0.load(SeqCst), 1);
    }
}
