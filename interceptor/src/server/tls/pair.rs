//! One certificate with its private key.

use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use webpki::{EndEntityCert, KeyUsage};

use super::TlsError;

/// Where a pair lies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

/// A certificate that can be shown to clients.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) certified: Arc<CertifiedKey>,
    /// The host names that it is for, in lower case; some begin with `*.`.
    pub(super) names: Vec<String>,
    /// When it ends, in seconds since 1970 UTC.
    pub(super) ends_at_s: i64,
}

impl Place {
    /// The bytes of both files.
    ///
    /// # Errors
    /// Where one can't be read.
    pub(super) fn read(&self) -> Result<(Vec<u8>, Vec<u8>), TlsError> {
        Ok((read(&self.cert)?, read(&self.key)?))
    }

    /// Makes a pair of what the files hold.
    ///
    /// # Errors
    /// Where it is no certificate, no key, or the two do not belong together.
    pub(super) fn pair(&self, cert: &[u8], key: &[u8], provider: &CryptoProvider) -> Result<Pair, TlsError> {
        let chain = certificates(&self.cert, cert)?;
        let (names, ends_at_s) = describe(&self.cert, &chain)?;
        let key = private_key(&self.key, key)?;
        let mismatch = |reason| TlsError::Mismatch { cert: self.cert.clone(), key: self.key.clone(), reason };
        let certified = CertifiedKey::from_der(chain, key, provider).map_err(mismatch)?;
        Ok(Pair { certified: Arc::new(certified), names, ends_at_s })
    }
}

/// A file's bytes.
///
/// # Errors
/// Where it can't be read.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })
}

/// Tells one content from another.
pub(crate) fn fingerprint(contents: &[&[u8]]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for content in contents {
        hasher.write_usize(content.len());
        hasher.write(content);
    }
    hasher.finish()
}

/// All certificates of a file.
///
/// # Errors
/// Where it has none, or one is spoilt.
pub(crate) fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let refused = |reason: String| TlsError::NoCertificate { path: path.to_owned(), reason };
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|error| refused(error.to_string()))?;
    if all.is_empty() { Err(refused("it has no such block".to_owned())) } else { Ok(all) }
}

/// The private key of a file.
///
/// # Errors
/// Where it has none.
pub(crate) fn private_key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem)
        .map_err(|error| TlsError::NoKey { path: path.to_owned(), reason: error.to_string() })
}

/// The names of the first certificate of a chain, and when it ends.
fn describe(path: &Path, chain: &[CertificateDer<'_>]) -> Result<(Vec<String>, i64), TlsError> {
    let refused = |reason: String| TlsError::NoCertificate { path: path.to_owned(), reason };
    let own = chain.first().ok_or_else(|| refused("it has no such block".to_owned()))?;
    let own = EndEntityCert::try_from(own).map_err(|error| refused(error.to_string()))?;
    let names = own.valid_dns_names().map(|name| name.trim_end_matches('.').to_ascii_lowercase());
    Ok((names.collect(), ends_at_s(&own).map_err(refused)?))
}

/// When a certificate ends. webpki tells only when it refuses one, so it is asked about a time when all have ended. It looks at
/// the time before it looks for who vouches for the certificate.
fn ends_at_s(cert: &EndEntityCert<'_>) -> Result<i64, String> {
    let far = UnixTime::since_unix_epoch(FAR);
    match cert.verify_for_usage(&[], &[], &[], far, KeyUsage::server_auth(), None, None) {
        Err(webpki::Error::CertExpired { not_after, .. }) => Ok(i64::try_from(not_after.as_secs()).unwrap_or(i64::MAX)),
        Err(error) => Err(error.to_string()),
        Ok(_) => Err("it has no end".to_owned()),
    }
}

/// After the year 9999, the last one that a certificate can name (RFC 5280, section 4.1.2.5).
const FAR: Duration = Duration::from_secs(1 << 40);
