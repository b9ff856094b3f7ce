//! A kubeconfig that names files, which somebody renews.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::{Api, api::PostParams};
use plimsoll_cluster::Access;
use plimsoll_testkit::{Folder, wait_until};

use crate::cluster::Cluster;

/// Files are looked at every five seconds.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) async fn perform(cluster: &mut Cluster) -> Result<()> {
    let folder = Folder::new("renewed")?;
    let (certificate, key) = (folder.join("user.crt"), folder.join("user.key"));
    let copy = |name: &str| -> Result<()> {
        let (from_certificate, from_key) = cluster.server.certificate(name);
        fs::copy(from_certificate, &certificate)?;
        fs::copy(from_key, &key)?;
        Ok(())
    };
    copy("admin")?;
    let kubeconfig = folder.join("kubeconfig");
    let user = format!("client-certificate: {}, client-key: {}", certificate.display(), key.display());
    fs::write(
        &kubeconfig,
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
             clusters: [{{name: test, cluster: {{server: '{}', certificate-authority: {}}}}}]\n\
             users: [{{name: test, user: {{{user}}}}}]\n\
             contexts: [{{name: test, context: {{cluster: test, user: test}}}}]\n",
            cluster.server.url(),
            cluster.server.authority().display(),
        ),
    )?;
    let client = Access { kubeconfig: Some(kubeconfig) }.client().await?;
    ensure!(who_am_i(&client).await? == "admin");
    // Half of what is to come, for a while: what was there before is used.
    fs::write(&certificate, "-----BEGIN CERTIFICATE-----\n")?;
    let broken_for = tokio::time::Instant::now();
    while broken_for.elapsed() < Duration::from_secs(6) {
        ensure!(who_am_i(&client).await? == "admin");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    copy("admin-renewed")?;
    wait_until("the renewed certificate is shown", LIMIT, async || {
        let name = who_am_i(&client).await?;
        ensure!(name == "admin-renewed", "it is still {name}");
        Ok(())
    })
    .await
}

/// Whom the API server takes the client for.
async fn who_am_i(client: &kube::Client) -> Result<String> {
    let asked = Api::<SelfSubjectReview>::all(client.clone());
    let said = asked.create(&PostParams::default(), &SelfSubjectReview::default()).await?;
    said.status.and_then(|status| status.user_info).and_then(|user| user.username).context("it has a name")
}
