//! What the operator says about TLS to clients.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use rustls::crypto::{CryptoProvider, ring};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion, version};
use serde::{Serialize, Serializer};

use super::TlsError;
use crate::config::{addon, on_port, or_addon, some_time};

/// TLS to clients. It is on where `--tls-cert` or `--tls-cert-dirs` is given.
#[derive(Args, Clone, Debug, Serialize)]
#[command(next_help_heading = "TLS to clients")]
#[group(skip)]
pub struct TlsConfig {
    /// Where clients come in over TLS, if there are certificates: HTTP/2 and HTTP/1.1, as ALPN says.
    #[arg(long, env = "PLIMSOLL_PROXY_TLS_LISTEN", value_name = "ADDR:PORT", default_value = on_port("KEDA_HTTP_PROXY_TLS_PORT", 8443))]
    pub proxy_tls_listen: SocketAddr,

    /// A certificate and its chain in PEM form. It is also what a client gets that asks for a name no other certificate has.
    #[arg(long, env = "PLIMSOLL_TLS_CERT", value_name = "FILE", default_values = where_enabled("KEDA_HTTP_PROXY_TLS_CERT_PATH", "/certs/tls.crt"))]
    pub tls_cert: Option<PathBuf>,

    /// The private key of --tls-cert in PEM form.
    #[arg(long, env = "PLIMSOLL_TLS_KEY", value_name = "FILE", default_values = where_enabled("KEDA_HTTP_PROXY_TLS_KEY_PATH", "/certs/tls.key"))]
    pub tls_key: Option<PathBuf>,

    /// Folders of certificates, separated by commas: NAME.crt with NAME.key, or NAME.pem with NAME-key.pem, in them or in
    /// folders inside. Clients get the one that has the name they ask for. Files are read again when they change.
    #[arg(long, env = "PLIMSOLL_TLS_CERT_DIRS", value_name = "DIR,...", value_delimiter = ',',
          default_values = folders_where_enabled())]
    pub tls_cert_dirs: Vec<PathBuf>,

    /// The oldest version of TLS spoken: 1.2 or 1.3.
    #[arg(long, env = "PLIMSOLL_TLS_MIN_VERSION", value_name = "VERSION", default_value = or_addon(&["KEDA_HTTP_PROXY_TLS_MIN_VERSION"], "1.2"))]
    pub tls_min_version: TlsVersion,

    /// The newest version of TLS spoken: 1.2 or 1.3.
    #[arg(long, env = "PLIMSOLL_TLS_MAX_VERSION", value_name = "VERSION", default_value = or_addon(&["KEDA_HTTP_PROXY_TLS_MAX_VERSION"], "1.3"))]
    pub tls_max_version: TlsVersion,

    /// The cipher suites spoken, by their IANA names and separated by commas, the first ones preferred; all of rustls's if unsaid.
    #[arg(long, env = "PLIMSOLL_TLS_CIPHER_SUITES", value_name = "NAME,...", value_delimiter = ',', value_parser = cipher_suite)]
    #[serde(serialize_with = "as_names")]
    pub tls_cipher_suites: Vec<SupportedCipherSuite>,

    /// Authorities in PEM form that clients' certificates are checked against. Without it clients are not asked for one.
    #[arg(long, env = "PLIMSOLL_TLS_CLIENT_CA", value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,

    /// With --tls-client-ca: whether a client without a certificate is refused. A bad certificate always is.
    #[arg(long, env = "PLIMSOLL_TLS_CLIENT_AUTH", value_name = "WHEN", value_enum, default_value = "required")]
    pub tls_client_auth: ClientAuth,

    /// A client must have finished its TLS handshake within this time, or is cut off.
    #[arg(long, env = "PLIMSOLL_TLS_HANDSHAKE_TIMEOUT", value_name = "DURATION", value_parser = some_time, default_value = "10s")]
    pub tls_handshake_timeout: Duration,

    /// TLS handshakes at once. Over it, new connections wait in the system's queue until one is done.
    #[arg(long, env = "PLIMSOLL_TLS_MAX_HANDSHAKES", value_name = "N", default_value = "1024", value_parser = clap::value_parser!(u32).range(1..))]
    pub tls_max_handshakes: u32,
}

/// A version of TLS. Those before 1.2 have been given up (RFC 8996), and rustls does not speak them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 5246.
    V1_2,
    /// RFC 8446.
    V1_3,
}

/// What happens to a client without a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// It is refused.
    Required,
    /// It is served.
    Optional,
}

impl TlsConfig {
    /// Whether TLS is offered.
    pub(crate) fn is_on(&self) -> bool {
        self.tls_cert.is_some() || self.tls_key.is_some() || !self.tls_cert_dirs.is_empty()
    }

