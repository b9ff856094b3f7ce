//! `coldStart` and `staticRoutes` of an `InterceptorRoute`, unchecked, and what is made of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Response, RoutingRule};
use crate::resources::{self, Invalid, Overflow, ResponseMode, check};

/// The statuses of answers that name none.
const PLACEHOLDER_STATUS: u16 = 503;
const STATIC_STATUS: u16 = 200;

/// What a client gets while the workload starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{"message": "at least one of 'fallback', 'placeholder' and 'maxPendingRequests' must be set", "rule": "has(self.fallback) || has(self.placeholder) || has(self.maxPendingRequests)"}, {"message": "where 'overflow' is Placeholder 'placeholder' must be set", "rule": "!has(self.overflow) || self.overflow != 'Placeholder' || has(self.placeholder)"}]))]
pub struct ColdStart {
    /// Another service that answers when waiting has taken too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
    /// An answer given at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placeholder: Option<Placeholder>,
    /// Requests that may wait; more are handled by `overflow`. 0 is no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_pending_requests: Option<i32>,
    /// What becomes of a request for which there is no room to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("enum" = ["Reject", "Placeholder"]))]
    pub overflow: Option<Overflow>,
}

/// Another service that answers when waiting has taken too long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fallback {
    /// The service.
    pub service: FallbackService,
}

/// A fallback's service and exactly one of a port's number and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{"message": "exactly one of 'port' and 'portName' must be set", "rule": "has(self.port) != has(self.portName)"}]))]
pub struct FallbackService {
    /// The Service's name.
    #[schemars(length(min = 1))]
    pub name: String,
    /// The port's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// The port's name in the Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub port_name: Option<String>,
}

/// An answer given at once while the workload starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Placeholder {
    /// The answer; its status is 503 where it says none.
    pub response: Response,
}

/// Requests that are answered without the workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StaticRoute {
    /// Which requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("minItems" = 1, "x-kubernetes-list-type" = "atomic"))]
    pub rules: Vec<RoutingRule>,
    /// The answer; its status is 200 where it says none.
    pub response: Response,
    /// When it is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("enum" = ["Always", "WhenUnavailable"], "default" = "WhenUnavailable"))]
    pub response_mode: Option<ResponseMode>,
}

// === impl ColdStart ===

impl ColdStart {
    pub(super) fn checked(&self) -> Result<resources::ColdStart, Invalid> {
        let service = self.fallback.as_ref().map(|fallback| &fallback.service);
        let fallback = service.map(|service| {
            let at = "spec.coldStart.fallback.service";
            check::backend(at, "name", &service.name, service.port, service.port_name.as_deref())
        });
        let placeholder = self
            .placeholder
            .as_ref()
            .map(|placeholder| placeholder.response.checked("spec.coldStart.placeholder.response", PLACEHOLDER_STATUS));
        let max_pending = self.max_pending_requests.map(|bound| {
            let remedy = "write how many requests may wait, or 0 for no bound";
            u32::try_from(bound).map_err(|_| Invalid::value("spec.coldStart.maxPendingRequests", &bound, remedy))
        });
        Ok(resources::ColdStart {
            fallback: fallback.transpose()?,
            placeholder: placeholder.transpose()?,
            max_pending: max_pending.transpose()?,
            overflow: self.overflow.unwrap_or_default(),
        })
    }
}

// === impl StaticRoute ===

