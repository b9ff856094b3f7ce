//! A connection between two requests: it holds its socket, and nothing else.
//!
//! hyper keeps two buffers of 8 KiB and more for each connection, busy or not. So what speaks HTTP on a connection is given up
//! when nothing has come for a while, and made anew when bytes come. Only a connection at rest is parked: all that was read
//! of it belongs to requests that have been answered, and all answers have been written.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::client::{ClientStream, Order};
use super::gate::Gate;
use super::serving::Served;
use super::worker::Worker;

/// Between two looks at connections that came to rest. One that was not used between two of them is parked: making HTTP anew
/// takes room for hyper's buffers each time, so busy connections must not be.
pub(crate) const LOOK: Duration = Duration::from_millis(200);

/// So many connections of a thread may be at rest without being parked: what they hold, some 20 KiB each, is bounded with them. Where one more
/// comes to rest, the first of them does not wait for its look.
const MOST_RESTING: usize = 1024;

/// Connections of one thread that came to rest, each once; the one that did so first is at the front.
#[derive(Debug, Default)]
pub(crate) struct Resting(RefCell<VecDeque<Weak<Served>>>);

impl Resting {
    /// A connection has nothing to do; it is parked if it stays so.
    pub(crate) fn add(&self, served: &Rc<Served>) {
        let mut resting = self.0.borrow_mut();
        resting.push_back(Rc::downgrade(served));
        if resting.len() > MOST_RESTING
            && let Some(first) = resting.pop_front().and_then(|first| first.upgrade())
        {
            first.makes_room();
        }
    }

    /// Parks those that have rested since they were looked at before. To be called every [`LOOK`].
    pub(crate) fn look(&self) {
        self.0.borrow_mut().retain(|served| served.upgrade().is_some_and(|served| served.looked_at()));
    }
}

/// Where a stream returns to when whoever had it is dropped.
#[derive(Debug)]
pub(crate) struct Home<T>(Arc<Mutex<Option<Box<T>>>>);

/// A stream that goes home when this is dropped. It is `Send`, as hyper wants it of connections that may be upgraded.
#[derive(Debug)]
pub(crate) struct Lent<T> {
    /// None only while this is being dropped.
    stream: Option<Box<T>>,
    home: Arc<Mutex<Option<Box<T>>>>,
}

impl<T> Home<T> {
    /// Lends a stream.
    pub(crate) fn lend(stream: Box<T>) -> (Self, Lent<T>) {
        let home = Arc::default();
        (Self(Arc::clone(&home)), Lent { stream: Some(stream), home })
    }

    /// The stream, if it has come back.
    pub(crate) fn back(self) -> Option<Box<T>> {
        self.0.lock().take()
    }
}

impl<T> Lent<T> {
    fn stream(&mut self) -> io::Result<Pin<&mut T>>
    where
        T: Unpin,
    {
        self.stream.as_deref_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl<T> Drop for Lent<T> {
    fn drop(&mut self) {
        *self.home.lock() = self.stream.take();
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Lent<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream()?.poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Lent<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().stream()?.poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream()?.poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().stream()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.is_write_vectored())
    }
}

/// Waits for the next request's first bytes, or for the client's end. False where the connection is told to end, and has.
pub(crate) async fn anything_comes(worker: &Worker, served: &Served, gate: &mut Gate<ClientStream>) -> bool {
    let _parked = Parked::count(&worker.metrics.parked);
    let mut ending = false;
    std::future::poll_fn(|cx| {
        served.will_be_woken(cx.waker());
        match served.client.ordered() {
            Order::Serve => gate.stream().poll_readable(cx).map(|()| true),
            // A request that is here already was sent to an open connection: it is answered.
            Order::Finish if !ending && has_bytes(gate.stream()) => gate.stream().poll_readable(cx).map(|()| true),
            Order::Finish => {
                ending = true;
                Pin::new(&mut *gate).poll_shutdown(cx).map(|_closed_or_broken| false)
            }
            Order::Cut => Poll::Ready(false),
        }
    })
    .await
}

/// A connection in a gauge, until this is dropped.
struct Parked<'a>(&'a Gauge);

impl<'a> Parked<'a> {
    fn count(gauge: &'a Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Asks the system, which knows before the runtime does.
fn has_bytes(stream: &ClientStream) -> bool {
    SockRef::from(stream.socket()).peek(&mut [MaybeUninit::uninit()]).is_ok_and(|bytes| bytes > 0)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::server::client::Client;

    fn at_rest() -> Rc<Served> {
        Served::new(Client::new(([127, 0, 0, 1], 1).into(), false, false, (None, None)))
    }

    #[test]
    fn what_came_to_rest_first_makes_room_when_too_many_do() {
        let (resting, all) = (Resting::default(), (0..MOST_RESTING + 10).map(|_| at_rest()).collect::<Vec<_>>());
        let of_a_busy_one = all[3].client.begin_request();
        all[..MOST_RESTING].iter().for_each(|served| resting.add(served));
        assert!(!all.iter().any(|served| served.is_to_be_parked()));
        all[MOST_RESTING..].iter().for_each(|served| resting.add(served));
        let parked: Vec<usize> = (0..all.len()).filter(|at| all[*at].is_to_be_parked()).collect();
        assert_eq!(parked, [0, 1, 2, 4, 5, 6, 7, 8, 9], "nobody is parked in the middle of a request");
        drop(of_a_busy_one);
        resting.add(&all[3]);
        assert!(all[10].is_to_be_parked() && !all[3].is_to_be_parked());
    }

    #[tokio::test]
    async fn a_stream_goes_home_when_its_user_is_dropped_and_not_before() {
        let (near, mut far) = tokio::io::duplex(64);
        let (home, mut lent) = Home::lend(Box::new(near));
        lent.write_all(b"one").await.unwrap();
        assert!(Home(home.0.clone()).back().is_none());
        drop(lent);
        let mut near = home.back().expect("the stream is at home");
        near.write_all(b"two").await.unwrap();
        drop(near);
        let mut read = String::new();
        far.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "onetwo");
    }
}
