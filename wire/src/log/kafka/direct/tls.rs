//! TLS to brokers, by rustls.
//!
//! Files are read anew for each connection: certificates are replaced while the program runs.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, ClientConfig, Error as TlsError, RootCertStore};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::warn;

use super::address::Address;
use super::failure::Failure;
use super::keys::Keys;
use crate::log::LogError;
use crate::tls::{AnyCertificate, AnyName};

/// What is needed to talk TLS to brokers.
pub(super) struct Tls {
    given: BTreeMap<String, String>,
    /// The last that could be made.
    connector: Mutex<TlsConnector>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads the `ssl.` keys; none where TLS is not `wanted`, but mistakes are told all the same.
    pub(super) fn read(keys: &mut Keys<'_>, wanted: bool) -> Result<Option<Self>, LogError> {
        let connector = Self::make(keys, wanted)?;
        Ok(connector.map(|connector| Self { given: keys.given().clone(), connector: Mutex::new(connector) }))
    }

    fn make(keys: &mut Keys<'_>, wanted: bool) -> Result<Option<TlsConnector>, LogError> {
        let verify = keys.flag("enable.ssl.certificate.verification", true)?;
        let name_key = "ssl.endpoint.identification.algorithm";
        let check_name = match keys.text(&[name_key]) {
            None | Some("https") => true,
            Some("none") => false,
            Some(_) => return Err(keys.bad(name_key, "write https or none")),
        };
        let authorities = authorities(keys)?;
        let identity = identity(keys)?;
        if !wanted {
            return Ok(None);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let builder = versions.map_err(|error| keys.bad("security.protocol", &error.to_string()))?;
        let verifier: Arc<dyn ServerCertVerifier> = if verify {
            let roots = match authorities {
                Some(roots) => roots,
                None => native(keys)?,
            };
            let by_chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
            let by_chain = by_chain.map_err(|error| keys.bad("ssl.ca.location", &error.to_string()))?;
            if check_name { by_chain } else { Arc::new(AnyName(by_chain)) }
        } else {
            Arc::new(AnyCertificate(provider))
        };
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|error| {
                keys.bad("ssl.certificate.location", &format!("it does not go with ssl.key.location: {error}"))
            })?,
        };
        Ok(Some(TlsConnector::from(Arc::new(config))))
    }

    /// Reads the files again. While they don't go together, as in the middle of being replaced, what was read before stands.
    async fn connector(&self) -> TlsConnector {
        let given = self.given.clone();
        let read = spawn_blocking(move || Self::make(&mut Keys::new(&given), true)).await;
        match read {
            Ok(Ok(Some(connector))) => self.connector.lock().clone_from(&connector),
            Ok(Err(error)) => warn!("{error}; what was read before is used on"),
            // Never none where TLS is wanted; and a runtime that ends needs no connection.
            Ok(Ok(None)) | Err(_) => {}
        }
        self.connector.lock().clone()
    }

    /// The handshake.
    pub(super) async fn over(&self, tcp: TcpStream, to: &Address) -> Result<TlsStream<TcpStream>, Failure> {
        let name = ServerName::try_from(to.host.to_string())
            .map_err(|error| Failure::refused(to, "TLS", format!("its name can't be one of a certificate: {error}")))?;
        self.connector().await.connect(name, tcp).await.map_err(|error| {
            explain(to, &error).unwrap_or_else(|| {
                Failure::lost(
                    to,
                    format_args!("TLS: {error}; is its listener one for security.protocol ssl or sasl_ssl?"),
                )
            })
        })
    }
}

/// What a failed read or write over TLS means; none where TLS is not the cause. A broker that does not like our certificate says so
/// after the handshake.
pub(super) fn explain(to: &Address, error: &io::Error) -> Option<Failure> {
    let cause = error.get_ref()?.downcast_ref::<TlsError>()?;
    let remedy = match cause {
        TlsError::InvalidCertificate(_) => {
            "check ssl.ca.location, and that the broker's certificate bears the name in --kafka"
        }
        TlsError::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::AccessDenied,
        ) => {
            "the broker wants a client's certificate that it trusts; check ssl.certificate.location and ssl.key.location"
        }
        TlsError::AlertReceived(_) | TlsError::PeerIncompatible(_) => {
            "the two have no TLS version or cipher in common; for others than TLS 1.2 and 1.3 use --log-client rdkafka"
        }
        _ => return None,
    };
    Some(Failure::refused(to, "TLS", format!("{cause}; {remedy}")))
}

