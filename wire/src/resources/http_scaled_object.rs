//! `HTTPScaledObject` v1alpha1 of `http.keda.sh`, and the [`Workload`] of the equal `InterceptorRoute`.

use std::time::Duration;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::interceptor_route::{Concurrency, HeaderMatch, ScalingMetric};
use super::metadata::Metadata;
use super::status::ObjectStatus;
use super::{Backend, ColdStart, DEFAULT_TARGET_VALUE, Invalid, Kind, Rule, Scaling, Timeouts, Workload, check};

/// How long a request waits before it goes to the failover service, where the resource doesn't say.
const DEFAULT_FAILOVER_SECONDS: i32 = 30;
/// The path of the failover service.
const FAILOVER: &str = "spec.coldStartTimeoutFailoverRef";

/// An `HTTPScaledObject` as it stands in a file or a cluster, unchecked. Unknown fields are dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpScaledObject {
    /// Its names and annotations.
    #[serde(default)]
    pub metadata: Metadata,
    /// What its author asks for.
    pub spec: HttpScaledObjectSpec,
}

/// What the author of an `HTTPScaledObject` asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomResource, JsonSchema)]
#[kube(
    group = "http.keda.sh",
    version = "v1alpha1",
    kind = "HTTPScaledObject",
    root = "StoredHttpScaledObject",
    shortname = "httpso",
    namespaced,
    status = "ObjectStatus",
    doc = "Requests, the service that they go to, and the workload behind it, which is scaled.",
    printcolumn = r#"{"name": "TargetWorkload", "type": "string", "jsonPath": ".status.targetWorkload"}"#,
    printcolumn = r#"{"name": "TargetService", "type": "string", "jsonPath": ".status.targetService"}"#,
    printcolumn = r#"{"name": "MinReplicas", "type": "integer", "jsonPath": ".spec.replicas.min"}"#,
    printcolumn = r#"{"name": "MaxReplicas", "type": "integer", "jsonPath": ".spec.replicas.max"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct HttpScaledObjectSpec {
    /// Exact, `*.example.com` or `*`; none is every host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Prefixes of whole segments; none is every path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path_prefixes: Vec<String>,
    /// All must match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub headers: Vec<HeaderMatch>,
    /// What is scaled, and where its requests go.
    pub scale_target_ref: ScaleTargetRef,
    /// Another service that answers when waiting has taken too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold_start_timeout_failover_ref: Option<FailoverRef>,
    /// Replicas at least and at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<Replicas>,
    /// Deprecated: requests in flight for each replica, where `scalingMetric` says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_pending_requests: Option<i32>,
    /// Seconds without load before the last replica goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaledown_period: Option<i32>,
    /// Seconds after creation before the first replica may go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_cooldown_period: Option<i32>,
    /// What KEDA is told: at most one metric; concurrency where it says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling_metric: Option<ScalingMetric>,
    /// How long requests may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<ObjectTimeouts>,
}

/// What is scaled, and where its requests go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{"message": "exactly one of 'port' and 'portName' must be set", "rule": "has(self.port) != has(self.portName)"}]))]
pub struct ScaleTargetRef {
    /// The workload's name, such as its Deployment's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its API version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// Its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// In a cluster its Service; in a route file a host name or an address.
    pub service: String,
    /// The port's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
    /// The port's name in the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_name: Option<String>,
}

/// Another service that answers when waiting has taken too long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{"message": "exactly one of 'port' and 'portName' must be set", "rule": "has(self.port) != has(self.portName)"}]))]
pub struct FailoverRef {
    /// The Service's name.
    pub service: String,
    /// The port's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<i32>,
    /// The port's name in the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_name: Option<String>,
    /// Seconds that a request waits before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = 30))]
    pub timeout_seconds: Option<i32>,
}

/// Replicas at least and at most.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Replicas {
    /// At least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<i32>,
    /// At most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<i32>,
}

/// How long requests may take, as Go durations. Unset and `0s` both take the process-wide value, since the add-on's type
/// can't tell them apart: resources it has written say `0s` where nothing was set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectTimeouts {
    /// Waiting for a ready endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition_wait: Option<String>,
    /// From the request sent to the response's header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_header: Option<String>,
}

// === impl HttpScaledObject ===

impl HttpScaledObject {
    /// The workload that the resource describes.
    ///
    /// # Errors
    /// The first field that can't be used, with its value and the remedy.
    pub fn workload(&self) -> Result<Workload, Invalid> {
        self.spec.workload(&self.metadata)
    }
}

