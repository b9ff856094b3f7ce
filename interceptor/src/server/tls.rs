//! TLS to clients.
//!
//! * [`TlsConfig`] is what the operator says: where the certificates are, whom to trust, which versions.
//! * `pair` reads one certificate with its key, `files` finds them all, `store` chooses one by the name that a client asks for.
//! * [`Certificates`] has what is in force now, and follows the files as they change.
//! * [`Door`] brings a client's connection from its first byte to the point where HTTP begins; `underway` says who gives way where too
//!   many come at once.

mod certificates;
mod door;
mod files;
mod metrics;
mod pair;
mod settings;
mod store;
mod underway;

use std::path::PathBuf;

pub(crate) use certificates::Certificates;
pub(crate) use door::{Door, Pass};
pub(crate) use metrics::TlsMetrics;
pub(crate) use pair::{certificates, fingerprint, private_key, read};
pub use settings::{ClientAuth, TlsConfig, TlsVersion};

/// Why TLS can't be offered, or something of it can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file or folder can't be read.
    #[error("can't read {}: {source}; give the path of a readable file in PEM form", path.display())]
    Unreadable {
        /// As given, or as found in a folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file holds no certificate.
    #[error("there is no usable certificate in {}: {reason}; it must have PEM blocks called CERTIFICATE, its own first", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file holds no private key.
    #[error("there is no usable private key in {}: {reason}; it must have one PEM block called PRIVATE KEY, without a passphrase", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A certificate and a key do not belong together.
    #[error("the certificate {} and the key {} can't be used together: {reason}; replace both at once", cert.display(), key.display())]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls says.
        reason: rustls::Error,
    },
    /// One of the two files of a pair is not named.
    #[error("{given} needs {missing} beside it: a certificate is of no use without its key")]
    HalfAPair {
        /// The flag that is there.
        given: &'static str,
        /// The flag that is not.
        missing: &'static str,
    },
    /// Not a single pair can be used; why is in the log.
    #[error(
        "TLS is configured, but there is no usable certificate in {places}; mend what the log names, or leave the TLS flags out"
    )]
    NoPair {
        /// The files and folders that were looked at.
        places: String,
    },
    /// The versions and cipher suites leave nothing to speak.
    #[error("no TLS can be spoken with --tls-min-version, --tls-max-version and --tls-cipher-suites as they are: {0}")]
    Nothing(String),
    /// The authorities that others' certificates are checked against can't be used.
    #[error("the certificates in {} can't be used to check others: {reason}; it must have those of authorities", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}
