//! How KEDA reaches the scaler.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use crate::rest::tls::{BadTls, Files, Listener, Tls};

/// The scaler's listener.
const SCALER: Listener = Listener {
    name: "scaler",
    flags: ["--scaler-tls-cert", "--scaler-tls-key", "--scaler-client-ca"],
    clients_must: true,
    alpn: b"h2",
};

/// Settings of the scaler's listener.
#[derive(Debug, Clone, Default, Args)]
#[group(skip)]
pub struct ScalerConfig {
    /// KEDA's scaler speaks TLS with this certificate and its chain, in PEM form (KEDA's trigger then needs `enableTLS: "true"`). Read
    /// again when it changes.
    #[arg(long, env = "PLIMSOLL_SCALER_TLS_CERT", value_name = "FILE", requires = "scaler_tls_key")]
    pub scaler_tls_cert: Option<PathBuf>,

    /// The private key of --scaler-tls-cert in PEM form.
    #[arg(long, env = "PLIMSOLL_SCALER_TLS_KEY", value_name = "FILE", requires = "scaler_tls_cert")]
    pub scaler_tls_key: Option<PathBuf>,

    /// Authorities in PEM form: only who shows a certificate of theirs is answered (KEDA's `tlsClientCert` and `tlsClientKey`).
    #[arg(long, env = "PLIMSOLL_SCALER_CLIENT_CA", value_name = "FILE", requires = "scaler_tls_cert")]
    pub scaler_client_ca: Option<PathBuf>,
}

impl ScalerConfig {
    /// Reads the files; none where TLS is not asked for.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn tls(&self) -> Result<Option<Arc<Tls>>, BadTls> {
        let (Some(cert), Some(key)) = (&self.scaler_tls_cert, &self.scaler_tls_key) else { return Ok(None) };
        let client_ca = self.scaler_client_ca.clone();
        let files = Files { cert: cert.clone(), key: key.clone(), client_ca, of: &SCALER };
        Ok(Some(Arc::new(Tls::read(files)?)))
    }
}