/// The authorities that were named; none where none were.
fn authorities(keys: &mut Keys<'_>) -> Result<Option<RootCertStore>, LogError> {
    let certificates = match keys.text(&["ssl.ca.pem"]) {
        Some(pem) => certificates_of(pem.as_bytes(), "ssl.ca.pem", keys)?,
        None => match keys.text(&["ssl.ca.location"]) {
            None | Some("probe") => return Ok(None),
            Some(path) => certificates_at(Path::new(path), keys)?,
        },
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).map_err(|error| keys.bad("ssl.ca.location", &error.to_string()))?;
    }
    Ok(Some(roots))
}

/// The certificates in a file, or in all files of a folder.
fn certificates_at(path: &Path, keys: &Keys<'_>) -> Result<Vec<CertificateDer<'static>>, LogError> {
    let key = "ssl.ca.location";
    let unreadable = |error: io::Error| keys.bad(key, &format!("{} can't be read: {error}", path.display()));
    if !path.is_dir() {
        let pem = std::fs::read(path).map_err(unreadable)?;
        return certificates_of(&pem, &format!("{key} ({})", path.display()), keys);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        // A folder of certificates has other files, too.
        let pem = std::fs::read(entry.map_err(unreadable)?.path()).unwrap_or_default();
        found.extend(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
    }
    if found.is_empty() {
        return Err(keys.bad(key, &format!("no file in {} has a certificate in PEM", path.display())));
    }
    Ok(found)
}

fn certificates_of(pem: &[u8], what: &str, keys: &Keys<'_>) -> Result<Vec<CertificateDer<'static>>, LogError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(keys.bad(what, "it has no certificate in PEM")),
        Err(error) => Err(keys.bad(what, &format!("it is no PEM: {error}"))),
    }
}

/// What the system trusts.
fn native(keys: &Keys<'_>) -> Result<RootCertStore, LogError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(keys.bad("ssl.ca.location", "it is not set, and the system trusts no authority; name a PEM file"));
    }
    Ok(roots)
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The client's own certificate and key.
fn identity(keys: &mut Keys<'_>) -> Result<Option<Identity>, LogError> {
    if keys.text(&["ssl.key.password"]).is_some() {
        let reason =
            "encrypted keys are not read here; decrypt the key (openssl pkey), or append with --log-client rdkafka";
        return Err(keys.bad("ssl.key.password", reason));
    }
    let certificate = pem(keys, "ssl.certificate.pem", "ssl.certificate.location")?;
    let key = pem(keys, "ssl.key.pem", "ssl.key.location")?;
    match (certificate, key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => {
            let chain = certificates_of(&certificate, "ssl.certificate.location", keys)?;
            let key = PrivateKeyDer::from_pem_slice(&key)
                .map_err(|error| keys.bad("ssl.key.location", &format!("it has no unencrypted key in PEM: {error}")))?;
            Ok(Some((chain, key)))
        }
        (Some(_), None) => Err(keys.bad("ssl.key.location", "it is missing beside ssl.certificate.location")),
        (None, Some(_)) => Err(keys.bad("ssl.certificate.location", "it is missing beside ssl.key.location")),
    }
}

/// The PEM given in one setting, or in the file that another one names.
fn pem(keys: &mut Keys<'_>, inline: &str, location: &str) -> Result<Option<Vec<u8>>, LogError> {
    if let Some(pem) = keys.text(&[inline]) {
        return Ok(Some(pem.as_bytes().to_vec()));
    }
    let Some(path) = keys.text(&[location]) else { return Ok(None) };
    let read = std::fs::read(path);
    read.map(Some).map_err(|error| keys.bad(location, &format!("{path} can't be read: {error}")))
}
