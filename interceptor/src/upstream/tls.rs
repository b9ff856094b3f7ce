//! TLS to endpoints: whom to trust, and who we are.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};
use parking_lot::Mutex;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::{debug, warn};

use crate::config::or_addon;
use crate::server::tls::{TlsError, certificates, private_key};

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
    client: Arc<ClientConfig>,
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
        let provider = Arc::new(ring::default_provider());
        let nothing = |error: rustls::Error| TlsError::Nothing(error.to_string());
        let builder = ClientConfig::builder_with_provider(provider.clone());
        let builder = builder.with_safe_default_protocol_versions().map_err(nothing)?.dangerous();
        let builder = builder.with_custom_certificate_verifier(verifier(config, provider)?);
        let own = match (&config.upstream_tls_cert, &config.upstream_tls_key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            (Some(_), None) => {
                return Err(TlsError::HalfAPair { given: "--upstream-tls-cert", missing: "--upstream-tls-key" });
            }
            (None, Some(_)) => {
                return Err(TlsError::HalfAPair { given: "--upstream-tls-key", missing: "--upstream-tls-cert" });
            }
        };
        let client = match own {
            Some((cert, key)) => {
                let (chain, private) = (certificates(cert, &read(cert)?)?, private_key(key, &read(key)?)?);
                let mismatch = |reason| TlsError::Mismatch { cert: cert.clone(), key: key.clone(), reason };
                builder.with_client_auth_cert(chain, private).map_err(mismatch)?
            }
            None => builder.with_no_client_auth(),
        };
        Ok(Self { client: Arc::new(client), logged: Mutex::default() })
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
        TlsConnector::from(self.client.clone()).with_alpn(alpn).connect(name.clone(), stream).await
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

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })
}

fn verifier(
    config: &UpstreamTlsConfig,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    if config.upstream_tls_skip_verify {
        warn!(
            "--upstream-tls-skip-verify: the certificates of workloads are NOT checked, so that anyone on the way to them can \
             read and change requests; give their authority with --upstream-tls-ca instead"
        );
        return Ok(Arc::new(Unverified { provider, take: true }));
    }
    let mut roots = RootCertStore::empty();
    if config.upstream_tls_system_roots {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            debug!("not all of the system's authorities can be read: {error}");
        }
        let (added, ignored) = roots.add_parsable_certificates(found.certs);
        debug!(added, ignored, "the system's authorities are trusted");
    }
    if let Some(path) = &config.upstream_tls_ca {
        for cert in certificates(path, &read(path)?)? {
            let refused =
                |error: rustls::Error| TlsError::Authorities { path: path.clone(), reason: error.to_string() };
            roots.add(cert).map_err(refused)?;
        }
    }
    if roots.is_empty() {
        // No fault where no workload speaks TLS; those that do are refused.
        return Ok(Arc::new(Unverified { provider, take: false }));
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    verifier
        .map(|verifier| verifier as Arc<dyn ServerCertVerifier>)
        .map_err(|error| TlsError::Nothing(error.to_string()))
}

/// Takes any certificate, or none for want of authorities. That the endpoint has its key is checked all the same.
#[derive(Debug)]
struct Unverified {
    provider: Arc<CryptoProvider>,
    take: bool,
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.take {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General("there is no authority to trust: give one with --upstream-tls-ca".to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
