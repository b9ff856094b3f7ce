//! What both kinds say about themselves: names and Plimsoll's annotations.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check;
use super::{Affinity, BackendProtocol, DEFAULT_CONCURRENCY_WINDOW, DEFAULT_PROVIDER, Invalid, Timeouts};
use crate::topic::WorkloadId;

/// The annotation with the window of concurrency, a Go duration of 1 s to 10 min.
pub const CONCURRENCY_WINDOW_ANNOTATION: &str = "plimsoll.io/concurrency-window";
/// The annotation that names where a workload runs.
pub const PROVIDER_ANNOTATION: &str = "plimsoll.io/provider";
/// The annotation with the number of requests that one endpoint gets at once, 1 or more.
pub const CONCURRENCY_LIMIT_ANNOTATION: &str = "plimsoll.io/concurrency-limit";
/// The annotation with the least that bodies of requests must bring on the whole, in bytes a second; 0 is no limit.
pub const MIN_BODY_RATE_ANNOTATION: &str = "plimsoll.io/min-body-rate";
/// The annotation that keeps a client at one endpoint: `cookie`.
pub const AFFINITY_ANNOTATION: &str = "plimsoll.io/affinity";
/// The annotation that names the protocol of the endpoints; see [`BackendProtocol::named`].
pub const BACKEND_PROTOCOL_ANNOTATION: &str = "plimsoll.io/backend-protocol";
/// The annotation with the time that making one connection to an endpoint may take, a Go duration.
pub const CONNECT_TIMEOUT_ANNOTATION: &str = "plimsoll.io/connect-timeout";
/// The annotation with the time that may pass between two pieces of a body, a Go duration.
pub const IDLE_TIMEOUT_ANNOTATION: &str = "plimsoll.io/idle-timeout";
/// The namespace of a resource that names none, as `kubectl` has it.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Kubernetes' longest namespace, a DNS label.
const NAMESPACE_MAX: usize = 63;
/// Kubernetes' longest name, a DNS subdomain.
const NAME_MAX: usize = 253;

/// The part of a resource's `metadata` that matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// The resource's name; a resource without one is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its namespace; [`DEFAULT_NAMESPACE`] where it says none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// When the API server took it, RFC 3339; a file rarely says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<String>,
    /// Free text by key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
}

impl Metadata {
    /// The workload's name.
    ///
    /// # Errors
    /// Where the name is missing, or either part is none by Kubernetes' rules.
    pub fn id(&self) -> Result<WorkloadId, Invalid> {
        let namespace = self.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
        let Some(name) = &self.name else {
            return Err(Invalid::missing("metadata.name", "give the resource a name"));
        };
        if namespace.len() > NAMESPACE_MAX || !is_label(namespace) {
            let remedy = "use at most 63 lower-case letters, digits and '-', with a letter or digit at both ends";
            return Err(Invalid::value("metadata.namespace", namespace, remedy));
        }
        if name.len() > NAME_MAX || !name.split('.').all(is_label) {
            let remedy = "use at most 253 lower-case letters, digits, '-' and '.', with a letter or digit at both ends";
            return Err(Invalid::value("metadata.name", name, remedy));
        }
        Ok(WorkloadId::new(namespace, name))
    }

    /// Over what the mean concurrency is taken.
    pub(super) fn concurrency_window(&self) -> Result<Duration, Invalid> {
        let field = annotation_field(CONCURRENCY_WINDOW_ANNOTATION);
        Ok(check::window(&field, self.annotation(CONCURRENCY_WINDOW_ANNOTATION))?.unwrap_or(DEFAULT_CONCURRENCY_WINDOW))
    }

    /// Where the workload runs.
    pub(super) fn provider(&self) -> Result<String, Invalid> {
        let provider = self.annotation(PROVIDER_ANNOTATION).unwrap_or(DEFAULT_PROVIDER);
        // It becomes part of the names of StatefulSets and of metrics' labels.
        if provider.len() > NAMESPACE_MAX || !is_label(provider) {
            let remedy = "use a short name such as aws: lower-case letters, digits and '-'";
            return Err(Invalid::value(annotation_field(PROVIDER_ANNOTATION), provider, remedy));
        }
        Ok(provider.to_owned())
    }

