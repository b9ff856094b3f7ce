//! The replicas of a Deployment, set through its scale subresource as KEDA and the HPA do.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{Patch, PatchParams};
use parking_lot::Mutex;
use plimsoll_wire::topic::WorkloadId;
use serde_json::json;

use super::autoscaler;

/// Which Deployment each workload's ScaledObject names.
#[derive(Clone)]
pub(crate) struct Program {
    pub(crate) deployments: Api<Deployment>,
    pub(crate) targets: Arc<Mutex<BTreeMap<WorkloadId, String>>>,
}

/// One workload's.
pub(crate) struct Replicas {
    workload: WorkloadId,
    program: Program,
    /// What was asked for last; the Deployments begin with none.
    asked: usize,
}

impl Replicas {
    /// The interceptor knows the endpoints from the cluster.
    pub(crate) fn new(workload: WorkloadId, program: Program) -> Self {
        Self { workload, program, asked: 0 }
    }
}

#[async_trait]
impl autoscaler::Replicas for Replicas {
    fn count(&self) -> usize {
        self.asked
    }

    async fn scale_to(&mut self, wanted: usize) -> Result<()> {
        let name = self.program.targets.lock().get(&self.workload).cloned();
        let name = name.with_context(|| format!("no ScaledObject says what to scale for {}", self.workload))?;
        let patch = Patch::Merge(json!({"spec": {"replicas": wanted}}));
        self.program.deployments.patch_scale(&name, &PatchParams::default(), &patch).await?;
        self.asked = wanted;
        Ok(())
    }

    /// The controllers look after them.
    async fn look(&mut self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// They stay as they are.
    async fn end(self: Box<Self>) {}
}
