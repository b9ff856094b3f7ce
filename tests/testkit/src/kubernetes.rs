//! A Kubernetes API server of the test's own, on an etcd of its own.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tokio::{io::AsyncWriteExt, sync::OnceCell};

use crate::{Etcd, Folder, Port, Process, tools};
use credentials::Credentials;

mod credentials;
mod documented;
mod nodes;

pub use documented::documented_rules;
pub use nodes::Nodes;

const START_LIMIT: Duration = Duration::from_secs(120);
/// One call of kubectl: it may find the machine busy, and the server starting.
const KUBECTL_LIMIT: &str = "--request-timeout=60s";

/// A running API server. Gone when dropped, the server before its etcd: without one its end would hang.
#[derive(Debug)]
pub struct ApiServer {
    process: Process,
    etcd: Etcd,
    installed: PathBuf,
    port: Port,
    credentials: Credentials,
    folder: Folder,
}

impl ApiServer {
    /// Starts one, with RBAC; it answers when this returns.
    pub async fn start() -> Result<Self> {
        let installed = tools::installed("kubernetes/build").await?;
        let (etcd, port) = (Etcd::start().await?, Port::claim()?);
        let folder = Folder::new("kubernetes")?;
        let credentials = Credentials::make(folder.path(), &url(&port))?;
        let process = spawn(&installed, &folder, &credentials, &port, &etcd)?;
        let mut server = Self { process, etcd, installed, port, credentials, folder };
        server.ready().await?;
        Ok(server)
    }

    /// The one that all tests of this test program share; the first to ask starts it. It ends with the program. A test that
    /// stops or freezes its server needs one of its own.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<ApiServer> = OnceCell::const_new();
        SHARED.get_or_try_init(Self::start).await
    }

    /// `https://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        url(&self.port)
    }

    /// The kubeconfig of the user who may do everything.
    pub fn kubeconfig(&self) -> PathBuf {
        self.credentials.admin_kubeconfig()
    }

    /// Certificate and key of a user who may do everything: `admin`, whom the kubeconfig names, or `admin-renewed`.
    pub fn certificate(&self, name: &str) -> (PathBuf, PathBuf) {
        self.credentials.certificate(name)
    }

    /// The certificate of the authority that signed the server's.
    pub fn authority(&self) -> PathBuf {
        self.credentials.authority()
    }

    /// The process: its id, to measure it, and its log.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The etcd behind it.
    pub fn etcd(&self) -> &Etcd {
        &self.etcd
    }

    /// The folder with its data, kubeconfigs and logs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs kubectl as the user who may do everything, and gives what it prints.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.run_kubectl(arguments, "").await
    }

    /// Applies a manifest: YAML of one or several objects.
    pub async fn apply(&self, manifest: &str) -> Result<()> {
        self.run_kubectl(&["apply", "-f", "-"], manifest).await.map(drop)
    }

    /// Makes a namespace unless it is there.
    pub async fn namespace(&self, name: &str) -> Result<()> {
        self.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n")).await
    }

    /// Makes a service account that may do what `rules` say (a YAML list of a Role's rules, in flow style or on lines of their own that are indented) in its namespace, and
    /// gives the path of a kubeconfig with a token of it.
    pub async fn service_account(&self, namespace: &str, name: &str, rules: &str) -> Result<PathBuf> {
        self.namespace(namespace).await?;
        self.apply(&format!(
            "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             ---\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             rules: {rules}\n\
             ---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {name}}}\n\
             subjects: [{{kind: ServiceAccount, name: {name}, namespace: {namespace}}}]\n"
        ))
        .await?;
        self.kubeconfig_of(namespace, name).await
    }

    /// The path of a kubeconfig with a token of a service account that is there.
    pub async fn kubeconfig_of(&self, namespace: &str, account: &str) -> Result<PathBuf> {
        let token = self.kubectl(&["create", "token", account, "-n", namespace, "--duration=24h"]).await?;
        self.credentials.token_kubeconfig(&format!("{namespace}-{account}"), token.trim(), &self.url())
    }

    /// Kills the API server (SIGKILL), as an outage would: its port refuses, its data stays, with the etcd that goes on.
    pub fn stop(&mut self) -> Result<()> {
        self.process.kill()?;
        Ok(())
    }

    /// Starts a stopped API server on the same port with the same data.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.process = spawn(&self.installed, &self.folder, &self.credentials, &self.port, &self.etcd)?;
        self.ready().await
    }

    /// Stops it answering while its connections stay open (SIGSTOP).
    pub fn freeze(&self) -> Result<()> {
        self.process.freeze()
    }

    /// Ends a freeze.
    pub fn thaw(&self) -> Result<()> {
        self.process.thaw()
    }

    /// Starts what makes Deployments and StatefulSets real, as far as that goes without machines: the controllers, one node
    /// named `node`, and kwok, which plays its pods: they are ready at once. No scheduler runs: put `nodeName: node` into pod
    /// templates.
    pub async fn nodes(&self) -> Result<Nodes> {
        Nodes::start(self).await
    }

    async fn run_kubectl(&self, arguments: &[&str], input: &str) -> Result<String> {
        kubectl(&self.installed, &self.kubeconfig(), arguments, input).await
    }

    async fn ready(&mut self) -> Result<()> {
        let (installed, kubeconfig) = (self.installed.clone(), self.kubeconfig());
        let ready = async || kubectl(&installed, &kubeconfig, &["get", "--raw=/readyz"], "").await.map(drop);
        self.process.ready(START_LIMIT, ready).await?;
        // What every service account's token is checked against, and what a namespace's admission waits for.
        let there = async || kubectl(&installed, &kubeconfig, &["get", "namespace", "default"], "").await.map(drop);
        self.process.ready(START_LIMIT, there).await
    }
}

fn url(port: &Port) -> String {
    format!("https://{}", port.address())
}

async fn kubectl(installed: &Path, kubeconfig: &Path, arguments: &[&str], input: &str) -> Result<String> {
    let mut child = tokio::process::Command::new(installed.join("bin/kubectl"))
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .arg(KUBECTL_LIMIT)
        .args(arguments)
        // Discovery is cached in the home folder, which is not the test's.
        .env("HOME", kubeconfig.parent().unwrap_or(installed))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("kubectl cannot be run")?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read it says why itself.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let output = child.wait_with_output().await?;
    ensure!(output.status.success(), "kubectl {arguments:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

fn spawn(installed: &Path, folder: &Folder, credentials: &Credentials, port: &Port, etcd: &Etcd) -> Result<Process> {
    let mut command = Command::new(installed.join("bin/kube-apiserver"));
    command
        .arg(format!("--etcd-servers={}", etcd.endpoint()))
        .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"])
        .arg(format!("--secure-port={}", port.number()))
        .args(["--service-cluster-ip-range=10.0.0.0/24", "--authorization-mode=RBAC"])
        .args(credentials.server_flags())
        // Its own keys and certificates would go to /var/run.
        .arg(format!("--cert-dir={}", folder.path().display()));
    Process::spawn("kube-apiserver", &command, &folder.join("kube-apiserver.log"))
}