    /// Requests at once that one endpoint gets at most.
    pub(super) fn concurrency_limit(&self) -> Result<Option<NonZeroU32>, Invalid> {
        let limit = self.annotation(CONCURRENCY_LIMIT_ANNOTATION);
        let refused = |text| {
            let remedy = "write how many requests one endpoint gets at once: a whole number of 1 or more";
            Invalid::value(annotation_field(CONCURRENCY_LIMIT_ANNOTATION), text, remedy)
        };
        limit.map(|text| text.parse().map_err(|_| refused(text))).transpose()
    }

    /// Bytes a second that bodies of requests must bring on the whole, where that is said.
    pub(super) fn min_body_rate(&self) -> Result<Option<u32>, Invalid> {
        let rate = self.annotation(MIN_BODY_RATE_ANNOTATION);
        let refused = |text| {
            let remedy = "write how many bytes a body must bring in a second: a whole number, 0 for no limit";
            Invalid::value(annotation_field(MIN_BODY_RATE_ANNOTATION), text, remedy)
        };
        rate.map(|text| text.parse().map_err(|_| refused(text))).transpose()
    }

    /// What keeps a client at one endpoint.
    pub(super) fn affinity(&self) -> Result<Option<Affinity>, Invalid> {
        match self.annotation(AFFINITY_ANNOTATION) {
            None => Ok(None),
            Some("cookie") => Ok(Some(Affinity::Cookie)),
            Some(other) => {
                let remedy = "write cookie, or leave the annotation out";
                Err(Invalid::value(annotation_field(AFFINITY_ANNOTATION), other, remedy))
            }
        }
    }

    /// What the endpoints speak, where that is said.
    pub(super) fn backend_protocol(&self) -> Result<Option<BackendProtocol>, Invalid> {
        let protocol = self.annotation(BACKEND_PROTOCOL_ANNOTATION);
        let refused = |text| {
            let remedy = "write http1, h2c, https or h2";
            Invalid::value(annotation_field(BACKEND_PROTOCOL_ANNOTATION), text, remedy)
        };
        protocol.map(|text| BackendProtocol::named(text).ok_or_else(|| refused(text))).transpose()
    }

    /// The timeouts of a resource, with those that only annotations can say.
    pub(super) fn timeouts(&self, of_spec: Timeouts) -> Result<Timeouts, Invalid> {
        let limit = |key| check::duration(&annotation_field(key), self.annotation(key));
        Ok(Timeouts { connect: limit(CONNECT_TIMEOUT_ANNOTATION)?, idle: limit(IDLE_TIMEOUT_ANNOTATION)?, ..of_spec })
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }
}

fn annotation_field(key: &str) -> String {
    format!("metadata.annotations[{key}]")
}