impl HttpScaledObjectSpec {
    /// The workload that a resource with this metadata and this spec describes.
    ///
    /// # Errors
    /// The first field that can't be used, with its value and the remedy.
    pub fn workload(&self, metadata: &Metadata) -> Result<Workload, Invalid> {
        let target = &self.scale_target_ref;
        let port_name = target.port_name.as_deref();
        let workload = Workload {
            id: metadata.id()?,
            kind: Kind::HttpScaledObject,
            target: check::backend("spec.scaleTargetRef", "service", &target.service, target.port, port_name)?,
            rules: vec![self.rule()?],
            scaling: self.scaling(metadata)?,
            provider: metadata.provider()?,
            timeouts: metadata.timeouts(self.timeouts()?)?,
            cold_start: ColdStart { fallback: self.fallback()?, ..ColdStart::default() },
            static_routes: Vec::new(),
            concurrency_limit: metadata.concurrency_limit()?,
            min_body_rate: metadata.min_body_rate()?,
            affinity: metadata.affinity()?,
            backend_protocol: metadata.backend_protocol()?,
            created: metadata.creation_timestamp.clone(),
        };
        check::combinations("spec.hosts", workload.rules.iter())?;
        Ok(workload)
    }

    /// The parts of the resource that are read and not acted upon.
    #[must_use]
    pub fn without_effect(&self) -> Vec<&'static str> {
        let parts = [
            (self.scaledown_period.is_some(), "spec.scaledownPeriod"),
            (self.initial_cooldown_period.is_some(), "spec.initialCooldownPeriod"),
        ];
        parts.into_iter().filter_map(|(there, field)| there.then_some(field)).collect()
    }

    fn rule(&self) -> Result<Rule, Invalid> {
        let paths = self.path_prefixes.iter().map(String::as_str);
        Ok(Rule {
            hosts: check::hosts("spec.hosts", &self.hosts)?,
            paths: check::paths(|index| format!("spec.pathPrefixes[{index}]"), paths)?,
            headers: HeaderMatch::rules("spec", &self.headers)?,
        })
    }

    fn scaling(&self, metadata: &Metadata) -> Result<Scaling, Invalid> {
        let said = self.scaling_metric.clone().unwrap_or_default();
        if said.concurrency.is_some() && said.request_rate.is_some() {
            return Err(Invalid::both("spec.scalingMetric", "concurrency", "requestRate"));
        }
        let min_replicas = check::replicas("spec.replicas.min", self.replicas.as_ref().and_then(|r| r.min))?;
        let max_replicas = check::replicas("spec.replicas.max", self.replicas.as_ref().and_then(|r| r.max))?;
        if let (Some(min), Some(max)) = (min_replicas, max_replicas)
            && min > max
        {
            let remedy = format!("write {max}, which is spec.replicas.max, or less");
            return Err(Invalid::value("spec.replicas.min", &min, remedy));
        }
        if said.concurrency.is_some() || said.request_rate.is_some() {
            return Ok(Scaling { min_replicas, max_replicas, ..said.targets(metadata)? });
        }
        let target_value = self.target_pending_requests.unwrap_or(DEFAULT_TARGET_VALUE);
        check::target_value("spec.targetPendingRequests", target_value)?;
        let said = ScalingMetric { concurrency: Some(Concurrency { target_value }), request_rate: None };
        Ok(Scaling { min_replicas, max_replicas, ..said.targets(metadata)? })
    }

    fn fallback(&self) -> Result<Option<Backend>, Invalid> {
        let failover = self.cold_start_timeout_failover_ref.as_ref();
        let backend =
            |to: &FailoverRef| check::backend(FAILOVER, "service", &to.service, to.port, to.port_name.as_deref());
        failover.map(backend).transpose()
    }

    fn timeouts(&self) -> Result<Timeouts, Invalid> {
        let said = self.timeouts.clone().unwrap_or_default();
        let wait = check::duration("spec.timeouts.conditionWait", said.condition_wait.as_deref())?;
        let header = check::duration("spec.timeouts.responseHeader", said.response_header.as_deref())?;
        let or_unset = |limit: Option<Duration>| limit.filter(|limit| !limit.is_zero());
        // As in the add-on, a failover's own time goes before the resource's timeout.
        let failover = self.cold_start_timeout_failover_ref.as_ref().map(|failover| {
            let seconds = failover.timeout_seconds.unwrap_or(DEFAULT_FAILOVER_SECONDS);
            let refused = |_| Invalid::value(format!("{FAILOVER}.timeoutSeconds"), &seconds, "write 1 or more");
            u64::try_from(seconds).map(Duration::from_secs).map_err(refused)
        });
        let failover = failover.transpose()?;
        Ok(Timeouts {
            readiness: or_unset(failover).or(or_unset(wait)),
            request: None,
            response_header: or_unset(header),
            ..Timeouts::default()
        })
    }
}

#[cfg(test)]
mod tests;
