//! The way to one broker for one purpose: a connection that is made when it is needed, and again when it has failed.
//!
//! A task owns the connection, so that whoever gives up waiting for an answer leaves nothing half-written behind.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::super::clients::Reach;
use super::address::Address;
use super::connection::{Ask, BackOff, Ended};
use super::failure::Failure;
use super::messages::Request;
use super::settings::Settings;
use super::setup;

/// Requests that wait for a connection at most. When it is full, the next one waits until its deadline for room.
const QUEUED: usize = 64;

/// What a connection is for. Brokers answer the requests of one connection in order, so what must not wait has a connection of its
/// own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    /// Appending few records: wake-ups.
    Few,
    /// Appending many.
    Many,
    /// Asking for leaders.
    Leaders,
    /// Reading for one subscription, by its number.
    Reading(u64),
}

impl Purpose {
    /// That of a subscription of its own.
    pub(super) fn reading() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        Self::Reading(COUNT.fetch_add(1, Ordering::Relaxed))
    }
}

/// The ways to all brokers.
#[derive(Debug)]
pub(super) struct Links {
    settings: Arc<Settings>,
    reach: Arc<Reach>,
    open: Mutex<HashMap<(Address, Purpose), mpsc::Sender<Ask>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Links {
    pub(super) fn new(settings: Arc<Settings>, reach: Arc<Reach>, tasks: TaskTracker, stop: CancellationToken) -> Self {
        Self { settings, reach, open: Mutex::default(), tasks, stop }
    }

    /// Sends a request and waits for its answer. Cancel-safe: the request may or may not reach the broker then, and nothing else
    /// is disturbed.
    ///
    /// # Errors
    /// [`Failure`]; at the deadline at the latest.
    pub(super) async fn ask(
        &self,
        to: &Address,
        purpose: Purpose,
        request: Request,
        room: Option<OwnedSemaphorePermit>,
        deadline: Instant,
    ) -> Result<Bytes, Failure> {
        let (reply, answer) = oneshot::channel();
        let link = self.link(to, purpose);
        let asked = timeout_at(deadline, async {
            let over = || Failure::lost(to, "the connection is over");
            link.send(Ask { request, reply, room }).await.map_err(|_| over())?;
            answer.await.map_err(|_| over())?
        });
        asked.await.unwrap_or_else(|_| Err(Failure::lost(to, "it does not answer in time")))
    }

    /// Ends the connections for this purpose when what has been asked is answered.
    pub(super) fn close(&self, purpose: Purpose) {
        self.open.lock().retain(|(_, other), _| *other != purpose);
    }

    /// The queue of the link's task, which is begun where there is none.
    fn link(&self, to: &Address, purpose: Purpose) -> mpsc::Sender<Ask> {
        let mut open = self.open.lock();
        if let Some(link) = open.get(&(to.clone(), purpose))
            && !link.is_closed()
        {
            return link.clone();
        }
        // Brokers that are gone for good are forgotten here.
        open.retain(|_, link| !link.is_closed());
        let (link, asks) = mpsc::channel(QUEUED);
        open.insert((to.clone(), purpose), link.clone());
        let task = Link { to: to.clone(), settings: self.settings.clone(), reach: self.reach.clone(), asks };
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task.run() => {}
            }
        });
        link
    }
}

/// The task of one link.
struct Link {
    to: Address,
    settings: Arc<Settings>,
    reach: Arc<Reach>,
    asks: mpsc::Receiver<Ask>,
}

impl Link {
    async fn run(mut self) {
        let mut back_off = BackOff::new(self.settings.back_off_min, self.settings.back_off_max);
        while let Some(first) = self.asks.recv().await {
            if first.reply.is_closed() {
                continue;
            }
            let (failure, answered) = match setup::connect(&self.to, &self.settings).await {
                Ok(connection) => match connection.serve(first, &mut self.asks).await {
                    Ended::Expiring => continue,
                    Ended::Idle => break,
                    Ended::Failed { failure, answered } => (failure, answered),
                },
                Err(failure) => {
                    let _ = first.reply.send(Err(failure.clone()));
                    (failure, false)
                }
            };
            debug!("{failure}");
            self.reach.heard(&failure.to_string(), matches!(failure, Failure::Refused { .. }));
            if answered {
                back_off.reset();
                continue;
            }
            let pause = match &failure {
                Failure::Lost(_) => back_off.pause(),
                // Nothing changes by itself here, and brokers count failed logins.
                Failure::Refused { .. } => back_off.pause().max(self.settings.back_off_refused),
            };
            if self.pause(Instant::now() + pause, &failure).await.is_break() {
                break;
            }
        }
    }

    /// Answers whoever asks before the next attempt with the failure of the last.
    async fn pause(&mut self, until: Instant, failure: &Failure) -> std::ops::ControlFlow<()> {
        loop {
            tokio::select! {
                biased;
                () = sleep_until(until) => return std::ops::ControlFlow::Continue(()),
                ask = self.asks.recv() => match ask {
                    Some(ask) => drop(ask.reply.send(Err(failure.clone()))),
                    None => return std::ops::ControlFlow::Break(()),
                },
            }
        }
    }
}
