//! KEDA's connections: accepted, with TLS where that is configured.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::server::Connected;
use tracing::debug;

use crate::rest::tls::Tls;

/// Handshakes at once; who comes then waits in the system's queue. KEDA has one connection for each replica.
const HANDSHAKES: usize = 256;
/// From the first byte to the end of a handshake.
const PATIENCE: Duration = Duration::from_secs(10);
/// After a failure to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The connections, for ever. One that fails is left out: it must not end the server.
pub(crate) fn incoming(listener: TcpListener, tls: Option<Arc<Tls>>) -> impl Stream<Item = io::Result<Connection>> {
    let accepted = TcpListenerStream::new(listener).filter_map(|accepted| async move {
        if let Err(error) = &accepted {
            // Descriptors are exhausted, or the client has gone.
            debug!("the scaler can't accept a connection: {error}");
            sleep(ACCEPT_PAUSE).await;
        }
        accepted.ok()
    });
    let connected = accepted.map(move |stream| {
        let tls = tls.clone();
        async move {
            // Only speed is lost without it.
            let _ = stream.set_nodelay(true);
            match tls {
                None => Some(Connection::Plain(stream)),
                Some(tls) => handshake(stream, &tls).await,
            }
        }
    });
    connected.buffer_unordered(HANDSHAKES).filter_map(|connection| async move { connection.map(Ok) })
}

async fn handshake(stream: TcpStream, tls: &Tls) -> Option<Connection> {
    let peer = stream.peer_addr();
    match timeout(PATIENCE, TlsAcceptor::from(tls.current()).accept(stream)).await {
        Ok(Ok(stream)) => return Some(Connection::Tls(Box::new(stream))),
        Ok(Err(error)) => debug!(?peer, "no TLS with a client of the scaler: {error}"),
        Err(_) => debug!(?peer, "no TLS with a client of the scaler: it took too long"),
    }
    None
}

/// One connection.
pub(crate) enum Connection {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
