//! `InterceptorRoute` v1beta1 of `http.keda.sh`, and the [`Workload`] that it describes.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::metadata::Metadata;
use super::status::RouteStatus;
use super::{
    DEFAULT_RATE_WINDOW, DEFAULT_TARGET_VALUE, Invalid, Kind, Overflow, Rule, Scaling, Timeouts, Workload, check,
};

mod cold_start;
mod fixed_response;

pub use cold_start::{ColdStart, Fallback, FallbackService, Placeholder, StaticRoute};
pub use fixed_response::{BodyFromConfigMap, Response};

/// An `InterceptorRoute` as it stands in a file or a cluster, unchecked. Unknown fields are dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterceptorRoute {
    /// Its names and annotations.
    #[serde(default)]
    pub metadata: Metadata,
    /// What its author asks for.
    pub spec: InterceptorRouteSpec,
}

/// What the author of an `InterceptorRoute` asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, CustomResource, JsonSchema)]
#[kube(
    group = "http.keda.sh",
    version = "v1beta1",
    kind = "InterceptorRoute",
    root = "StoredInterceptorRoute",
    namespaced,
    status = "RouteStatus",
    doc = "Requests and the service that they go to, and what its scaling is told.",
    printcolumn = r#"{"name": "TargetService", "type": "string", "jsonPath": ".spec.target.service"}"#,
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct InterceptorRouteSpec {
    /// Where the requests go.
    pub target: Target,
    /// Which requests are the workload's; any one rule suffices, and none matches nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub rules: Vec<RoutingRule>,
    /// What KEDA is told.
    pub scaling_metric: ScalingMetric,
    /// What a client gets while the workload starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cold_start: Option<ColdStart>,
    /// How long requests may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<RouteTimeouts>,
    /// Requests that are answered without the workload.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub static_routes: Vec<StaticRoute>,
}

/// A service and exactly one of a port's number and name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{"message": "exactly one of 'port' and 'portName' must be set", "rule": "has(self.port) != has(self.portName)"}]))]
pub struct Target {
    /// In a cluster a Service of the same namespace; in a route file a host name or an address.
    #[schemars(length(min = 1))]
    pub service: String,
    /// The port's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// The port's name in the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub port_name: Option<String>,
}

/// One alternative of what a workload's requests look like: a host, a path and all headers must match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RoutingRule {
    /// Exact, `*.example.com` or `*`; none is every host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub hosts: Vec<String>,
    /// Prefixes of whole segments; none is every path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub paths: Vec<PathMatch>,
    /// All must match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub headers: Vec<HeaderMatch>,
}

/// A path prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PathMatch {
    /// The prefix.
    #[schemars(length(min = 1))]
    pub value: String,
}

/// A header that a request must have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeaderMatch {
    /// Its name, in any case.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Its whole value; none asks for its presence only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// What a workload scales on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{"message": "at least one of 'concurrency' and 'requestRate' must be set", "rule": "has(self.concurrency) || has(self.requestRate)"}]))]
pub struct ScalingMetric {
    /// Requests in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// Requests per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_rate: Option<RequestRate>,
}

/// Scaling on requests in flight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Concurrency {
    /// Requests in flight for each replica.
    #[serde(default = "default_target_value")]
    #[schemars(range(min = 1))]
    pub target_value: i32,
}

/// Scaling on requests per second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestRate {
    /// Requests per second for each replica.
    #[serde(default = "default_target_value")]
    #[schemars(range(min = 1))]
    pub target_value: i32,
    /// Over what the rate is taken, a Go duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "1m"))]
    pub window: Option<String>,
    /// The add-on's bucket size, a Go duration. Here a rate is per second whatever it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "1s"))]
    pub granularity: Option<String>,
}

fn default_target_value() -> i32 {
    DEFAULT_TARGET_VALUE
}

/// How long requests may take, as Go durations: unset takes the process-wide value, `0s` is off.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteTimeouts {
    /// Waiting for a ready endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<String>,
    /// The whole request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// From the request sent to the response's header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_header: Option<String>,
}

// === impl InterceptorRoute ===

impl InterceptorRoute {
    /// The workload that the resource describes.
    ///
    /// # Errors
    /// The first field that can't be used, with its value and the remedy.
    pub fn workload(&self) -> Result<Workload, Invalid> {
        self.spec.workload(&self.metadata)
    }
}

