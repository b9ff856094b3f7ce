//! The proxying threads: each accepts from the same socket and keeps what it accepts.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::crowd::Crowd;
use super::listener::{Accepted, Entrances, Listeners};
use super::parking::LOOK;
use super::worker::{SWEEP, Settings, Worker};
use crate::metrics::Metrics;
use crate::routes::Table;
use crate::upstream::tls::Trust;

/// A thread with so many more connections than another gives new ones away: a few long-lived connections that carry most
/// requests must not meet on one thread.
const IMBALANCE: usize = 2;
/// Connections on their way to another thread. When there is no room, they stay.
const HANDED_AT_ONCE: usize = 64;
/// After accepting has failed, for want of file descriptors as a rule.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// What connections to endpoints have at the end to say so; nobody is waiting on them.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_secs(1);

/// When the threads stop.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stops {
    /// It is going to stop: clients of HTTP/1 are told with each answer that their connection ends there.
    pub(crate) leaving: Arc<AtomicBool>,
    /// Accept no more, and end when all requests have been answered.
    pub(crate) drain: CancellationToken,
    /// End now.
    pub(crate) abort: CancellationToken,
}

/// What every thread gets.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) table: Arc<ArcSwap<Table>>,
    pub(crate) crowd: Arc<Crowd>,
    pub(crate) trust: Arc<Trust>,
    pub(crate) stops: Stops,
}

/// A running thread.
#[derive(Debug)]
pub(crate) struct Thread {
    handle: JoinHandle<()>,
    ended: CancellationToken,
}

impl Thread {
    /// Waits for its end.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Frees what is left of it, once it has ended.
    pub(crate) fn join(self) {
        if self.handle.join().is_err() {
            error!("a proxying thread panicked");
        }
    }
}

/// All threads as one of them sees them.
struct Peers {
    own: usize,
    /// Each one's connections.
    counts: Arc<[AtomicUsize]>,
    handing: Vec<mpsc::Sender<Accepted<std::net::TcpStream>>>,
}

impl Peers {
    /// The thread that should have the next connection, if it is another one.
    fn less_busy(&self) -> Option<usize> {
        let own = self.counts[self.own].load(Relaxed);
        let (least, count) =
            self.counts.iter().map(|count| count.load(Relaxed)).enumerate().min_by_key(|(_, count)| *count)?;
        (own >= count + IMBALANCE).then_some(least)
    }
}

/// Starts the threads.
///
/// # Errors
/// Where the system has no thread, runtime or file descriptor to give.
pub(crate) fn start(listeners: &Listeners, count: usize, shared: &Shared) -> io::Result<Vec<Thread>> {
    let (handing, handed): (Vec<_>, Vec<_>) = (0..count).map(|_| mpsc::channel(HANDED_AT_ONCE)).unzip();
    let counts: Arc<[AtomicUsize]> = (0..count).map(|_| AtomicUsize::new(0)).collect();
    let mut threads = Vec::with_capacity(count);
    for (own, handed) in handed.into_iter().enumerate() {
        let listeners = listeners.try_clone()?;
        let peers = Peers { own, counts: counts.clone(), handing: handing.clone() };
        let ended = CancellationToken::new();
        let end = ended.clone().drop_guard();
        let shared = shared.clone();
        let run = move || match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
            Ok(runtime) => {
                if let Err(error) = runtime.block_on(run(listeners, handed, peers, shared)) {
                    error!("a proxying thread can't listen: {error}");
                }
                // What is still open is closed now, and departs, before the thread is said to have ended.
                drop(runtime);
                drop(end);
            }
            Err(error) => error!("a proxying thread has no runtime: {error}"),
        };
        let handle = std::thread::Builder::new().name(format!("proxy-{own}")).spawn(run)?;
        threads.push(Thread { handle, ended });
    }
    Ok(threads)
}

async fn run(
    listeners: Listeners,
    mut handed: mpsc::Receiver<Accepted<std::net::TcpStream>>,
    peers: Peers,
    shared: Shared,
) -> io::Result<()> {
    let entrances = Entrances::new(listeners)?;
    let Shared { settings, metrics, table, trust, crowd, stops } = shared;
    let worker = Worker::new(settings, metrics, table, trust, stops.leaving.clone());
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stops.drain.cancelled() => break,
            () = stops.abort.cancelled() => return Ok(()),
            accepted = entrances.accept_into(&crowd) => match accepted {
                Ok(accepted) => hand_or_serve(&worker, &peers, accepted),
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    warn!("can't accept connections: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(accepted) = handed.recv() => match accepted.map(TcpStream::from_std) {
                Ok(accepted) => worker.serve(accepted),
                Err(error) => warn!("can't take a connection over: {error}"),
            },
            _ = look.tick() => worker.resting.look(),
            now = sweep.tick() => {
                worker.sweep(now);
                peers.counts[peers.own].store(worker.clients(), Relaxed);
                if peers.own == 0 {
                    crowd.sweep();
                }
            }
        }
    }
    // Whoever is in the kernel's queue has been told that the connection is open.
    entrances.accept_waiting().for_each(|accepted| worker.serve(accepted));
    handed.close();
    while let Some(accepted) = handed.recv().await {
        if let Ok(accepted) = accepted.map(TcpStream::from_std) {
            worker.serve(accepted);
        }
    }
    drop(entrances);
    worker.finish();
    worker.tasks.close();
    loop {
        tokio::select! {
            () = worker.tasks.wait() => break,
            () = stops.abort.cancelled() => return Ok(()),
            now = sweep.tick() => worker.sweep(now),
        }
    }
    tokio::select! {
        () = worker.lines.close() => {}
        () = stops.abort.cancelled() => {}
        () = tokio::time::sleep(LAST_WORDS) => {}
    }
    Ok(())
}

/// Serves a connection here, or gives it to a thread that has fewer.
fn hand_or_serve(worker: &Rc<Worker>, peers: &Peers, accepted: Accepted) {
    let own = &peers.counts[peers.own];
    own.store(worker.clients(), Relaxed);
    let Some(other) = peers.less_busy() else {
        own.fetch_add(1, Relaxed);
        return worker.serve(accepted);
    };
    match accepted.map(TcpStream::into_std) {
        Ok(accepted) => match peers.handing[other].try_send(accepted) {
            Ok(()) => drop(peers.counts[other].fetch_add(1, Relaxed)),
            // No room, or that thread has ended: it is served here after all.
            Err(error) => match error.into_inner().map(TcpStream::from_std) {
                Ok(accepted) => worker.serve(accepted),
                Err(error) => warn!("can't take a connection back: {error}"),
            },
        },
        Err(error) => warn!("can't hand a connection over: {error}"),
    }
}

/// A client that went away before it was accepted.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(own: usize, counts: [usize; 4]) -> Peers {
        Peers { own, counts: counts.into_iter().map(AtomicUsize::new).collect(), handing: Vec::new() }
    }

    #[test]
    fn a_new_connection_goes_to_the_thread_that_has_the_fewest_unless_they_are_as_even_as_can_be() {
        let counts = [5, 3, 4, 5];
        let chosen: Vec<Option<usize>> = (0..counts.len()).map(|own| peers(own, counts).less_busy()).collect();
        assert_eq!(chosen, [Some(1), None, None, Some(1)]);
        assert_eq!(peers(0, [40, 0, 0, 0]).less_busy(), Some(1));
    }
}
