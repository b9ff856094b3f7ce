//! TLS where this program is the client: to workloads, and to the collector of traces.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use plimsoll_wire::tls::AnyCertificate;
use prometheus_client::metrics::gauge::Gauge;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::server::tls::{TlsError, certificates, fingerprint, private_key, read};

/// Between two looks at the files.
const EVERY: Duration = Duration::from_secs(3);

/// Whom to trust, and who we are.
#[derive(Debug, Clone)]
pub(crate) struct ClientFiles {
    /// Authorities, in PEM form.
    authorities: Option<PathBuf>,
    /// Whether the system's authorities are trusted too.
    system_roots: bool,
    /// A certificate and its key, shown to who asks for one.
    own: Option<(PathBuf, PathBuf)>,
    /// Whether the other side's certificate is checked at all.
    verify: bool,
}

/// A setting that names a file: its flag, and what it says.
pub(crate) type FileSetting<'a> = (&'static str, Option<&'a Path>);

impl ClientFiles {
    /// These authorities, and the certificate with the key.
    ///
    /// # Errors
    /// Where only one of the last two is named.
    pub(crate) fn new(
        authorities: Option<&Path>,
        (cert_flag, cert): FileSetting<'_>,
        (key_flag, key): FileSetting<'_>,
    ) -> Result<Self, TlsError> {
        let own = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert.to_owned(), key.to_owned())),
            (None, None) => None,
            (Some(_), None) => return Err(TlsError::HalfAPair { given: cert_flag, missing: key_flag }),
            (None, Some(_)) => return Err(TlsError::HalfAPair { given: key_flag, missing: cert_flag }),
        };
        Ok(Self { authorities: authorities.map(Path::to_owned), system_roots: true, own, verify: true })
    }

    /// Whether the system's authorities are trusted.
    pub(crate) fn trusting_system(self, system_roots: bool) -> Self {
        Self { system_roots, ..self }
    }

    /// Whether anybody is.
    pub(crate) fn checking(self, verify: bool) -> Self {
        Self { verify, ..self }
    }

    fn read(&self) -> Result<Contents, TlsError> {
        let own = self.own.as_ref().map(|(cert, key)| Ok::<_, TlsError>((read(cert)?, read(key)?)));
        Ok(Contents { authorities: self.authorities.as_deref().map(read).transpose()?, own: own.transpose()? })
    }

    fn roots(&self, contents: &Contents) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        if self.system_roots {
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                debug!("not all of the system's authorities can be read: {error}");
            }
            let (added, ignored) = roots.add_parsable_certificates(found.certs);
            debug!(added, ignored, "the system's authorities are trusted");
        }
        if let (Some(path), Some(pem)) = (&self.authorities, &contents.authorities) {
            for cert in certificates(path, pem)? {
                let refused =
                    |error: rustls::Error| TlsError::Authorities { path: path.clone(), reason: error.to_string() };
                roots.add(cert).map_err(refused)?;
            }
        }
        Ok(roots)
    }

    fn config(&self, contents: &Contents) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| TlsError::Nothing(error.to_string()))?;
        let builder = if self.verify {
            // Without a single authority nobody is trusted. It is no fault where nobody is asked.
            builder.with_root_certificates(self.roots(contents)?)
        } else {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        };
        match (&self.own, &contents.own) {
            (Some((cert, key)), Some((chain, private))) => {
                let (chain, private) = (certificates(cert, chain)?, private_key(key, private)?);
                let mismatch = |reason| TlsError::Mismatch { cert: cert.clone(), key: key.clone(), reason };
                builder.with_client_auth_cert(chain, private).map_err(mismatch)
            }
            _ => Ok(builder.with_no_client_auth()),
        }
    }
}

/// What the files hold.
struct Contents {
    authorities: Option<Vec<u8>>,
    own: Option<(Vec<u8>, Vec<u8>)>,
}

impl Contents {
    fn fingerprint(&self) -> u64 {
        let (cert, key) = self.own.as_ref().map_or((&[][..], &[][..]), |(cert, key)| (cert, key));
        fingerprint(&[self.authorities.as_deref().unwrap_or_default(), cert, key])
    }
}

/// Settings of TLS that follow their files. One that is spoilt leaves in force what it held before.
#[derive(Debug)]
pub(crate) struct ClientTls {
    files: ClientFiles,
    current: ArcSwap<ClientConfig>,
    seen: Mutex<Seen>,
}

/// The last look at the files.
#[derive(Debug)]
struct Seen {
    in_force: u64,
    /// What was wrong: it is said once.
    problem: Option<String>,
}

impl ClientTls {
    /// Reads the files.
    ///
    /// # Errors
    /// Where one can't be used.
    pub(crate) fn load(files: ClientFiles) -> Result<Self, TlsError> {
        let contents = files.read()?;
        let seen = Mutex::new(Seen { in_force: contents.fingerprint(), problem: None });
        Ok(Self { current: ArcSwap::from_pointee(files.config(&contents)?), files, seen })
    }

    /// What is in force now.
    pub(crate) fn current(&self) -> Arc<ClientConfig> {
        self.current.load_full()
    }

    /// Follows the files until `shutdown` is cancelled. `problems` is 1 while they can't be used as they are.
    pub(crate) async fn follow(self: Arc<Self>, problems: Gauge, shutdown: CancellationToken) {
        if self.files.authorities.is_none() && self.files.own.is_none() {
            return;
        }
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = tick.tick() => {}
            }
            // A file system may take its time; a thread of its own waits for it.
            let followed = self.clone();
            match tokio::task::spawn_blocking(move || followed.look_again()).await {
                Ok(is_well) => drop(problems.set(i64::from(!is_well))),
                Err(error) => {
                    error!("reading certificates failed: {error}; they are not read again: restart the interceptor");
                    return;
                }
            }
        }
    }

    /// Takes over what has changed in the files; whether they can be used.
    fn look_again(&self) -> bool {
        let mut seen = self.seen.lock();
        let made = self.files.read().and_then(|contents| {
            let fingerprint = contents.fingerprint();
            if fingerprint == seen.in_force {
                return Ok(None);
            }
            Ok(Some((fingerprint, self.files.config(&contents)?)))
        });
        let problem = match made {
            Ok(changed) => {
                if let Some((fingerprint, config)) = changed {
                    // Sessions begin anew with it: whoever is trusted no more is not resumed.
                    self.current.store(Arc::new(config));
                    seen.in_force = fingerprint;
                    info!("whom TLS trusts, or what it shows, has changed: {}", self.names());
                }
                None
            }
            Err(error) => Some(error.to_string()),
        };
        if seen.problem != problem {
            match &problem {
                Some(problem) => warn!("{problem}; what was there before stays in force"),
                None => info!("mended: {}", self.names()),
            }
        }
        seen.problem = problem;
        seen.problem.is_none()
    }

    fn names(&self) -> String {
        let own = self.files.own.iter().flat_map(|(cert, key)| [cert, key]);
        let names: Vec<_> = self.files.authorities.iter().chain(own).map(|path| path.display().to_string()).collect();
        names.join(", ")
    }
}
