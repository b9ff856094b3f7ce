//! The certificates in force, and how they follow their files.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::UnixTime;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::files::pairs_in;
use super::pair::{Pair, Place, certificates, fingerprint, read};
use super::store::Store;
use super::{ClientAuth, TlsConfig, TlsError, TlsMetrics};

/// Between two looks at the files. Reading is what finds out about changes on every file system, links of Kubernetes included.
const EVERY: Duration = Duration::from_secs(3);
/// A certificate that ends this soon is warned of, in seconds: certificates of 90 days are renewed 30 days before their end.
const SOON_S: i64 = 14 * 24 * 3600;
/// How often one that has ended, or ends soon, is warned of.
const WARN_EVERY: Duration = Duration::from_secs(6 * 3600);

/// What clients get, made of files and made anew when these change. A file that is spoilt leaves in force what it held before.
#[derive(Debug)]
pub(crate) struct Certificates {
    config: TlsConfig,
    provider: Arc<CryptoProvider>,
    known: Vec<Known>,
    authorities: Option<Authorities>,
    /// What was wrong at the last look: it is said once.
    problems: BTreeSet<String>,
    tickets: Arc<dyn ProducesTickets>,
    current: Arc<ArcSwap<ServerConfig>>,
    metrics: TlsMetrics,
    warned_at: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Known {
    place: Place,
    fingerprint: u64,
    pair: Pair,
}

/// Who vouches for clients.
#[derive(Debug, Clone)]
struct Authorities {
    fingerprint: u64,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl Certificates {
    /// Reads all files.
    ///
    /// # Errors
    /// Where TLS can't be offered with what they hold. A file that is only one of several is named in the log.
    pub(crate) fn load(config: &TlsConfig, metrics: TlsMetrics) -> Result<Self, TlsError> {
        let provider = config.provider();
        config.named_pair()?;
        let (mut known, mut problems) = (Vec::new(), BTreeSet::new());
        look(config, &provider, &mut known, &mut problems);
        let authorities = config.tls_client_ca.as_deref();
        let authorities = authorities.map(|path| vouching(path, config.tls_client_auth, &provider)).transpose()?;
        let tickets = new_tickets()?;
        say(&problems, &BTreeSet::new());
        let store = Store::new(known.iter().map(|known| &known.pair)).ok_or_else(|| no_pair(config))?;
        let verifier = authorities.as_ref().map(|authorities| authorities.verifier.clone());
        let current = server_config(config, &provider, Arc::new(store), verifier, tickets.clone())?;
        let current = Arc::new(ArcSwap::from_pointee(current));
        let config = config.clone();
        let mut loaded =
            Self { config, provider, known, authorities, problems, tickets, current, metrics, warned_at: None };
        loaded.show();
        Ok(loaded)
    }

    /// Where the newest settings of TLS always are.
    pub(crate) fn current(&self) -> Arc<ArcSwap<ServerConfig>> {
        self.current.clone()
    }

    /// Follows the files until `shutdown` is cancelled.
    pub(crate) async fn follow(mut self, shutdown: CancellationToken) {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = tick.tick() => {}
            }
            // A file system may take its time; a thread of its own waits for it.
            let looked = tokio::task::spawn_blocking(move || {
                self.look_again();
                self
            });
            match looked.await {
                Ok(looked) => self = looked,
                Err(error) => {
                    error!(
                        "certificates are not read again, since reading them failed: {error}; restart the interceptor"
                    );
                    return;
                }
            }
        }
    }

