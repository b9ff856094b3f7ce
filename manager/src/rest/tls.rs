//! TLS of the manager's listeners: one certificate, and whom it believes clients to be. Files are read again when they change.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Why TLS can't be spoken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTls {
    /// A file can't be read, or holds something else.
    #[error("can't use {} ({flag}): {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The flag that names it.
        flag: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The files do not go together.
    #[error("can't speak TLS with {} and {}: {reason}", cert.display(), key.display())]
    Together {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Where the files are.
#[derive(Debug, Clone)]
pub struct Files {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub client_ca: Option<PathBuf>,
    pub of: &'static Listener,
}

/// What differs from listener to listener.
#[derive(Debug)]
pub struct Listener {
    /// What it is called.
    pub name: &'static str,
    /// The flags that name the files: of the certificate, the key, and the clients' authorities.
    pub flags: [&'static str; 3],
    /// Whether clients must show a certificate where their authorities are named; else who shows none may have another proof.
    pub clients_must: bool,
    /// What is spoken inside.
    pub alpn: &'static [u8],
}

/// The REST API's.
pub const API: Listener = Listener {
    name: "API",
    flags: ["--api-tls-cert", "--api-tls-key", "--api-client-ca"],
    clients_must: false,
    alpn: b"http/1.1",
};

/// What the files hold.
#[derive(Clone, PartialEq, Eq)]
struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// TLS as the files have it now.
pub struct Tls {
    files: Files,
    current: ArcSwap<ServerConfig>,
    first: Contents,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not what the files hold.
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn read(files: Files) -> Result<Self, BadTls> {
        let first = files.read()?;
        let current = ArcSwap::new(files.config(&first)?);
        Ok(Self { files, current, first })
    }

    /// For the next handshake.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Reads the files again when they have changed, until shutdown. Files that are wrong change nothing.
    pub async fn follow(self: Arc<Self>, shutdown: CancellationToken) {
        let mut before = Ok(self.first.clone());
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let files = self.files.clone();
            let Ok(now) = tokio::task::spawn_blocking(move || files.read()).await else { continue };
            if now == before {
                continue;
            }
            match now.clone().and_then(|contents| self.files.config(&contents)) {
                Ok(config) => {
                    info!("the {}'s certificate has been read again", self.files.of.name);
                    self.current.store(config);
                }
                // Certificate and key are two files: between the writing of one and of the other this is right.
                Err(error) => warn!("{error}; what was before is still used"),
            }
            before = now;
        }
    }
}

impl Files {
    fn read(&self) -> Result<Contents, BadTls> {
        let [cert, key, client_ca] = self.of.flags;
        Ok(Contents {
            cert: read(&self.cert, cert)?,
            key: read(&self.key, key)?,
            client_ca: self.client_ca.as_deref().map(|path| read(path, client_ca)).transpose()?,
        })
    }

    fn config(&self, contents: &Contents) -> Result<Arc<ServerConfig>, BadTls> {
        let provider = Arc::new(ring::default_provider());
        let together = |reason: String| BadTls::Together { cert: self.cert.clone(), key: self.key.clone(), reason };
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| together(error.to_string()))?;
        let builder = match (&self.client_ca, &contents.client_ca) {
            (Some(path), Some(pem)) => {
                let wrong = |reason| BadTls::File { path: path.clone(), flag: self.of.flags[2], reason };
                let mut roots = RootCertStore::empty();
                for cert in certificates(pem).map_err(wrong)? {
                    roots.add(cert).map_err(|error| wrong(error.to_string()))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                // Who shows none to the API may still have a token, or only look.
                let verifier = if self.of.clients_must { verifier } else { verifier.allow_unauthenticated() };
                let verifier = verifier.build().map_err(|error| wrong(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
            _ => builder.with_no_client_auth(),
        };
        let chain = certificates(&contents.cert).map_err(|reason| BadTls::File {
            path: self.cert.clone(),
            flag: self.of.flags[0],
            reason,
        })?;
        let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(|error| BadTls::File {
            path: self.key.clone(),
            flag: self.of.flags[1],
            reason: format!("{error}; it must have one PEM block called PRIVATE KEY, without a passphrase"),
        })?;
        let mut config = builder.with_single_cert(chain, key).map_err(|error| together(error.to_string()))?;
        config.alpn_protocols = vec![self.of.alpn.to_vec()];
        Ok(Arc::new(config))
    }
}

fn read(path: &Path, flag: &'static str) -> Result<Vec<u8>, BadTls> {
    std::fs::read(path).map_err(|error| BadTls::File { path: path.to_owned(), flag, reason: error.to_string() })
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err("it has no PEM block called CERTIFICATE".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(error.to_string()),
    }
}

/// The names in a certificate that rustls has found good: DNS names and URIs.
pub fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(read) = webpki::EndEntityCert::try_from(certificate) else { return Vec::new() };
    read.valid_dns_names().chain(read.valid_uri_names()).map(ToOwned::to_owned).collect()
}