    /// The pair that the flags name.
    ///
    /// # Errors
    /// Where they name only one half of it.
    pub(super) fn named_pair(&self) -> Result<Option<(PathBuf, PathBuf)>, TlsError> {
        match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => Ok(Some((cert.clone(), key.clone()))),
            (None, None) => Ok(None),
            (Some(_), None) => Err(TlsError::HalfAPair { given: "--tls-cert", missing: "--tls-key" }),
            (None, Some(_)) => Err(TlsError::HalfAPair { given: "--tls-key", missing: "--tls-cert" }),
        }
    }

    /// The cipher suites, and what else cryptography is made of.
    pub(super) fn provider(&self) -> Arc<CryptoProvider> {
        let mut provider = ring::default_provider();
        if !self.tls_cipher_suites.is_empty() {
            provider.cipher_suites = self.tls_cipher_suites.clone();
        }
        Arc::new(provider)
    }

    /// The versions between the two flags.
    pub(super) fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        let all = [(TlsVersion::V1_3, &version::TLS13), (TlsVersion::V1_2, &version::TLS12)];
        let spoken = self.tls_min_version..=self.tls_max_version;
        all.into_iter().filter(|(version, _)| spoken.contains(version)).map(|(_, version)| version).collect()
    }
}

impl FromStr for TlsVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().trim_start_matches("tls").trim_start_matches('v') {
            "1.2" | "12" => Ok(Self::V1_2),
            "1.3" | "13" => Ok(Self::V1_3),
            _ => Err("write 1.2 or 1.3; nothing older is spoken".to_owned()),
        }
    }
}

impl Serialize for TlsVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        })
    }
}

/// rustls calls the suites of TLS 1.3 `TLS13_...`; their registered names begin with `TLS_`, as all do.
fn iana_name(suite: SupportedCipherSuite) -> String {
    let name = suite.suite().as_str().unwrap_or_default();
    name.strip_prefix("TLS13_").map_or_else(|| name.to_owned(), |rest| format!("TLS_{rest}"))
}

fn as_names<S: Serializer>(suites: &[SupportedCipherSuite], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(suites.iter().copied().map(iana_name))
}

fn cipher_suite(name: &str) -> Result<SupportedCipherSuite, String> {
    let all = ring::ALL_CIPHER_SUITES;
    all.iter().copied().find(|suite| iana_name(*suite).eq_ignore_ascii_case(name.trim())).ok_or_else(|| {
        let names: Vec<_> = all.iter().copied().map(iana_name).collect();
        format!("write some of {}", names.join(", "))
    })
}

/// The add-on's variable, or its default, where the add-on's TLS is switched on.
fn where_enabled(name: &str, default: &'static str) -> Vec<&'static str> {
    if addon_enabled() { vec![or_addon(&[name], default)] } else { Vec::new() }
}

fn folders_where_enabled() -> Vec<&'static str> {
    let folders = if addon_enabled() { or_addon(&["KEDA_HTTP_PROXY_TLS_CERT_STORE_PATHS"], "") } else { "" };
    folders.split(',').map(str::trim).filter(|folder| !folder.is_empty()).collect()
}

fn addon_enabled() -> bool {
    let value = addon(&["KEDA_HTTP_PROXY_TLS_ENABLED"]);
    // What Go's strconv.ParseBool takes for true.
    value.is_some_and(|value| ["1", "t", "T", "TRUE", "true", "True"].contains(&value.trim()))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Alone {
        #[command(flatten)]
        config: TlsConfig,
    }

    fn parse(arguments: &[&str]) -> Result<TlsConfig, clap::Error> {
        Ok(Alone::try_parse_from(["interceptor"].iter().chain(arguments))?.config)
    }

    #[test]
    fn without_certificates_tls_is_off() {
        let config = parse(&[]).unwrap();
        assert!(!config.is_on());
        assert_eq!(config.proxy_tls_listen.to_string(), "0.0.0.0:8443");
        assert_eq!(config.versions().len(), 2);
        assert!(parse(&["--tls-cert-dirs", "a,b"]).unwrap().is_on());
    }

    #[test]
    fn a_certificate_without_its_key_is_refused() {
        let error = parse(&["--tls-cert", "a.crt"]).unwrap().named_pair().unwrap_err().to_string();
        assert!(error.contains("--tls-key"), "{error}");
    }

    #[test]
    fn versions_and_suites_are_chosen_by_name() {
        let config = parse(&["--tls-min-version", "TLSv1.3", "--tls-cipher-suites", "TLS_AES_128_GCM_SHA256"]).unwrap();
        assert_eq!(config.versions().len(), 1);
        assert_eq!(config.provider().cipher_suites.len(), 1);
        let error = parse(&["--tls-min-version", "1.1"]).err().unwrap().to_string();
        assert!(error.contains("--tls-min-version") && error.contains("1.2 or 1.3"), "{error}");
        let error = parse(&["--tls-cipher-suites", "RC4"]).err().unwrap().to_string();
        assert!(error.contains("RC4") && error.contains("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"), "{error}");
    }
}
