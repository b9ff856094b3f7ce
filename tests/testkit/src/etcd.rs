//! An etcd of the test's own.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{Folder, Port, Process, tools};

const START_LIMIT: Duration = Duration::from_secs(30);

/// A running etcd of one member. Gone when dropped.
#[derive(Debug)]
pub struct Etcd {
    process: Process,
    programs: PathBuf,
    client: Port,
    peer: Port,
    folder: Folder,
}

impl Etcd {
    /// Starts an etcd; it answers when this returns.
    pub async fn start() -> Result<Self> {
        let programs = tools::installed("etcd/build").await?;
        let (client, peer) = (Port::claim()?, Port::claim()?);
        let folder = Folder::new("etcd")?;
        let process = spawn(&programs, &folder, &client, &peer)?;
        let mut etcd = Self { process, programs, client, peer, folder };
        etcd.ready().await?;
        Ok(etcd)
    }

    /// `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.client.address())
    }

    /// The process: its id, to measure it, and its log.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Runs etcdctl against it, and gives what that prints.
    pub async fn etcdctl(&self, arguments: &[&str]) -> Result<String> {
        let output = tokio::process::Command::new(self.programs.join("etcdctl"))
            .arg(format!("--endpoints={}", self.endpoint()))
            .args(arguments)
            .kill_on_drop(true)
            .output()
            .await
            .context("etcdctl cannot be run")?;
        ensure!(output.status.success(), "etcdctl {arguments:?} failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Kills it (SIGKILL), as an outage would: its ports refuse, its data stays.
    pub fn stop(&mut self) -> Result<()> {
        self.process.kill()?;
        Ok(())
    }

    /// Starts a stopped etcd on the same ports with the same data.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.process = spawn(&self.programs, &self.folder, &self.client, &self.peer)?;
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

    async fn ready(&mut self) -> Result<()> {
        let address = self.client.address();
        self.process.ready(START_LIMIT, async || healthy(&address).await).await
    }
}

async fn healthy(address: &str) -> Result<()> {
    let mut connection = TcpStream::connect(address).await?;
    let request = format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "/health says {answer}");
    Ok(())
}

fn spawn(programs: &Path, folder: &Folder, client: &Port, peer: &Port) -> Result<Process> {
    let (client, peer) = (client.address(), peer.address());
    let mut command = Command::new(programs.join("etcd"));
    command
        .args(["--name", "test"])
        .arg("--data-dir")
        .arg(folder.join("data"))
        .arg(format!("--listen-client-urls=http://{client}"))
        .arg(format!("--advertise-client-urls=http://{client}"))
        .arg(format!("--listen-peer-urls=http://{peer}"))
        .arg(format!("--initial-advertise-peer-urls=http://{peer}"))
        .arg(format!("--initial-cluster=test=http://{peer}"))
        // The data need not survive the machine, only the process.
        .args(["--unsafe-no-fsync", "--log-level=warn"]);
    Process::spawn("etcd", &command, &folder.join("etcd.log"))
}