    /// Takes over what has changed in the files.
    fn look_again(&mut self) {
        let (mut known, mut problems) = (self.known.clone(), BTreeSet::new());
        look(&self.config, &self.provider, &mut known, &mut problems);
        if known.is_empty() {
            problems.insert(no_pair(&self.config).to_string());
            known = self.known.clone();
        }
        let mut authorities = self.authorities.clone();
        if let Some(path) = &self.config.tls_client_ca {
            match vouching(path, self.config.tls_client_auth, &self.provider) {
                Ok(now) => authorities = Some(now),
                Err(error) => drop(problems.insert(error.to_string())),
            }
        }
        say(&problems, &self.problems);
        self.problems = problems;
        let others_vouch = fingerprint_of(&authorities) != fingerprint_of(&self.authorities);
        let content = |known: &[Known]| known.iter().map(|k| (k.place.clone(), k.fingerprint)).collect::<Vec<_>>();
        if others_vouch || content(&known) != content(&self.known) {
            self.replace(known, authorities, others_vouch);
        }
        self.show();
    }

    fn replace(&mut self, known: Vec<Known>, authorities: Option<Authorities>, others_vouch: bool) {
        let made = (|| {
            // A session resumed by a ticket is not checked again: those of clients that are trusted no more must end.
            let tickets = if others_vouch { new_tickets()? } else { self.tickets.clone() };
            let store = Store::new(known.iter().map(|known| &known.pair)).ok_or_else(|| no_pair(&self.config))?;
            let verifier = authorities.as_ref().map(|authorities| authorities.verifier.clone());
            let config = server_config(&self.config, &self.provider, Arc::new(store), verifier, tickets.clone())?;
            Ok::<_, TlsError>((config, tickets))
        })();
        match made {
            Ok((config, tickets)) => {
                info!(certificates = known.len(), "certificates have changed");
                self.current.store(Arc::new(config));
                (self.known, self.authorities, self.tickets) = (known, authorities, tickets);
                self.warned_at = None;
            }
            Err(error) => error!("certificates have changed, but the former ones stay in force: {error}"),
        }
    }

    /// Tells Prometheus, and from time to time the log, when certificates end.
    fn show(&mut self) {
        self.metrics.problems.set(i64::try_from(self.problems.len()).unwrap_or(i64::MAX));
        self.metrics.ends.clear();
        for Known { place, pair, .. } in &self.known {
            let path = place.cert.display().to_string();
            self.metrics.ends_at(path, pair.ends_at_s);
        }
        if self.warned_at.is_some_and(|at| at.elapsed() < WARN_EVERY) {
            return;
        }
        self.warned_at = Some(Instant::now());
        let now_s = i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX);
        for Known { place, pair, .. } in &self.known {
            let (path, left_s) = (place.cert.display(), pair.ends_at_s - now_s);
            if left_s <= 0 {
                warn!("the certificate {path} has ended {} days ago: clients refuse it; renew it", -left_s / 86_400);
            } else if left_s < SOON_S {
                warn!("the certificate {path} ends in {} days; renew it", left_s / 86_400);
            }
        }
    }
}

/// Brings `known` up to date with the files. What can't be read or used leaves what was known there, and is a problem.
fn look(config: &TlsConfig, provider: &CryptoProvider, known: &mut Vec<Known>, problems: &mut BTreeSet<String>) {
    let mut before: HashMap<Place, Known> = known.drain(..).map(|known| (known.place.clone(), known)).collect();
    let mut places: Vec<Place> = Vec::new();
    if let Ok(Some((cert, key))) = config.named_pair() {
        places.push(Place { cert, key });
    }
    for folder in &config.tls_cert_dirs {
        match pairs_in(folder) {
            Ok((found, alone)) => {
                places.extend(found);
                problems.extend(alone.iter().map(|cert| {
                    format!("the certificate {} has no key beside it and is not used; put one there", cert.display())
                }));
            }
            Err(error) => {
                problems.insert(error.to_string());
                let mut there: Vec<_> = before.keys().filter(|place| place.cert.starts_with(folder)).cloned().collect();
                there.sort();
                places.extend(there);
            }
        }
    }
    // The pair that is named may lie in one of the folders too, and a folder in another one.
    let mut seen = HashSet::new();
    places.retain(|place| seen.insert(place.clone()));
    for place in places {
        let old = before.remove(&place);
        match read_pair(&place, old.as_ref(), provider) {
            Ok(Some(new)) => known.push(new),
            Ok(None) => known.extend(old),
            Err(error) => {
                let meanwhile = if old.is_some() { "; what it was before is still used" } else { "" };
                problems.insert(format!("{error}{meanwhile}"));
                known.extend(old);
            }
        }
    }
}

