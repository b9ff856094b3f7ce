//! Streams of HTTP/2 whose client takes nothing.
//!
//! hyper takes a piece of a response's body and waits with it until the client opens a window for it, for as long as the connection
//! lives; neither the body nor the socket hears of that. So the task of each stream is watched: where its client takes no further piece
//! for too long it is dropped, which resets the stream and lets go of all that its request has. The connection's other streams go on.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::time::Sleep;
use tokio_util::task::TaskTracker;
use tracing::debug;

/// Of what a client has been given before, it may take so little in a second, in bytes: as of what it sends
/// (`--min-body-rate`'s default). One that is slow and not gone keeps its stream.
const LEAST_RATE: u64 = 240;

/// How far the response of one stream has come.
#[derive(Debug, Default)]
pub(crate) struct Delivery {
    /// Pieces that have been given to hyper.
    pieces: Cell<u64>,
    /// The last piece waits for the client: hyper has not asked for another one.
    waits: Cell<bool>,
    /// The last piece's size, in bytes.
    last: Cell<u64>,
    /// The size of the one before: what the client has still to take at most, before the last one can go.
    before: Cell<u64>,
}

impl Delivery {
    /// hyper has one more piece, of so many bytes.
    pub(crate) fn gave(&self, bytes: usize) {
        self.pieces.set(self.pieces.get() + 1);
        self.before.set(self.last.replace(bytes as u64));
        self.waits.set(true);
    }

    /// hyper asks for a piece, and there is none yet: it is not the client that is waited for.
    pub(crate) fn lacks(&self) {
        self.waits.set(false);
    }

    /// How long the client may take nothing, where this is what it may always.
    fn allows(&self, patience: Duration) -> Duration {
        patience.saturating_add(Duration::from_secs(self.before.get() / LEAST_RATE))
    }
}

/// The stream whose task runs on this thread just now. None outside of HTTP/2.
#[derive(Debug, Clone, Default)]
pub(crate) struct Current(Rc<RefCell<Option<Rc<Delivery>>>>);

impl Current {
    /// What is known of its response.
    pub(crate) fn delivery(&self) -> Option<Rc<Delivery>> {
        self.0.borrow().clone()
    }

    fn during<T>(&self, delivery: &Rc<Delivery>, run: impl FnOnce() -> T) -> T {
        *self.0.borrow_mut() = Some(delivery.clone());
        let outcome = run();
        // After a panic it would stay, and tell a stream that is no more: nobody listens there.
        *self.0.borrow_mut() = None;
        outcome
    }
}

/// How HTTP/2 connections run their requests: on the thread that they came in on, each watched.
#[derive(Debug, Clone)]
pub(crate) struct OnThisThread {
    tasks: TaskTracker,
    current: Current,
    /// For so long a client may take nothing; none is no limit.
    patience: Option<Duration>,
}

impl OnThisThread {
    /// Runs them among these tasks.
    pub(crate) fn new(tasks: TaskTracker, current: Current, patience: Option<Duration>) -> Self {
        Self { tasks, current, patience }
    }
}

impl<F> Executor<F> for OnThisThread
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        let (task, current, patience) = (Box::pin(future), self.current.clone(), self.patience);
        self.tasks.spawn_local(Watched { task, current, patience, delivery: Rc::default(), timer: None });
    }
}

/// The task of one stream.
struct Watched<F> {
    task: Pin<Box<F>>,
    current: Current,
    patience: Option<Duration>,
    delivery: Rc<Delivery>,
    /// Set where the client has been waited for, when so many pieces had been given.
    timer: Option<(Pin<Box<Sleep>>, u64)>,
}

impl<F: Future> Future for Watched<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let (current, task) = (&this.current, &mut this.task);
        if current.during(&this.delivery, || task.as_mut().poll(cx)).is_ready() {
            return Poll::Ready(());
        }
        match this.patience {
            Some(patience) if this.delivery.waits.get() => this.poll_patience(cx, patience),
            _ => Poll::Pending,
        }
    }
}

impl<F> Watched<F> {
    /// Ready when the client has taken too little for too long. The timer is set anew only when it has run down, not with each piece.
    fn poll_patience(&mut self, cx: &mut Context<'_>, patience: Duration) -> Poll<()> {
        let (pieces, allowed) = (self.delivery.pieces.get(), self.delivery.allows(patience));
        let (timer, set_at) = self.timer.get_or_insert_with(|| (Box::pin(tokio::time::sleep(allowed)), pieces));
        loop {
            ready!(timer.as_mut().poll(cx));
            if *set_at == pieces {
                debug!("a client of HTTP/2 takes nothing of a response: its stream is reset");
                return Poll::Ready(());
            }
            timer.set(tokio::time::sleep(allowed));
            *set_at = pieces;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio::task::LocalSet;
    use tokio::time::{Instant, sleep};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// When a task ends that is polled only when it is told to, and gives or lacks pieces as it is told.
    async fn ends_after(script: impl AsyncFnOnce(mpsc::Sender<Option<usize>>)) -> Duration {
        let (tell, mut told) = mpsc::channel(1);
        let (current, began) = (Current::default(), Instant::now());
        let tasks = TaskTracker::new();
        let local = LocalSet::new();
        let (on_this_thread, of_task) =
            (OnThisThread::new(tasks.clone(), current.clone(), Some(PATIENCE)), current.clone());
        local
            .run_until(async {
                on_this_thread.execute(async move {
                    let delivery = of_task.delivery().expect("it runs in the task of a stream");
                    while let Some(piece) = told.recv().await {
                        match piece {
                            Some(bytes) => delivery.gave(bytes),
                            None => delivery.lacks(),
                        }
                    }
                    std::future::pending::<()>().await;
                });
                script(tell).await;
                tasks.close();
                tasks.wait().await;
            })
            .await;
        assert!(current.delivery().is_none(), "no stream's task runs now");
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_whose_client_takes_no_piece_ends() {
        let ended = ends_after(async |tell| tell.send(Some(1000)).await.unwrap()).await;
        assert!((PATIENCE..PATIENCE * 2).contains(&ended), "{ended:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_goes_on_while_its_client_takes_pieces_or_its_workload_rests() {
        let ended = ends_after(async |tell| {
            for _ in 0..10 {
                tell.send(Some(0)).await.unwrap();
                sleep(PATIENCE / 2).await;
            }
            tell.send(None).await.unwrap();
            sleep(PATIENCE * 10).await;
            tell.send(Some(0)).await.unwrap();
        })
        .await;
        assert!((PATIENCE * 16..PATIENCE * 18).contains(&ended), "{ended:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_has_time_for_the_piece_before() {
        let ended = ends_after(async |tell| {
            tell.send(Some(24_000)).await.unwrap();
            tell.send(Some(0)).await.unwrap();
        })
        .await;
        let allowed = PATIENCE + Duration::from_secs(100);
        assert!((allowed..allowed * 2).contains(&ended), "{ended:?}");
    }
}
