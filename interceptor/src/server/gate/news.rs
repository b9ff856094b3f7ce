//! What the gate of a connection and the rest of it tell each other.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Waker};

use parking_lot::Mutex;

use super::Fault;

/// More requests than there ever are.
const NOT_AT_REST: u64 = u64::MAX;

/// All on one thread: the types are those of many only because an upgraded stream must be `Send`.
#[derive(Debug, Default)]
pub(crate) struct News {
    fault: OnceLock<Fault>,
    /// The head of a request has begun and has not ended.
    in_head: AtomicBool,
    too_late: AtomicBool,
    /// Requests answered so far.
    answered: AtomicU64,
    /// Requests let in as a whole, while nothing more has come; none is [`NOT_AT_REST`].
    let_in: AtomicU64,
    changes: AtomicBool,
    is_waiting: AtomicBool,
    waiting: Mutex<Option<Waker>>,
}

impl News {
    /// Why nothing more is let in.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault.get().copied()
    }

    /// Nothing more is let in, for this reason; the first one stands.
    pub(super) fn refuse(&self, fault: Fault) {
        let _the_first_stands = self.fault.set(fault);
    }

    /// The head that has begun has taken too long. The gate has to be woken.
    pub(crate) fn too_late(&self) {
        self.too_late.store(true, Relaxed);
    }

    pub(super) fn take_too_late(&self) -> bool {
        self.too_late.load(Relaxed) && self.too_late.swap(false, Relaxed)
    }

    /// Whether the head of a request has begun and has not ended.
    pub(crate) fn is_in_head(&self) -> bool {
        self.in_head.load(Relaxed)
    }

    pub(super) fn in_head(&self, is_so: bool) {
        self.in_head.store(is_so, Relaxed);
    }

    /// Nothing more has come after so many whole requests; or something has, and is not whole.
    pub(super) fn rests(&self, requests: Option<u64>) {
        self.let_in.store(requests.unwrap_or(NOT_AT_REST), Relaxed);
    }

    /// Whether all that came has been let in, was whole requests, and has been answered.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.let_in.load(Relaxed) == self.answered.load(Relaxed)
    }

    /// A request has been answered, and the protocol changes or not.
    pub(crate) fn answered(&self, changes: bool) {
        self.answered.fetch_add(1, Relaxed);
        if changes {
            self.changes.store(true, Relaxed);
        }
        if self.is_waiting.swap(false, Relaxed)
            && let Some(waiting) = self.waiting.lock().take()
        {
            waiting.wake();
        }
    }

    /// Whether the protocol changes after so many requests; none while they have not all been answered.
    pub(super) fn decided(&self, requests: u64, cx: &Context<'_>) -> Option<bool> {
        if self.changes.load(Relaxed) {
            return Some(true);
        }
        if self.answered.load(Relaxed) >= requests {
            return Some(false);
        }
        *self.waiting.lock() = Some(cx.waker().clone());
        self.is_waiting.store(true, Relaxed);
        None
    }
}