/// What is there now; none where it has not changed.
fn read_pair(place: &Place, old: Option<&Known>, provider: &CryptoProvider) -> Result<Option<Known>, TlsError> {
    let (cert, key) = place.read()?;
    let fingerprint = fingerprint(&[&cert, &key]);
    if old.is_some_and(|old| old.fingerprint == fingerprint) {
        return Ok(None);
    }
    let pair = place.pair(&cert, &key, provider)?;
    info!(names = ?pair.names, "the certificate {} is used", place.cert.display());
    Ok(Some(Known { place: place.clone(), fingerprint, pair }))
}

/// Logs the problems that are new, and those that are gone.
fn say(now: &BTreeSet<String>, before: &BTreeSet<String>) {
    for problem in now.difference(before) {
        warn!("{problem}");
    }
    for problem in before.difference(now) {
        info!("mended: {problem}");
    }
}

/// Who vouches for clients' certificates.
fn vouching(path: &Path, auth: ClientAuth, provider: &Arc<CryptoProvider>) -> Result<Authorities, TlsError> {
    let pem = read(path)?;
    let refused = |reason: String| TlsError::Authorities { path: path.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    for cert in certificates(path, &pem)? {
        roots.add(cert).map_err(|error| refused(error.to_string()))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let verifier = match auth {
        ClientAuth::Required => verifier,
        ClientAuth::Optional => verifier.allow_unauthenticated(),
    };
    let verifier = verifier.build().map_err(|error| refused(error.to_string()))?;
    Ok(Authorities { fingerprint: fingerprint(&[&pem]), verifier })
}

fn fingerprint_of(authorities: &Option<Authorities>) -> Option<u64> {
    authorities.as_ref().map(|authorities| authorities.fingerprint)
}

fn no_pair(config: &TlsConfig) -> TlsError {
    let places: Vec<_> =
        config.tls_cert.iter().chain(&config.tls_cert_dirs).map(|path| path.display().to_string()).collect();
    TlsError::NoPair { places: places.join(", ") }
}

/// Tickets let a client that comes again skip most of the handshake, and cost no memory here.
fn new_tickets() -> Result<Arc<dyn ProducesTickets>, TlsError> {
    ring::Ticketer::new().map_err(|error| TlsError::Nothing(error.to_string()))
}

fn server_config(
    config: &TlsConfig,
    provider: &Arc<CryptoProvider>,
    store: Arc<Store>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    tickets: Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&config.versions())
        .map_err(|error| TlsError::Nothing(error.to_string()))?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut server = builder.with_cert_resolver(store);
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    server.ticketer = tickets;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    // Early data may be replayed by whoever has seen it: a request must not come twice.
    server.max_early_data_size = 0;
    Ok(server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_that_is_named_and_lies_in_a_folder_too_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let pair = rcgen::KeyPair::generate().unwrap();
        let cert = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap().self_signed(&pair).unwrap();
        let mut config = crate::config::Config::from_environment().unwrap().tls;
        let paths = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
        std::fs::write(&paths.0, cert.pem()).unwrap();
        std::fs::write(&paths.1, pair.serialize_pem()).unwrap();
        (config.tls_cert, config.tls_key) = (Some(paths.0), Some(paths.1));
        config.tls_cert_dirs = vec![folder.path().to_owned()];
        let (mut known, mut problems) = (Vec::new(), BTreeSet::new());
        for _ in 0..2 {
            look(&config, &config.provider(), &mut known, &mut problems);
            assert_eq!((known.len(), problems.len()), (1, 0), "{problems:?}");
        }
    }
}
