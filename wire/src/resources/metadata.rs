//! What both kinds say about themselves: names and Plimsoll's annotations.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check;
use super::{DEFAULT_CONCURRENCY_WINDOW, DEFAULT_PROVIDER, Invalid};
use crate::topic::WorkloadId;

/// The annotation with the window of concurrency, a Go duration of 1 s to 10 min.
pub const CONCURRENCY_WINDOW_ANNOTATION: &str = "plimsoll.io/concurrency-window";
/// The annotation that names where a workload runs.
pub const PROVIDER_ANNOTATION: &str = "plimsoll.io/provider";
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
}
