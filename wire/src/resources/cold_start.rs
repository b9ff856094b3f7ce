//! What a client gets while its workload has no ready endpoint, and the answers that need no workload at all; validated.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Backend, Rule, Workload};

/// The longest body that stands in a resource itself, in bytes (the add-on's bound).
pub const INLINE_BODY_MAX: usize = 32_768;
/// The label that a ConfigMap must carry, with the value `true`, for its texts to be sent to clients.
pub const RESPONSE_BODY_LABEL: &str = "http.keda.sh/response-body";
/// The key that is sent for the path `/` where the resource names no key.
pub const INDEX_KEY: &str = "index.html";

/// What becomes of requests that come while no endpoint is ready.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColdStart {
    /// Where a request goes that has waited for as long as it may.
    pub fallback: Option<Backend>,
    /// What is answered at once, or where there is no room to wait; see [`ColdStart::holds`].
    pub placeholder: Option<FixedResponse>,
    /// Requests that may wait at one interceptor; none takes the process-wide value, 0 is no bound.
    pub max_pending: Option<u32>,
    /// What becomes of a request for which there is no room to wait.
    pub overflow: Overflow,
}

/// What becomes of a request for which there is no room to wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Overflow {
    /// 503.
    #[default]
    Reject,
    /// The placeholder's response.
    Placeholder,
}

/// An answer that the resource gives itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedResponse {
    /// The HTTP status, 200 to 599.
    pub status: u16,
    /// Header fields: names in lower case, each once, none that frames the message.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: FixedBody,
}

/// The body of a [`FixedResponse`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FixedBody {
    /// As the resource has it; empty where it says none.
    Inline(Arc<str>),
    /// In a ConfigMap of the workload's namespace.
    ConfigMap(ConfigMapBody),
}

/// A body that stands in a ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigMapBody {
    /// The ConfigMap's name.
    pub name: String,
    /// The key in it; where there is none the request's path without its first slash is the key, [`INDEX_KEY`] for `/`.
    pub key: Option<String>,
    /// The ConfigMap's texts by key; none where nobody has supplied them: the body is empty then.
    pub texts: Option<Arc<BTreeMap<String, String>>>,
}

/// Requests of the workload that do not count as its load, and their answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaticRoute {
    /// Which requests: any one rule suffices; never empty.
    pub rules: Vec<Rule>,
    /// Their answer.
    pub response: FixedResponse,
    /// When it is given.
    pub mode: ResponseMode,
}

/// When a static route answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResponseMode {
    /// While the workload has no ready endpoint; else the request goes there, uncounted.
    #[default]
    WhenUnavailable,
    /// Always.
    Always,
}

// === impl ColdStart ===

impl ColdStart {
    /// Whether requests wait for an endpoint. With a placeholder they are answered at once instead, unless the resource
    /// bounds the wait itself and keeps the placeholder for those beyond the bound (the add-on's rule).
    #[must_use]
    pub fn holds(&self) -> bool {
        self.placeholder.is_none() || (self.max_pending.is_some() && self.overflow == Overflow::Placeholder)
    }
}

// === impl FixedBody ===

impl Default for FixedBody {
    fn default() -> Self {
        Self::Inline(Arc::from(""))
    }
}

// === impl ConfigMapBody ===

impl ConfigMapBody {
    /// What is missing of it, in a sentence; `why` there are no texts at all. `at` is the field that has the response.
    fn missing(&self, at: &str, why: impl FnOnce() -> String) -> Option<String> {
        let at = format!("{at}.response.bodyFromConfigMap");
        let Some(texts) = &self.texts else {
            return Some(format!("{at}.name: {} (the body is empty until then)", why()));
        };
        let key = self.key.as_ref().filter(|key| !texts.contains_key(*key))?;
        let name = &self.name;
        Some(format!("{at}.key: {key:?} is not in the ConfigMap {name:?}; add it there (the body is empty until then)"))
    }
}

/// That a cluster has not this ConfigMap, or not for clients.
pub(super) fn no_config_map(namespace: &str, name: &str) -> String {
    format!("there is no ConfigMap {namespace}/{name} with the label {RESPONSE_BODY_LABEL}: \"true\"; add it")
}

// === impl Workload ===

