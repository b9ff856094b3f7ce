//! The operator's calls to the API server.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::DynamicObject;
use plimsoll_wire::topic::WorkloadId;
use tokio::time::timeout;
use tracing::{debug, info};

use super::Which;
use super::cluster::{resources, scaled_objects};
use super::plan::{self, Change};
use super::verdict::Verdict;

/// One call may take this long.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const NOT_FOUND: u16 = 404;

/// What has been written for a resource.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Its ScaledObject has been applied.
    pub(super) applied: bool,
    /// The generation of which its status tells, and what.
    pub(super) said: Option<(Option<i64>, Verdict)>,
}

/// Calls for one resource.
pub(super) struct Calls {
    pub(super) client: Client,
    pub(super) id: WorkloadId,
}

impl Calls {
    /// Writes all that is to be written.
    ///
    /// # Errors
    /// The first thing that could not be written, and why.
    pub(super) async fn carry_out(
        &self,
        which: Which,
        object: &DynamicObject,
        change: Option<Change>,
        verdict: Verdict,
        written: &mut Written,
    ) -> Result<(), String> {
        let resource =
            Api::<DynamicObject>::namespaced_with(self.client.clone(), &self.id.namespace, &resources(which));
        if let Some(finalizers) = plan::finalizers(object) {
            let patch = Patch::Merge(&finalizers);
            answered(resource.patch(&self.id.name, &PatchParams::default(), &patch)).await?;
            info!("{} {}: took the add-on's finalizer off", which.name(), self.id);
        }
        if object.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let changed = match &change {
            Some(change) => self.change(change).await,
            None => Ok(()),
        };
        let verdict = match &changed {
            Ok(()) => verdict,
            Err(why) => Verdict::failed(why),
        };
        written.applied = changed.is_ok() && matches!(change, Some(Change::Apply { .. }));
        if let Some(status) = plan::status(which, object, &verdict, Timestamp::now()) {
            let patch = Patch::Apply(&status);
            answered(resource.patch_status(&self.id.name, &plan::applying(), &patch)).await?;
            debug!("{} {}: {}: {}", which.name(), self.id, verdict.reason, verdict.message);
            written.said = Some((object.metadata.generation, verdict));
        }
        changed
    }

    async fn change(&self, change: &Change) -> Result<(), String> {
        let scaled = Api::<DynamicObject>::namespaced_with(self.client.clone(), &self.id.namespace, &scaled_objects());
        let name = &self.id.name;
        match change {
            Change::Apply { first, value } => {
                if let Some(first) = first {
                    answered(scaled.patch(name, &PatchParams::default(), &Patch::Merge(first))).await?;
                }
                answered(scaled.patch(name, &plan::applying(), &Patch::Apply(value))).await
            }
            Change::Merge(value) => answered(scaled.patch(name, &PatchParams::default(), &Patch::Merge(value))).await,
            Change::Delete { uid } => {
                let this_one = Preconditions { uid: uid.clone(), resource_version: None };
                answered(scaled.delete(name, &DeleteParams::default().preconditions(this_one))).await
            }
        }
    }
}

/// An answer in time. What is not there any more needs no change; for a definition that is not installed that is said.
async fn answered<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<(), String> {
    match timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(kube::Error::Api(status)))
            if status.code == NOT_FOUND && status.details.as_ref().is_some_and(|details| !details.name.is_empty()) =>
        {
            Ok(())
        }
        Ok(Err(kube::Error::Api(status))) => Err(status.message.clone()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", CALL_TIMEOUT.as_secs())),
    }
}
