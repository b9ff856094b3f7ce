//! Who reaches the REST API, and how.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::guard::Guard;
use super::tls::{API, BadTls, Files, Tls};
use super::tokens::{BadTokens, Tokens};

/// Settings of the REST API.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct RestConfig {
    /// Who may change things over the REST API: lines ROLE:NAME:TOKEN, the role being `read` or `operate`; tokens have 16 letters or
    /// more. Read again when it changes. Without it, and without --api-client-ca, only a listener on loopback takes changes.
    #[arg(long, env = "PLIMSOLL_API_TOKEN_FILE", value_name = "FILE")]
    pub api_token_file: Option<PathBuf>,

    /// Looking needs a token or a client certificate too, also for /metrics; not for the probes.
    #[arg(long, env = "PLIMSOLL_API_READS_NEED_ROLE")]
    pub api_reads_need_role: bool,

    /// The REST API speaks TLS with this certificate and its chain, in PEM form. Read again when it changes.
    #[arg(long, env = "PLIMSOLL_API_TLS_CERT", value_name = "FILE", requires = "api_tls_key")]
    pub api_tls_cert: Option<PathBuf>,

    /// The private key of --api-tls-cert in PEM form.
    #[arg(long, env = "PLIMSOLL_API_TLS_KEY", value_name = "FILE", requires = "api_tls_cert")]
    pub api_tls_key: Option<PathBuf>,

    /// Authorities in PEM form: who shows a certificate of theirs may change things without a token.
    #[arg(long, env = "PLIMSOLL_API_CLIENT_CA", value_name = "FILE", requires = "api_tls_cert")]
    pub api_client_ca: Option<PathBuf>,

    /// The names (DNS names or URIs) in client certificates that may change things; all others may look. Default: all may change things.
    #[arg(
        long,
        env = "PLIMSOLL_API_CLIENT_OPERATORS",
        value_name = "NAME,..",
        value_delimiter = ',',
        requires = "api_client_ca"
    )]
    pub api_client_operators: Vec<String>,

    /// Changes a second that one client may ask for in the long run; ten seconds of it may come at once. More are answered 429.
    #[arg(long, env = "PLIMSOLL_API_WRITES_PER_SECOND", value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub api_writes_per_second: u32,
}

/// Why the API can't be reached as configured.
#[derive(Debug, thiserror::Error)]
pub enum BadAccess {
    /// The tokens are wrong.
    #[error(transparent)]
    Tokens(#[from] BadTokens),
    /// The certificates are wrong.
    #[error(transparent)]
    Tls(#[from] BadTls),
}

/// How the API is reached.
#[derive(Debug)]
pub struct Access {
    pub guard: Guard,
    pub tokens: Option<Arc<Tokens>>,
    pub tls: Option<Arc<Tls>>,
}

impl Access {
    /// Reads what the settings name.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(config: &RestConfig, listener: SocketAddr) -> Result<Self, BadAccess> {
        let tokens = config.api_token_file.as_deref().map(Tokens::read).transpose()?.map(Arc::new);
        let tls = match (&config.api_tls_cert, &config.api_tls_key) {
            (Some(cert), Some(key)) => {
                let client_ca = config.api_client_ca.clone();
                let files = Files { cert: cert.clone(), key: key.clone(), client_ca, of: &API };
                Some(Arc::new(Tls::read(files)?))
            }
            _ => None,
        };
        let mut guard = Guard::new(listener, config.api_writes_per_second);
        guard.tokens.clone_from(&tokens);
        guard.certificates = config.api_client_ca.is_some();
        guard.operators.clone_from(&config.api_client_operators);
        guard.reads_need_role = config.api_reads_need_role;
        Ok(Self { guard, tokens, tls })
    }
}
