//! The controllers, and a node that is played.

use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};

use super::ApiServer;
use crate::{Folder, Process, wait_until};

const START_LIMIT: Duration = Duration::from_secs(120);

/// kube-controller-manager and kwok, beside an API server that has to live longer. Gone when dropped.
#[derive(Debug)]
pub struct Nodes {
    kwok: Process,
    controllers: Process,
    _folder: Folder,
}

impl Nodes {
    pub(super) async fn start(server: &ApiServer) -> Result<Self> {
        let folder = Folder::new("nodes")?;
        let kubeconfig = format!("--kubeconfig={}", server.kubeconfig().display());
        let mut controllers = Command::new(server.installed.join("bin/kube-controller-manager"));
        controllers
            .arg(&kubeconfig)
            // Nobody asks it anything, and its port would be the same for all tests.
            .args(["--leader-elect=false", "--secure-port=0", "--concurrent-statefulset-syncs=5"])
            .args(server.credentials.controller_flags());
        let controllers = Process::spawn("kube-controller-manager", &controllers, &folder.join("controllers.log"))?;
        let mut kwok = Command::new(server.installed.join("bin/kwok"));
        kwok.arg(&kubeconfig)
            .args(["--manage-all-nodes=true", "--node-lease-duration-seconds=40", "--cidr=10.99.0.0/24"])
            .env("HOME", folder.path());
        for stage in std::fs::read_dir(server.installed.join("stages"))? {
            kwok.arg(format!("--config={}", stage?.path().display()));
        }
        let kwok = Process::spawn("kwok", &kwok, &folder.join("kwok.log"))?;
        let nodes = Self { kwok, controllers, _folder: folder };
        server
            .apply(
                "apiVersion: v1\nkind: Node\nmetadata: {name: node, annotations: {kwok.x-k8s.io/node: fake}}\n\
                 spec: {providerID: 'kwok://node'}\n",
            )
            .await?;
        wait_until("the node and the default service account are ready", START_LIMIT, async || {
            ensure!(!nodes.kwok.has_ended()?, "{}", nodes.kwok.log_tail());
            ensure!(!nodes.controllers.has_ended()?, "{}", nodes.controllers.log_tail());
            let ready = "jsonpath={.status.conditions[?(@.type=='Ready')].status}";
            let ready = server.kubectl(&["get", "node", "node", "-o", ready]).await?;
            ensure!(ready.trim() == "True", "the node's Ready condition is {ready:?}");
            // The controllers make it; without it the API server refuses pods.
            server.kubectl(&["get", "serviceaccount", "default"]).await.context("no default service account")
        })
        .await?;
        Ok(nodes)
    }

    /// kwok's process.
    pub fn kwok(&self) -> &Process {
        &self.kwok
    }

    /// The controllers' process.
    pub fn controllers(&self) -> &Process {
        &self.controllers
    }
}
