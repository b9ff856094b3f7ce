//! How the API server is reached: by a kubeconfig, or by the pod's service account.

use std::error::Error;
use std::path::PathBuf;

use clap::Args;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::{AccessError, chain, client};

/// How to reach the Kubernetes API server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[group(skip)]
pub struct Access {
    /// How to reach the Kubernetes API server, where one is needed. Default: as KUBECONFIG or ~/.kube/config say, else by the pod's
    /// service account.
    #[arg(long, env = "PLIMSOLL_KUBECONFIG", value_name = "FILE", help_heading = "Kubernetes")]
    pub kubeconfig: Option<PathBuf>,
}

impl Access {
    /// The settings of a client; `default_namespace` is the kubeconfig's, or the pod's own.
    ///
    /// # Errors
    /// Where the kubeconfig can't be read, or there is none and this is no pod.
    pub async fn config(&self) -> Result<Config, AccessError> {
        let Some(path) = &self.kubeconfig else {
            return Config::infer().await.map_err(|error| AccessError {
                setting: "Kubernetes without --kubeconfig".to_owned(),
                reason: format!("there is no kubeconfig, and this is no pod with a service account: {}", chain(&error)),
            });
        };
        let wrong = |error: &dyn Error| AccessError {
            setting: format!("the kubeconfig {}", path.display()),
            reason: chain(error),
        };
        let file = path.clone();
        let read = tokio::task::spawn_blocking(move || Kubeconfig::read_from(file)).await;
        let read = read.map_err(|error| wrong(&error))?.map_err(|error| wrong(&error))?;
        let options = KubeConfigOptions::default();
        Config::from_custom_kubeconfig(read, &options).await.map_err(|error| wrong(&error))
    }

    /// A client; see [`crate::client`].
    ///
    /// # Errors
    /// Where the kubeconfig or something that it names can't be used. An API server that is away is no error.
    pub async fn client(&self) -> Result<Client, AccessError> {
        client(&self.config().await?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    async fn error(kubeconfig: &str) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), kubeconfig).unwrap();
        let access = Access { kubeconfig: Some(file.path().to_owned()) };
        access.client().await.map(drop).unwrap_err().to_string()
    }

    fn kubeconfig(cluster: &str, user: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:1', {cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
        )
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_kubeconfig_is_named() {
        let missing = Access { kubeconfig: Some("/nowhere/kubeconfig".into()) };
        let said = missing.client().await.map(drop).unwrap_err().to_string();
        assert!(said.contains("/nowhere/kubeconfig"), "{said}");
        for (text, named) in [
            ("clusters: 3".to_owned(), "kubeconfig"),
            (kubeconfig("insecure-skip-tls-verify: true", ""), "insecure-skip-tls-verify"),
            (kubeconfig("", "client-certificate: /nowhere/crt, client-key: /nowhere/key"), "/nowhere/crt"),
            (kubeconfig("", "client-certificate-data: ''"), "client-key"),
        ] {
            let said = error(&text).await;
            assert!(said.contains(named), "{said}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_away_is_no_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), kubeconfig("", "token: secret")).unwrap();
        let access = Access { kubeconfig: Some(file.path().to_owned()) };
        assert_eq!(access.client().await.unwrap().default_namespace(), "default");
    }
}