impl InterceptorRouteSpec {
    /// The workload that a resource with this metadata and this spec describes.
    ///
    /// # Errors
    /// The first field that can't be used, with its value and the remedy.
    pub fn workload(&self, metadata: &Metadata) -> Result<Workload, Invalid> {
        let target = &self.target;
        let rules = self.rules.iter().enumerate();
        let workload = Workload {
            id: metadata.id()?,
            kind: Kind::InterceptorRoute,
            target: check::backend(
                "spec.target",
                "service",
                &target.service,
                target.port,
                target.port_name.as_deref(),
            )?,
            rules: rules.map(|(index, rule)| rule.rule(&format!("spec.rules[{index}]"))).collect::<Result<_, _>>()?,
            scaling: self.scaling_metric.scaling(metadata)?,
            provider: metadata.provider()?,
            timeouts: metadata
                .timeouts(self.timeouts.as_ref().map_or(Ok(Timeouts::default()), RouteTimeouts::timeouts)?)?,
            cold_start: self.cold_start.as_ref().map_or_else(|| Ok(Default::default()), ColdStart::checked)?,
            static_routes: StaticRoute::checked(&self.static_routes)?,
            concurrency_limit: metadata.concurrency_limit()?,
            min_body_rate: metadata.min_body_rate()?,
            affinity: metadata.affinity()?,
            backend_protocol: metadata.backend_protocol()?,
            created: metadata.creation_timestamp.clone(),
        };
        check::combinations("spec.rules", workload.rules.iter())?;
        check::combinations("spec.staticRoutes", workload.static_routes.iter().flat_map(|route| &route.rules))?;
        Ok(workload)
    }

    /// The parts of the resource that are read and not acted upon.
    #[must_use]
    pub fn without_effect(&self) -> Vec<&'static str> {
        let overflow = self.cold_start.as_ref().filter(|cold_start| cold_start.placeholder.is_none());
        match overflow.and_then(|cold_start| cold_start.overflow) {
            // There is no placeholder to overflow to: such requests are rejected.
            Some(Overflow::Placeholder) => vec!["spec.coldStart.overflow"],
            _ => Vec::new(),
        }
    }
}

impl RoutingRule {
    fn rule(&self, at: &str) -> Result<Rule, Invalid> {
        Ok(Rule {
            hosts: check::hosts(&format!("{at}.hosts"), &self.hosts)?,
            paths: check::paths(|index| format!("{at}.paths[{index}].value"), self.paths.iter().map(|p| &*p.value))?,
            headers: HeaderMatch::rules(at, &self.headers)?,
        })
    }
}

impl HeaderMatch {
    /// The rules of a list of headers; `at` is the path of the object that has it.
    pub(super) fn rules(at: &str, headers: &[Self]) -> Result<Vec<super::HeaderRule>, Invalid> {
        let rule = |(index, header): (usize, &Self)| {
            check::header(&format!("{at}.headers[{index}]"), &header.name, header.value.as_deref())
        };
        headers.iter().enumerate().map(rule).collect()
    }
}

impl ScalingMetric {
    fn scaling(&self, metadata: &Metadata) -> Result<Scaling, Invalid> {
        if self.concurrency.is_none() && self.request_rate.is_none() {
            return Err(Invalid::missing(
                "spec.scalingMetric",
                "name concurrency, requestRate or both, with a targetValue",
            ));
        }
        self.targets(metadata)
    }

    /// The targets and windows, whichever metrics are there; no replicas.
    pub(super) fn targets(&self, metadata: &Metadata) -> Result<Scaling, Invalid> {
        const RATE: &str = "spec.scalingMetric.requestRate";
        let target = |field: &str, value| check::target_value(field, value);
        let mut rate_window = DEFAULT_RATE_WINDOW;
        if let Some(rate) = &self.request_rate {
            let window = check::window(&format!("{RATE}.window"), rate.window.as_deref())?;
            rate_window = window.unwrap_or(DEFAULT_RATE_WINDOW);
            check::granularity(&format!("{RATE}.granularity"), rate.granularity.as_deref())?;
        }
        let concurrency = self.concurrency.as_ref();
        let rate = self.request_rate.as_ref();
        Ok(Scaling {
            concurrency_target: concurrency
                .map(|metric| target("spec.scalingMetric.concurrency.targetValue", metric.target_value))
                .transpose()?,
            rate_target: rate.map(|metric| target(&format!("{RATE}.targetValue"), metric.target_value)).transpose()?,
            concurrency_window: metadata.concurrency_window()?,
            rate_window,
            min_replicas: None,
            max_replicas: None,
        })
    }
}

impl RouteTimeouts {
    fn timeouts(&self) -> Result<Timeouts, Invalid> {
        Ok(Timeouts {
            readiness: check::duration("spec.timeouts.readiness", self.readiness.as_deref())?,
            request: check::duration("spec.timeouts.request", self.request.as_deref())?,
            response_header: check::duration("spec.timeouts.responseHeader", self.response_header.as_deref())?,
            ..Timeouts::default()
        })
    }
}

#[cfg(test)]
mod tests;
