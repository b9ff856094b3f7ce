//! Whether a store answers.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::StoreHealth;

/// What is known of a store's health.
#[derive(Debug)]
pub(super) struct Pulse {
    /// Which store, for the reasons.
    name: String,
    /// When nothing has been heard for this long, something is asked.
    quiet: Duration,
    heard: Mutex<Instant>,
    asked: Mutex<Option<Instant>>,
    health: watch::Sender<StoreHealth>,
}

impl Pulse {
    /// Of the store of this name, which has not been reached yet.
    pub(super) fn new(name: String, quiet: Duration) -> Self {
        let reason = format!("{name}: not reached yet");
        let health = watch::Sender::new(StoreHealth::Away { since: Instant::now(), reason });
        Self { name, quiet, heard: Mutex::new(Instant::now()), asked: Mutex::default(), health }
    }

    pub(super) fn health(&self) -> watch::Receiver<StoreHealth> {
        self.health.subscribe()
    }

    /// It has answered.
    pub(super) fn heard(&self) {
        *self.heard.lock() = Instant::now();
        self.health.send_if_modified(|health| {
            let news = *health != StoreHealth::Connected;
            *health = StoreHealth::Connected;
            news
        });
    }

    /// It has not, for this reason.
    pub(super) fn lost(&self, reason: &str) {
        let reason = &format!("{}: {reason}", self.name);
        self.health.send_if_modified(|health| match health {
            StoreHealth::Connected => {
                *health = StoreHealth::Away { since: Instant::now(), reason: reason.clone() };
                true
            }
            StoreHealth::Away { reason: told, .. } => {
                let news = told != reason;
                told.clone_from(reason);
                news
            }
        });
    }

    /// Waits until something should be asked, because nothing has been heard for a while; false when it was stopped meanwhile. Ask
    /// then, and tell what came of it by `heard` and `lost`.
    pub(super) async fn silence(&self, stop: &CancellationToken) -> bool {
        loop {
            let heard = *self.heard.lock();
            let asked = *self.asked.lock();
            let connected = matches!(*self.health.borrow(), StoreHealth::Connected);
            let due = asked.map(|asked| asked + self.quiet / 3);
            let due = if connected { due.max(Some(heard + self.quiet)) } else { due };
            match due.filter(|due| *due > Instant::now()) {
                // It may have been heard of meanwhile; or lost.
                Some(_) => {
                    if stop.run_until_cancelled(sleep(self.quiet / 3)).await.is_none() {
                        return false;
                    }
                }
                None => {
                    *self.asked.lock() = Some(Instant::now());
                    return !stop.is_cancelled();
                }
            }
        }
    }
}
