//! TLS to endpoints: whom to trust, and who we are.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::warn;

use crate::config::or_addon;
use crate::server::tls::TlsError;
use crate::tls_client::{ClientFiles, ClientTls};

/// TLS to workloads whose backend protocol asks for it.
#[derive(Args, Clone, Debug, Serialize)]
#[command(next_help_heading = "TLS to workloads")]
#[group(skip)]
pub struct UpstreamTlsConfig {
    /// Authorities in PEM form that workloads' certificates are checked against, besides those of the system.
    #[arg(long, env = "PLIMSOLL_UPSTREAM_TLS_CA", value_name = "FILE")]
    pub upstream_tls_ca: Option<PathBuf>,

    /// Whether the system's authorities are trusted (those of SSL_CERT_FILE and SSL_CERT_DIR, where these are set).
    #[arg(long, env = "PLIMSOLL_UPSTREAM_TLS_SYSTEM_ROOTS", value_name = "BOOL", action = ArgAction::Set,
          value_parser = BoolishValueParser::new(), default_value = "true")]
    pub upstream_tls_system_roots: bool,

    /// A certificate and its chain in PEM form, shown to workloads that ask for one.
    #[arg(long, env = "PLIMSOLL_UPSTREAM_TLS_CERT", value_name = "FILE")]
    pub upstream_tls_cert: Option<PathBuf>,

    /// The private key of --upstream-tls-cert in PEM form.
    #[arg(long, env = "PLIMSOLL_UPSTREAM_TLS_KEY", value_name = "FILE")]
    pub upstream_tls_key: Option<PathBuf>,

    /// Whether workloads' certificates are taken unchecked. Then anyone on the way can read and change what is sent.
    #[arg(long, env = "PLIMSOLL_UPSTREAM_TLS_SKIP_VERIFY", value_name = "BOOL", action = ArgAction::Set,
          value_parser = BoolishValueParser::new(), default_value = or_addon(&["KEDA_HTTP_PROXY_TLS_SKIP_VERIFY"], "false"))]
    pub upstream_tls_skip_verify: bool,
}

/// Which protocols an endpoint may choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// HTTP/2, or HTTP/1.1 if it does not speak that.
    Both,
    /// HTTP/1.1, because the request needs it.
    Http1,
    /// HTTP/2, because the workload is said to speak it.
    Http2,
}

/// How connections to endpoints are secured. Shared by all threads, so that sessions are resumed by each of them.
pub(crate) struct Trust {
    tls: Arc<ClientTls>,
    logged: Mutex<Option<(Instant, String)>>,
}

/// The same reason for not trusting an endpoint is logged this often at most.
const LOG_EVERY: Duration = Duration::from_secs(1);

impl Trust {
    /// What the settings say.
    ///
    /// # Errors
    /// Where a file can't be used.
    pub(crate) fn load(config: &UpstreamTlsConfig) -> Result<Self, TlsError> {
        if config.upstream_tls_skip_verify {
            warn!(
                "--upstream-tls-skip-verify: the certificates of workloads are NOT checked, so that anyone on the way to them can \
                 read and change requests; give their authority with --upstream-tls-ca instead"
            );
        }
        let files = ClientFiles::new(
            config.upstream_tls_ca.as_deref(),
            ("--upstream-tls-cert", config.upstream_tls_cert.as_deref()),
            ("--upstream-tls-key", config.upstream_tls_key.as_deref()),
        )?;
        let files = files.trusting_system(config.upstream_tls_system_roots).checking(!config.upstream_tls_skip_verify);
        Ok(Self { tls: Arc::new(ClientTls::load(files)?), logged: Mutex::default() })
    }

    /// The settings, which follow their files if somebody lets them.
    pub(crate) fn tls(&self) -> Arc<ClientTls> {
        self.tls.clone()
    }

    /// Does the handshake with an endpoint that must have a certificate for this name.
    ///
    /// # Errors
    /// Where it fails, or the endpoint is not trusted.
    pub(crate) async fn secure(
        &self,
        stream: TcpStream,
        name: &ServerName<'static>,
        offer: Offer,
    ) -> io::Result<TlsStream<TcpStream>> {
        let (http1, http2) = (|| b"http/1.1".to_vec(), || b"h2".to_vec());
        let alpn = match offer {
            Offer::Both => vec![http2(), http1()],
            Offer::Http1 => vec![http1()],
            Offer::Http2 => vec![http2()],
        };
        TlsConnector::from(self.tls.current()).with_alpn(alpn).connect(name.clone(), stream).await
    }

    /// Says which endpoint could not be connected to, where TLS is the reason.
    pub(crate) fn distrusted(&self, address: SocketAddr, error: &io::Error) {
        if !error.get_ref().is_some_and(|error| error.is::<rustls::Error>()) {
            return;
        }
        let reason = error.to_string();
        let mut logged = self.logged.lock();
        if !logged.as_ref().is_some_and(|(at, before)| at.elapsed() < LOG_EVERY && *before == reason) {
            *logged = Some((Instant::now(), reason));
            warn!(
                "the TLS handshake with the workload at {address} failed: {error}; see --upstream-tls-ca and --upstream-tls-cert"
            );
        }
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").finish_non_exhaustive()
    }
}

/// Whether an endpoint has chosen HTTP/2.
pub(crate) fn chose_http2(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}