impl Workload {
    /// Hands each answer the texts of the ConfigMap that it takes its body from. `texts` knows them by the ConfigMap's
    /// name in the workload's namespace, or says why there are none.
    ///
    /// Gives what is missing, a sentence each: the ConfigMap or the key in it. The answers concerned have an empty body.
    pub fn supply_bodies<F>(&mut self, texts: F) -> Vec<String>
    where
        F: Fn(&str) -> Result<Arc<BTreeMap<String, String>>, String>,
    {
        let placeholder = self.cold_start.placeholder.iter_mut().map(|p| ("spec.coldStart.placeholder".to_owned(), p));
        let routes = self.static_routes.iter_mut().enumerate();
        let routes = routes.map(|(index, route)| (format!("spec.staticRoutes[{index}]"), &mut route.response));
        let mut missing = Vec::new();
        for (at, response) in placeholder.chain(routes) {
            let FixedBody::ConfigMap(body) = &mut response.body else { continue };
            let given = texts(&body.name);
            body.texts = given.as_ref().ok().cloned();
            missing.extend(body.missing(&at, || given.err().unwrap_or_default()));
        }
        missing
    }

    /// What the answers lack of the texts that have been supplied to them, as [`Workload::supply_bodies`] has told it of a
    /// cluster's ConfigMaps: a sentence each, none where nothing is missing.
    #[must_use]
    pub fn missing_bodies(&self) -> Vec<String> {
        let placeholder = self.cold_start.placeholder.iter().map(|p| ("spec.coldStart.placeholder".to_owned(), p));
        let routes = self.static_routes.iter().enumerate();
        let routes = routes.map(|(index, route)| (format!("spec.staticRoutes[{index}]"), &route.response));
        let missing = |(at, response): (String, &FixedResponse)| {
            let FixedBody::ConfigMap(body) = &response.body else { return None };
            body.missing(&at, || no_config_map(&self.id.namespace, &body.name))
        };
        placeholder.chain(routes).filter_map(missing).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::Port;
    use crate::topic::WorkloadId;

    fn from_config_map(name: &str, key: Option<&str>) -> FixedResponse {
        let body = ConfigMapBody { name: name.into(), key: key.map(Into::into), texts: None };
        FixedResponse { status: 503, headers: vec![], body: FixedBody::ConfigMap(body) }
    }

    #[test]
    fn a_placeholder_answers_at_once_unless_the_wait_is_bounded_and_overflows_to_it() {
        let placeholder = Some(from_config_map("pages", None));
        let with = |placeholder: &Option<FixedResponse>, max_pending, overflow| {
            ColdStart { placeholder: placeholder.clone(), max_pending, overflow, fallback: None }.holds()
        };
        assert!(with(&None, None, Overflow::Reject));
        assert!(with(&None, Some(1), Overflow::Placeholder));
        assert!(!with(&placeholder, None, Overflow::Reject));
        assert!(!with(&placeholder, None, Overflow::Placeholder));
        assert!(!with(&placeholder, Some(1), Overflow::Reject));
        assert!(with(&placeholder, Some(1), Overflow::Placeholder));
    }

    #[test]
    fn a_missing_config_map_or_key_is_named_and_the_others_are_supplied() {
        let target = Backend { service: "a".into(), port: Port::Number(80) };
        let mut workload = Workload::new(WorkloadId::new("default", "a"), target);
        workload.cold_start.placeholder = Some(from_config_map("pages", Some("wait.html")));
        for (name, key) in [("pages", Some("gone.html")), ("nowhere", None), ("pages", None)] {
            let (rules, mode) = (vec![], ResponseMode::Always);
            workload.static_routes.push(StaticRoute { rules, mode, response: from_config_map(name, key) });
        }
        let texts = Arc::new(BTreeMap::from([("wait.html".to_owned(), "wait".to_owned())]));
        let find =
            |name: &str| (name == "pages").then(|| texts.clone()).ok_or(format!("there is no ConfigMap {name:?}"));
        assert_eq!(
            workload.supply_bodies(find),
            [
                "spec.staticRoutes[0].response.bodyFromConfigMap.key: \"gone.html\" is not in the ConfigMap \"pages\"; \
                 add it there (the body is empty until then)",
                "spec.staticRoutes[1].response.bodyFromConfigMap.name: there is no ConfigMap \"nowhere\" \
                 (the body is empty until then)",
            ]
        );
        let told = workload.missing_bodies();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[1].starts_with("spec.staticRoutes[1].response.bodyFromConfigMap.name: there is no ConfigMap default/nowhere with the label"), "{told:?}");
        let supplied = |response: &FixedResponse| match &response.body {
            FixedBody::ConfigMap(body) => body.texts.is_some(),
            FixedBody::Inline(_) => false,
        };
        assert!(supplied(workload.cold_start.placeholder.as_ref().unwrap()));
        assert_eq!(
            workload.static_routes.iter().map(|r| supplied(&r.response)).collect::<Vec<_>>(),
            [true, false, true]
        );
    }
}