/// Whether a text is a DNS label, but for its length (RFC 1123).
fn is_label(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(legal) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(namespace: Option<&str>, name: Option<&str>) -> Metadata {
        Metadata { namespace: namespace.map(Into::into), name: name.map(Into::into), ..Metadata::default() }
    }

    #[test]
    fn a_resource_without_a_namespace_is_in_the_default_one() {
        assert_eq!(named(None, Some("hello")).id(), Ok(WorkloadId::new("default", "hello")));
    }

    #[test]
    fn names_are_kubernetes_names() {
        assert_eq!(named(Some("a"), Some("b.c-d")).id(), Ok(WorkloadId::new("a", "b.c-d")));
        let long = "x".repeat(254);
        for name in ["", "A", "a/b", "a..b", ".a", "a.", "-a", "a-", "a b", "ä", &long] {
            let error = named(None, Some(name)).id().expect_err(name);
            assert_eq!(error.field, "metadata.name");
        }
        for namespace in ["", "a.b", "A", "-", &"x".repeat(64)] {
            let error = named(Some(namespace), Some("a")).id().expect_err(namespace);
            assert_eq!(error.field, "metadata.namespace");
        }
        assert!(named(None, None).id().expect_err("no name").to_string().contains("metadata.name: it is missing"));
    }

    #[test]
    fn annotations_name_the_window_and_the_provider() {
        let annotated = |key: &str, value: &str| Metadata {
            annotations: Some(BTreeMap::from([(key.to_owned(), value.to_owned())])),
            ..named(None, Some("hello"))
        };
        let window = |text: &str| annotated(CONCURRENCY_WINDOW_ANNOTATION, text).concurrency_window();
        assert_eq!(window("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(named(None, None).concurrency_window(), Ok(DEFAULT_CONCURRENCY_WINDOW));
        for bad in ["", "5", "999ms", "10m1s", "0s", "-5s"] {
            let error = window(bad).expect_err(bad).to_string();
            assert!(error.contains("metadata.annotations[plimsoll.io/concurrency-window]"), "{error}");
            assert!(error.contains(&format!("{bad:?}")), "{error}");
        }
        assert_eq!(annotated(PROVIDER_ANNOTATION, "aws").provider(), Ok("aws".to_owned()));
        assert_eq!(named(None, None).provider(), Ok("default".to_owned()));
        assert!(annotated(PROVIDER_ANNOTATION, "AWS East").provider().is_err());
    }

    #[test]
    fn annotations_say_how_requests_are_sent_to_the_endpoints() {
        let annotated = |key: &str, value: &str| Metadata {
            annotations: Some(BTreeMap::from([(key.to_owned(), value.to_owned())])),
            ..named(None, Some("hello"))
        };
        let none = named(None, Some("hello"));
        assert_eq!(none.concurrency_limit(), Ok(None));
        assert_eq!(none.min_body_rate(), Ok(None));
        assert_eq!(none.affinity(), Ok(None));
        assert_eq!(none.backend_protocol(), Ok(None));
        assert_eq!(none.timeouts(Timeouts::default()), Ok(Timeouts::default()));

        assert_eq!(annotated(CONCURRENCY_LIMIT_ANNOTATION, "7").concurrency_limit(), Ok(NonZeroU32::new(7)));
        assert_eq!(annotated(MIN_BODY_RATE_ANNOTATION, "0").min_body_rate(), Ok(Some(0)));
        assert_eq!(annotated(AFFINITY_ANNOTATION, "cookie").affinity(), Ok(Some(Affinity::Cookie)));
        for (name, is) in [
            ("http1", BackendProtocol::Http1),
            ("h2c", BackendProtocol::H2c),
            ("kubernetes.io/h2c", BackendProtocol::H2c),
            ("grpc", BackendProtocol::H2c),
            ("https", BackendProtocol::Https),
            ("h2", BackendProtocol::H2),
        ] {
            assert_eq!(annotated(BACKEND_PROTOCOL_ANNOTATION, name).backend_protocol(), Ok(Some(is)), "{name}");
        }
        let of_spec = Timeouts { request: Some(Duration::ZERO), ..Timeouts::default() };
        let timeouts = annotated(CONNECT_TIMEOUT_ANNOTATION, "200ms").timeouts(of_spec);
        assert_eq!(timeouts, Ok(Timeouts { connect: Some(Duration::from_millis(200)), ..of_spec }));
        let timeouts = annotated(IDLE_TIMEOUT_ANNOTATION, "0s").timeouts(of_spec);
        assert_eq!(timeouts, Ok(Timeouts { idle: Some(Duration::ZERO), ..of_spec }));
    }

    #[test]
    fn a_bad_annotation_is_named_with_its_value_and_the_remedy() {
        let says = |key: &str, value: &str, field: &str, remedy: &str| {
            let metadata = Metadata {
                annotations: Some(BTreeMap::from([(key.to_owned(), value.to_owned())])),
                ..named(None, Some("hello"))
            };
            let error = [
                metadata.concurrency_limit().err(),
                metadata.min_body_rate().err(),
                metadata.affinity().err(),
                metadata.backend_protocol().err(),
                metadata.timeouts(Timeouts::default()).err(),
            ];
            let error = error.into_iter().flatten().next().expect(value).to_string();
            assert!(error.starts_with(&format!("metadata.annotations[{field}]: {value:?} ")), "{error}");
            assert!(error.contains(remedy), "{error}");
        };
        for bad in ["0", "-1", "1.5", "", "many", "4294967296"] {
            says(CONCURRENCY_LIMIT_ANNOTATION, bad, "plimsoll.io/concurrency-limit", "a whole number of 1 or more");
        }
        says(MIN_BODY_RATE_ANNOTATION, "slow", "plimsoll.io/min-body-rate", "0 for no limit");
        says(AFFINITY_ANNOTATION, "Cookie", "plimsoll.io/affinity", "write cookie");
        for bad in ["", "HTTP2", "tcp"] {
            says(BACKEND_PROTOCOL_ANNOTATION, bad, "plimsoll.io/backend-protocol", "write http1, h2c, https or h2");
        }
        says(CONNECT_TIMEOUT_ANNOTATION, "5", "plimsoll.io/connect-timeout", "as in 500ms");
        says(IDLE_TIMEOUT_ANNOTATION, "-1s", "plimsoll.io/idle-timeout", "as in 500ms");
    }
}
