//! One connection to a manager for each call: plain, or over TLS.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

/// Until a connection stands, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Whom to believe that it is the manager, and what to show it.
#[derive(Debug, Default)]
pub struct TlsFiles {
    /// Authorities; the machine's own where there is none.
    pub ca: Option<PathBuf>,
    /// A certificate to show, with its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

/// Where a manager is.
pub struct Place {
    host: String,
    port: u16,
    /// Of the path, as where a proxy has put the manager under one.
    prefix: String,
    tls: Option<Arc<ClientConfig>>,
}

/// An answer that has begun.
pub struct Answer {
    pub response: Response<Incoming>,
    /// Drives the connection for as long as the answer is read.
    _connection: AbortOnDropHandle<()>,
}

impl Place {
    /// Reads the URL, and the files where it is `https`.
    ///
    /// # Errors
    /// What is wrong with either.
    pub fn new(server: &str, files: &TlsFiles) -> Result<Self> {
        let example = "write http://HOST:PORT or https://HOST:PORT";
        let uri: Uri = server.parse().map_err(|error| anyhow!("--server {server}: {error}; {example}"))?;
        let (host, tls) = match (uri.scheme_str(), uri.host()) {
            (Some("http"), Some(host)) => (host, None),
            (Some("https"), Some(host)) => (host, Some(Arc::new(files.config()?))),
            _ => bail!("--server {server}: {example}"),
        };
        let port = uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
        Ok(Self { host: host.to_owned(), port, prefix: uri.path().trim_end_matches('/').to_owned(), tls })
    }

    /// Sends one request, whose path begins with a slash.
    ///
    /// # Errors
    /// Where nobody answers.
    pub async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<Answer> {
        let asked = request.uri().path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = format!("{}{asked}", self.prefix).parse().context("no path can be made of that")?;
        let host = format!("{}:{}", self.host, self.port);
        request.headers_mut().insert("host", host.parse().context("no host can be made of --server")?);
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, self.connect()).await;
        let stream =
            connected.map_err(|_| anyhow!("it took longer than {} s to connect", CONNECT_TIMEOUT.as_secs()))??;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            // What breaks it, the answer tells too.
            let _ = connection.await;
        }));
        Ok(Answer { response: sender.send_request(request).await?, _connection: connection })
    }

    async fn connect(&self) -> Result<Box<dyn Stream>> {
        // In a URL an address of IPv6 stands in brackets, elsewhere not.
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((bare, self.port)).await?;
        stream.set_nodelay(true)?;
        let Some(config) = &self.tls else { return Ok(Box::new(stream)) };
        let name =
            ServerName::try_from(bare.to_owned()).context("--server has no name that a certificate could have")?;
        Ok(Box::new(TlsConnector::from(config.clone()).connect(name, stream).await?))
    }
}

/// Plain, or TLS.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Answer {
    /// The whole body.
    ///
    /// # Errors
    /// Where it breaks off.
    pub async fn body(self) -> Result<Bytes> {
        Ok(self.response.into_body().collect().await?.to_bytes())
    }

    /// The next part of a body that goes on; none at its end.
    ///
    /// # Errors
    /// Where it breaks off.
    pub async fn part(&mut self) -> Result<Option<Bytes>> {
        while let Some(frame) = self.response.body_mut().frame().await.transpose()? {
            // Trailers say nothing here.
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

impl TlsFiles {
    fn config(&self) -> Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(path) => {
                for certificate in certificates(path, "--ca-file")? {
                    let added = roots.add(certificate);
                    added.with_context(|| format!("no authority in {} (--ca-file)", path.display()))?;
                }
            }
            None => {
                // Those of the machine that can't be read are as good as not there.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let Some((certificate, key)) = &self.certificate else { return Ok(builder.with_no_client_auth()) };
        let chain = certificates(certificate, "--client-cert")?;
        let read = PrivateKeyDer::from_pem_file(key);
        let read = read.map_err(|error| anyhow!("no private key in {} (--client-key): {error}", key.display()))?;
        builder.with_client_auth_cert(chain, read).context("--client-cert and --client-key can't be used together")
    }
}

fn certificates(path: &Path, flag: &str) -> Result<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let found = found.map_err(|error| anyhow!("can't use {} ({flag}): {error}", path.display()))?;
    anyhow::ensure!(!found.is_empty(), "there is no certificate in {} ({flag})", path.display());
    Ok(found)
}
