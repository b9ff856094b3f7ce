//! From a client's first byte to the point where HTTP begins.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use super::underway::{Begun, Underway};
use super::{Certificates, TlsConfig, TlsMetrics};

/// What every TLS connection begins with: a record of the type "handshake" (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 0x16;
/// To who speaks plain HTTP where TLS is spoken.
const SPEAK_TLS: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 49\r\n\
    connection: close\r\n\r\nplain HTTP was sent to the TLS port; use https://";
/// How long such a client may take to read that.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// What of its request is read at most, so that the answer is not lost to a reset.
const LAST_WORDS_BYTES: u64 = 64 * 1024;
/// While there is no right to a handshake, it is looked so often whether one that is under way must give way.
const LOOK: Duration = Duration::from_millis(50);
/// Failed handshakes are logged this often at most; the next line says how many there were.
const LOG_EVERY: Duration = Duration::from_secs(1);

/// Where clients come in over TLS. A cheap clone.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    config: Arc<ArcSwap<ServerConfig>>,
    timeout: Duration,
    passes: Arc<Semaphore>,
    underway: Underway,
    metrics: TlsMetrics,
    failures: Arc<Mutex<Failures>>,
}

/// The right to a handshake. There are so many at once; who has none waits, and who has one and does nothing with it gives way.
#[derive(Debug)]
pub(crate) struct Pass {
    _permit: Option<OwnedSemaphorePermit>,
}

#[derive(Debug, Default)]
struct Failures {
    logged_at: Option<Instant>,
    unlogged: u64,
}

/// Why a connection came no further.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("it took longer than {0:?}")]
    TooSlow(Duration),
    #[error("it did not go on, and others waited")]
    GaveWay,
    #[error("it sent plain HTTP, or something else that is no TLS")]
    NotTls,
    #[error("{0}")]
    Failed(#[source] io::Error),
}

impl Door {
    /// A door with these certificates.
    pub(crate) fn new(config: &TlsConfig, certificates: &Certificates, metrics: TlsMetrics) -> Self {
        Self {
            config: certificates.current(),
            timeout: config.tls_handshake_timeout,
            passes: Arc::new(Semaphore::new(config.tls_max_handshakes as usize)),
            underway: Underway::default(),
            metrics,
            failures: Arc::default(),
        }
    }

    /// Waits for the right to one more handshake.
    pub(crate) async fn pass(&self) -> Pass {
        let mut permit = pin!(self.passes.clone().acquire_owned());
        loop {
            if self.passes.available_permits() == 0 {
                self.underway.make_room(Instant::now());
            }
            tokio::select! {
                biased;
                // The semaphore is never closed.
                permit = &mut permit => return Pass { _permit: permit.ok() },
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// The right to a handshake whatever others there are: for the few that are still waiting when the listener closes.
    pub(crate) fn last_pass(&self) -> Pass {
        Pass { _permit: None }
    }

    /// Does the handshake. None where it fails; then the connection is closed.
    pub(crate) async fn enter(&self, stream: TcpStream, peer: SocketAddr, pass: Pass) -> Option<TlsStream<TcpStream>> {
        let begun = self.underway.begin(Instant::now());
        let outcome = tokio::select! {
            biased;
            outcome = tokio::time::timeout(self.timeout, self.handshake(stream, &begun)) => {
                outcome.unwrap_or(Err(Refused::TooSlow(self.timeout)))
            }
            () = begun.cut_off() => Err(Refused::GaveWay),
        };
        drop((begun, pass));
        match outcome {
            Ok(stream) => {
                self.metrics.handshakes.inc();
                Some(stream)
            }
            Err(refused) => {
                self.metrics.failures.inc();
                self.log(peer, &refused);
                None
            }
        }
    }

    async fn handshake(&self, mut stream: TcpStream, begun: &Begun) -> Result<TlsStream<TcpStream>, Refused> {
        let mut first = [0];
        let count = stream.peek(&mut first).await.map_err(Refused::Failed)?;
        begun.heard();
        if count == 0 {
            return Err(Refused::Failed(io::ErrorKind::UnexpectedEof.into()));
        }
        if first[0] != HANDSHAKE {
            if first[0].is_ascii_uppercase() {
                tell_to_speak_tls(&mut stream).await;
            }
            return Err(Refused::NotTls);
        }
        let acceptor = TlsAcceptor::from(self.config.load_full());
        acceptor.accept(stream).await.map_err(Refused::Failed)
    }

    /// Bad certificates are what an operator looks for; connections that just end are what health checks and scanners make.
    fn log(&self, peer: SocketAddr, refused: &Refused) {
        let about_tls = matches!(refused, Refused::Failed(error) if error.get_ref().is_some_and(|error| error.is::<rustls::Error>()));
        if !about_tls {
            return debug!("no TLS with {peer}: {refused}");
        }
        let mut failures = self.failures.lock();
        if failures.logged_at.is_some_and(|at| at.elapsed() < LOG_EVERY) {
            failures.unlogged += 1;
            return;
        }
        let unlogged = std::mem::take(&mut failures.unlogged);
        failures.logged_at = Some(Instant::now());
        drop(failures);
        warn!(unlogged, "the TLS handshake with {peer} failed: {refused}");
    }
}

/// Answers in plain HTTP. Whether that arrives is the client's concern.
async fn tell_to_speak_tls(stream: &mut TcpStream) {
    let tell = async {
        stream.write_all(SPEAK_TLS).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(LAST_WORDS_BYTES), &mut tokio::io::sink()).await
    };
    let _told_or_not = tokio::time::timeout(LAST_WORDS, tell).await;
}
