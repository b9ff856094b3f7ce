//! The listening sockets that all threads share, and what comes in by them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;

use super::crowd::{Crowd, Place};
use super::tls::{Door, Pass};

/// Connections that wait to be accepted. The kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// Both queues, when they are full.
const MOST_WAITING: usize = 2 * BACKLOG as usize;
/// A client that vanished without a word is noticed after about a minute, so that no request stays in flight for ever.
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10)).with_retries(3);

/// Binds and listens. Accepted sockets inherit the options, which saves system calls for each connection.
///
/// # Errors
/// Where the address is taken or not ours.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The listening sockets of an interceptor.
#[derive(Debug)]
pub(crate) struct Listeners {
    /// For plain HTTP.
    pub(crate) plain: TcpListener,
    /// For TLS, where it is offered.
    pub(crate) tls: Option<(TcpListener, Door)>,
}

impl Listeners {
    /// The same sockets for one more thread.
    ///
    /// # Errors
    /// Where the system has no file descriptor to give.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        let tls = self.tls.as_ref().map(|(tls, door)| Ok::<_, io::Error>((tls.try_clone()?, door.clone())));
        Ok(Self { plain: self.plain.try_clone()?, tls: tls.transpose()? })
    }
}

/// The listening sockets as one thread uses them.
#[derive(Debug)]
pub(crate) struct Entrances {
    plain: tokio::net::TcpListener,
    tls: Option<(tokio::net::TcpListener, Door)>,
}

/// A connection that has been accepted, and nothing more.
#[derive(Debug)]
pub(crate) struct Accepted<S = TcpStream> {
    pub(crate) stream: S,
    pub(crate) peer: SocketAddr,
    pub(crate) entrance: Entrance,
    /// Its place among all clients; none where it comes in beyond their number.
    pub(crate) place: Option<Place>,
}

/// Where a client came in.
#[derive(Debug)]
pub(crate) enum Entrance {
    /// Where plain HTTP is spoken.
    Plain,
    /// Where TLS is: the handshake is still to come.
    Tls(Door, Pass),
}

impl Entrance {
    /// Whether the client speaks TLS.
    pub(crate) fn is_secure(&self) -> bool {
        matches!(self, Self::Tls(..))
    }
}

impl<S> Accepted<S> {
    /// The same with another form of the socket.
    pub(crate) fn map<T, E>(self, change: impl FnOnce(S) -> Result<T, E>) -> Result<Accepted<T>, E> {
        Ok(Accepted { stream: change(self.stream)?, peer: self.peer, entrance: self.entrance, place: self.place })
    }
}

impl Entrances {
    /// Makes this thread's runtime wait for the sockets.
    ///
    /// # Errors
    /// Where the system has no room for them.
    pub(crate) fn new(listeners: Listeners) -> io::Result<Self> {
        let listening = tokio::net::TcpListener::from_std;
        let tls = listeners.tls.map(|(tls, door)| Ok::<_, io::Error>((listening(tls)?, door)));
        Ok(Self { plain: listening(listeners.plain)?, tls: tls.transpose()? })
    }

    /// The next connection. Dropping the future loses none.
    ///
    /// # Errors
    /// Where accepting fails.
    async fn accept(&self) -> io::Result<Accepted> {
        tokio::select! {
            accepted = self.plain.accept() => {
                accepted.map(|(stream, peer)| Accepted { stream, peer, entrance: Entrance::Plain, place: None })
            }
            accepted = self.accept_tls() => accepted,
        }
    }

    /// The next connection, once there is a place for it. Dropping the future loses none.
    ///
    /// # Errors
    /// Where accepting fails.
    pub(crate) async fn accept_into(&self, crowd: &Crowd) -> io::Result<Accepted> {
        let place = crowd.place().await;
        let accepted = self.accept().await?;
        Ok(Accepted { place: Some(place), ..accepted })
    }

    /// The connections that wait in the kernel's queues, and no more than fit there: under a flood this has an end, too.
    pub(crate) fn accept_waiting(&self) -> impl Iterator<Item = Accepted> {
        std::iter::from_fn(|| self.accept_now()).take(MOST_WAITING)
    }

    /// A connection that is there already.
    fn accept_now(&self) -> Option<Accepted> {
        if let Some((stream, peer)) = take(&self.plain) {
            return Some(Accepted { stream, peer, entrance: Entrance::Plain, place: None });
        }
        let (tls, door) = self.tls.as_ref()?;
        let (stream, peer) = take(tls)?;
        Some(Accepted { stream, peer, entrance: Entrance::Tls(door.clone(), door.last_pass()), place: None })
    }

    async fn accept_tls(&self) -> io::Result<Accepted> {
        let Some((tls, door)) = &self.tls else { return std::future::pending().await };
        let pass = door.pass().await;
        let (stream, peer) = tls.accept().await?;
        Ok(Accepted { stream, peer, entrance: Entrance::Tls(door.clone(), pass), place: None })
    }
}

/// Asks the system: the runtime hears of a connection later, and lets a task accept no more than some dozens of them at once.
fn take(listener: &tokio::net::TcpListener) -> Option<(TcpStream, SocketAddr)> {
    loop {
        match SockRef::from(listener).accept() {
            Ok((socket, peer)) => {
                socket.set_nonblocking(true).ok()?;
                return Some((TcpStream::from_std(socket.into()).ok()?, peer.as_socket()?));
            }
            // It went away while it waited.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn all_who_wait_in_the_kernels_queue_are_accepted_at_the_end() {
        let listener = bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let entrances = Entrances::new(Listeners { plain: listener, tls: None }).unwrap();
        // Nothing is awaited from here on, so that the runtime does not hear of them.
        let mut clients: Vec<_> = (0..20).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        let mut accepted: Vec<Accepted> = Vec::new();
        // A client knows that it is connected a moment before its connection waits here.
        for _ in 0..100_000 {
            accepted.extend(entrances.accept_waiting());
            if accepted.len() == clients.len() {
                break;
            }
            std::thread::yield_now();
        }
        assert_eq!(accepted.len(), clients.len());
        for (client, accepted) in clients.iter_mut().zip(&mut accepted) {
            assert_eq!(accepted.peer, client.local_addr().unwrap());
            io::Write::write_all(client, b"!").unwrap();
            assert_eq!(accepted.stream.read_u8().await.unwrap(), b'!');
        }
    }
}
