//! The client: kube's, over a TLS of our own.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt as _};
use kube::config::AuthInfo;
use kube::{Client, Config};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use secrecy::ExposeSecret as _;
use tower::ServiceBuilder;
use tracing::warn;

use crate::renewed::Renewed;
use crate::{AccessError, chain};

/// A connection whose other end has vanished without a word is given up after about 30 s; watches are silent for minutes.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_RETRIES: u32 = 3;

/// Sends requests, over connections of its own.
pub type Http = legacy::Client<HttpsConnector<HttpConnector>, Body>;

/// A client. It tries nothing again by itself: whoever calls knows better what, and when, and hurrying a slow server makes it
/// slower. A request has failed when no answer to it has begun for 30 s. A service account's token and a client certificate in files
/// are read again when they are renewed; whom to trust is read once.
///
/// # Errors
/// Where something that the settings name can't be used.
pub fn client(config: &Config) -> Result<Client, AccessError> {
    if let Some(proxy) = &config.proxy_url {
        warn!("the API server is reached directly: the proxy {proxy} is not used");
    }
    let failed = |error: kube::Error| bad("the user of the kubeconfig", &error);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(failed)?)
        .layer(config.extra_headers_layer().map_err(failed)?)
        .service(Renewed::new(Connect::new(config)?, &config.auth_info)?);
    Ok(Client::new(service, config.default_namespace.clone()))
}

/// How connections are made, but for the certificate that is shown.
pub struct Connect {
    connector: HttpConnector,
    roots: RootCertStore,
    /// The server's, where it is not the one of its address.
    name: Option<ServerName<'static>>,
}

impl Connect {
    fn new(config: &Config) -> Result<Self, AccessError> {
        if config.accept_invalid_certs {
            let remedy = "it is not supported: give the cluster's certificate-authority";
            return Err(wrong("insecure-skip-tls-verify", remedy));
        }
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(config.connect_timeout);
        connector.set_nodelay(true);
        connector.set_keepalive(Some(KEEPALIVE));
        connector.set_keepalive_interval(Some(KEEPALIVE / KEEPALIVE_RETRIES));
        connector.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
        let name = config.tls_server_name.clone().map(ServerName::try_from).transpose();
        let name = name.map_err(|error| bad("tls-server-name", &error))?;
        Ok(Self { connector, roots: roots(config)?, name })
    }

    /// What sends requests and shows this.
    ///
    /// # Errors
    /// Where it can't be shown.
    pub fn showing(&self, shown: &Shown) -> Result<Http, AccessError> {
        let https = HttpsConnectorBuilder::new().with_tls_config(self.tls(shown)?).https_or_http();
        let https = match &self.name {
            Some(name) => https.with_server_name_resolver(FixedServerNameResolver::new(name.clone())),
            None => https,
        };
        let https = https.enable_http1().wrap_connector(self.connector.clone());
        Ok(legacy::Client::builder(TokioExecutor::new()).build(https))
    }

    fn tls(&self, shown: &Shown) -> Result<ClientConfig, AccessError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| bad("TLS", &error))?
            .with_root_certificates(self.roots.clone());
        match (&shown.certificate, &shown.key) {
            (Some(certificate), Some(key)) => {
                let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
                let chain = chain.map_err(|error| bad("the client-certificate", &error))?;
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| bad("the client-key", &error))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| bad("the client-certificate", &error))
            }
            (None, None) => Ok(builder.with_no_client_auth()),
            _ => Err(wrong("of client-certificate and client-key one alone", "give both")),
        }
    }
}

/// What a user shows of himself in TLS, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Shown {
    certificate: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
}

impl Shown {
    /// Reads it out of the kubeconfig, or of the files that it names.
    ///
    /// # Errors
    /// Where a file can't be read, or what is in the kubeconfig is no base64.
    pub fn read(user: &AuthInfo) -> Result<Self, AccessError> {
        let certificate = user.client_certificate_data.as_deref();
        let certificate = given("client-certificate", certificate, user.client_certificate.as_deref())?;
        let key = user.client_key_data.as_ref().map(|key| key.expose_secret());
        Ok(Self { certificate, key: given("client-key", key, user.client_key.as_deref())? })
    }

    /// Whether any of it is in a file, which may change.
    pub fn is_in_files(user: &AuthInfo) -> bool {
        let certificate = user.client_certificate_data.is_none() && user.client_certificate.is_some();
        certificate || (user.client_key_data.is_none() && user.client_key.is_some())
    }
}

/// Whom to trust: the cluster's own authority, or else those of the machine or image, as everywhere.
fn roots(config: &Config) -> Result<RootCertStore, AccessError> {
    let mut roots = RootCertStore::empty();
    match &config.root_cert {
        Some(given) => {
            for der in given {
                let added = roots.add(CertificateDer::from(der.clone()));
                added.map_err(|error| bad("the certificate-authority", &error))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(roots)
}

/// What is given in the kubeconfig itself, as base64, or in a file.
fn given(what: &str, data: Option<&str>, file: Option<&str>) -> Result<Option<Vec<u8>>, AccessError> {
    match (data, file) {
        (Some(text), _) => {
            let decoded = STANDARD.decode(text.trim());
            decoded.map(Some).map_err(|error| bad(&format!("{what}-data"), &error))
        }
        (None, Some(path)) => std::fs::read(path).map(Some).map_err(|error| bad(&format!("the {what} {path}"), &error)),
        (None, None) => Ok(None),
    }
}

fn bad(setting: &str, error: &dyn Error) -> AccessError {
    wrong(setting, &chain(error))
}

fn wrong(setting: &str, reason: &str) -> AccessError {
    AccessError { setting: setting.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;
    use crate::renewed::ANSWER_LIMIT;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_takes_connections_and_says_nothing_has_failed_in_time() {
        // What nobody accepts is connected none the less, and as silent as a process that is stopped.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let mut config = Config::new(url.parse().unwrap());
        config.connect_timeout = None;
        let client = client(&config).unwrap();
        let before = Instant::now();
        let asked = tokio::time::timeout(10 * ANSWER_LIMIT, client.apiserver_version()).await;
        let said = chain(&asked.expect("it waits for ever").unwrap_err());
        assert!(said.contains("no answer has begun within 30 s"), "{said}");
        assert!(before.elapsed() >= ANSWER_LIMIT);
    }
}