impl StaticRoute {
    pub(super) fn checked(routes: &[Self]) -> Result<Vec<resources::StaticRoute>, Invalid> {
        let checked = |(index, route): (usize, &Self)| {
            let at = format!("spec.staticRoutes[{index}]");
            if route.rules.is_empty() {
                let remedy = "write which requests it answers, such as rules: [{paths: [{value: /healthz}]}]";
                return Err(Invalid::missing(format!("{at}.rules"), remedy));
            }
            let rules = route.rules.iter().enumerate();
            Ok(resources::StaticRoute {
                rules: rules
                    .map(|(index, rule)| rule.rule(&format!("{at}.rules[{index}]")))
                    .collect::<Result<_, _>>()?,
                response: route.response.checked(&format!("{at}.response"), STATIC_STATUS)?,
                mode: route.response_mode.unwrap_or_default(),
            })
        };
        routes.iter().enumerate().map(checked).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::resources::interceptor_route::InterceptorRoute;
    use crate::resources::{FixedBody, Invalid, ResponseMode, Workload};

    fn with(fields: &str) -> Result<Workload, Invalid> {
        let spec = "target: {service: a, port: 80}, scalingMetric: {concurrency: {}}";
        let text = format!("{{metadata: {{name: a}}, spec: {{{spec}, {fields}}}}}");
        serde_saphyr::from_str::<InterceptorRoute>(&text).unwrap().workload()
    }

    #[test]
    fn an_answer_that_says_no_status_has_its_kinds_own() {
        let workload = with(
            "coldStart: {placeholder: {response: {}}}, \
             staticRoutes: [{rules: [{}], response: {statusCode: 0}, responseMode: Always}]",
        );
        let workload = workload.unwrap();
        let placeholder = workload.cold_start.placeholder.unwrap();
        assert_eq!((placeholder.status, placeholder.body), (503, FixedBody::default()));
        let route = &workload.static_routes[0];
        assert_eq!((route.response.status, route.mode), (200, ResponseMode::Always));
    }

    #[test]
    fn no_bound_is_said_with_zero() {
        assert_eq!(with("coldStart: {maxPendingRequests: 0}").unwrap().cold_start.max_pending, Some(0));
        assert_eq!(with("coldStart: {}").unwrap().cold_start.max_pending, None);
    }

    #[test]
    fn an_overflow_to_a_placeholder_that_is_not_there_is_noted() {
        let spec = "target: {service: a, port: 80}, scalingMetric: {concurrency: {}}";
        let notes = |cold_start: &str| {
            let text = format!("{{metadata: {{name: a}}, spec: {{{spec}, coldStart: {cold_start}}}}}");
            serde_saphyr::from_str::<InterceptorRoute>(&text).unwrap().spec.without_effect()
        };
        assert_eq!(notes("{overflow: Placeholder}"), ["spec.coldStart.overflow"]);
        assert!(notes("{overflow: Placeholder, placeholder: {response: {}}}").is_empty());
        assert!(notes("{overflow: Reject}").is_empty());
    }

    #[test]
    fn a_bad_answer_is_named_with_its_value_and_the_remedy() {
        let placeholder = |response: &str| format!("coldStart: {{placeholder: {{response: {response}}}}}");
        let long = format!("{{body: {}}}", "x".repeat(32_769));
        for (fields, says) in [
            (placeholder("{statusCode: 100}"), "placeholder.response.statusCode: 100 can't be used; write a final"),
            (placeholder("{statusCode: 600}"), "placeholder.response.statusCode: 600 "),
            (placeholder("{statusCode: -1}"), "placeholder.response.statusCode: -1 "),
            (placeholder("{statusCode: 204, body: x}"), "placeholder.response.statusCode: 204 can't be used; write a"),
            (placeholder(&long), "placeholder.response.body: its 32769 bytes are too many; keep to 32768, or put"),
            (
                placeholder("{body: '', bodyFromConfigMap: {name: a}}"),
                "placeholder.response: both body and bodyFromConfigMap are there",
            ),
            (placeholder("{bodyFromConfigMap: {name: ''}}"), "placeholder.response.bodyFromConfigMap.name: \"\" "),
            (
                placeholder("{headers: {Content-Length: '1'}}"),
                "placeholder.response.headers.Content-Length: \"1\" can't be used; leave it out",
            ),
            (placeholder("{headers: {a b: x}}"), "placeholder.response.headers.a b: \"x\" can't be used; write a name"),
            (placeholder(r#"{headers: {a: "x\r\ny: z"}}"#), r#"placeholder.response.headers.a: "x\r\ny: z" "#),
            (
                placeholder("{headers: {x-a: '1', X-A: '2'}}"),
                "placeholder.response.headers.x-a: \"1\" can't be used; keep one",
            ),
            ("coldStart: {maxPendingRequests: -1}".into(), "maxPendingRequests: -1 can't be used; write how many"),
            ("coldStart: {fallback: {service: {name: a}}}".into(), "fallback.service.port: it is missing"),
            (
                "coldStart: {fallback: {service: {name: 'a:80', port: 1}}}".into(),
                "fallback.service.name: \"a:80\" can't be used",
            ),
        ] {
            let error = with(&fields).expect_err(says).to_string();
            assert!(error.starts_with(&format!("spec.coldStart.{says}")), "{error}");
        }
    }

    #[test]
    fn a_bad_static_route_is_named_with_its_number() {
        let good = "{rules: [{}], response: {}}";
        for (route, says) in [
            ("{response: {}}", "rules: it is missing; write which requests it answers"),
            ("{rules: [{}, {hosts: ['a b']}], response: {}}", "rules[1].hosts[0]: \"a b\" "),
            ("{rules: [{}], response: {statusCode: 99}}", "response.statusCode: 99 "),
        ] {
            let error = with(&format!("staticRoutes: [{good}, {route}]")).expect_err(says).to_string();
            assert!(error.starts_with(&format!("spec.staticRoutes[1].{says}")), "{error}");
        }
    }
}
