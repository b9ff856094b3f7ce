//! ConfigMaps that stand beside the routes: the bodies of fixed answers, so that a cluster's manifests work as they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::resources::RESPONSE_BODY_LABEL;
use crate::resources::metadata::DEFAULT_NAMESPACE;

/// The names of a ConfigMap: its namespace and its own.
pub(super) type Name = (String, String);

/// A ConfigMap of a route file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ConfigMap {
    pub(super) name: Name,
    /// Its texts by key; none where it lacks the label that allows sending them.
    pub(super) texts: Option<Arc<BTreeMap<String, String>>>,
}

impl ConfigMap {
    /// The ConfigMap of a document; none where it has no name.
    pub(super) fn read(document: &Value) -> Option<Self> {
        let metadata = document.get("metadata")?;
        let name = metadata.get("name")?.as_str()?.to_owned();
        let namespace = metadata.get("namespace").and_then(Value::as_str).unwrap_or(DEFAULT_NAMESPACE).to_owned();
        let label = metadata.get("labels").and_then(|labels| labels.get(RESPONSE_BODY_LABEL));
        let texts = (label.and_then(Value::as_str) == Some("true")).then(|| {
            let data = document.get("data").and_then(Value::as_object);
            let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
            Arc::new(data.into_iter().flatten().filter_map(text).collect())
        });
        Some(Self { name: (namespace, name), texts })
    }

    /// Its texts.
    ///
    /// # Errors
    /// Where it lacks the label, with the remedy.
    pub(super) fn texts(&self) -> Result<Arc<BTreeMap<String, String>>, String> {
        self.texts.clone().ok_or_else(|| {
            let (namespace, name) = &self.name;
            format!("the ConfigMap {namespace}/{name} lacks the label {RESPONSE_BODY_LABEL}: \"true\"; add it")
        })
    }
}
