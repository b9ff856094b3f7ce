//! The trigger of a ScaledObject: how KEDA finds the managers' scaler, and how it asks it. Pure.

use std::str::FromStr;

use serde_json::{Map, Value, json};

/// In a trigger's `metadata`: what it asks about.
const RESOURCES: [&str; 2] = ["httpScaledObject", "interceptorRoute"];
const TLS: &str = "enableTLS";
/// In a trigger: what gives KEDA the authorities that it trusts, and its own certificate. It is of use with TLS alone.
const AUTHENTICATION: &str = "authenticationRef";
/// The longest name of a Kubernetes object, in bytes.
const NAME_MAX: usize = 253;

/// How KEDA reaches the managers' scaler, which each trigger says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scaler {
    /// A Service's `host:port`.
    pub address: String,
    /// Whether KEDA is to speak TLS to it.
    pub tls: bool,
    /// With TLS: what gives KEDA the authorities to trust, and its own certificate; none leaves that to each ScaledObject.
    pub authentication: Option<AuthenticationRef>,
}

/// The name of a KEDA `TriggerAuthentication`, which is in each ScaledObject's own namespace, or of a
/// `ClusterTriggerAuthentication`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthenticationRef {
    kind: &'static str,
    name: String,
}

/// This is no name of a TriggerAuthentication.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} can't be used; write ClusterTriggerAuthentication/NAME, or the NAME of a TriggerAuthentication that is in each \
     resource's namespace"
)]
pub struct BadAuthenticationRef(String);

impl FromStr for AuthenticationRef {
    type Err = BadAuthenticationRef;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || BadAuthenticationRef(text.to_owned());
        let (kind, name) = text.split_once('/').unwrap_or(("TriggerAuthentication", text));
        let kinds = ["TriggerAuthentication", "ClusterTriggerAuthentication"];
        let kind = kinds.into_iter().find(|known| known.eq_ignore_ascii_case(kind)).ok_or_else(refused)?;
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(allowed) {
            return Err(refused());
        }
        Ok(Self { kind, name: name.to_owned() })
    }
}

/// The trigger that asks about a resource: `key` is one of [`RESOURCES`].
pub(super) fn trigger(scaler: &Scaler, key: &str, name: &str) -> Value {
    let mut metadata = Map::new();
    metadata.insert("scalerAddress".to_owned(), scaler.address.clone().into());
    metadata.insert(key.to_owned(), name.into());
    if scaler.tls {
        metadata.insert(TLS.to_owned(), "true".into());
    }
    let mut trigger = json!({"type": "external-push", "metadata": metadata});
    if let Some(AuthenticationRef { kind, name }) = scaler.authentication.as_ref().filter(|_| scaler.tls) {
        trigger[AUTHENTICATION] = json!({"kind": kind, "name": name});
    }
    trigger
}

/// What is wanted of a ScaledObject, with what others have added to our trigger in the one that is there: its name, say. To the
/// API server all triggers are one value, so what is applied replaces it as a whole.
///
/// What we write ourselves is as it is wanted, or not there at all: TLS that has been switched off leaves nothing behind.
pub(super) fn keeping(wanted: &Value, there: &Value) -> Value {
    let mut kept = wanted.clone();
    let Some(ours) = kept.pointer_mut("/spec/triggers/0") else { return kept };
    let theirs = there["spec"]["triggers"].as_array().and_then(|all| all.iter().find(|other| same(other, ours)));
    let Some(theirs) = theirs else { return kept };
    let tls = ours["metadata"].get(TLS).is_some();
    if let Some(metadata) = ours.get_mut("metadata") {
        let own = |field: &str| field == TLS || field == "scalerAddress" || RESOURCES.contains(&field);
        add(metadata, &theirs["metadata"], own);
    }
    add(ours, theirs, |field| field == AUTHENTICATION && !tls);
    kept
}

/// Whether two triggers ask about the same resource.
fn same(one: &Value, other: &Value) -> bool {
    RESOURCES.iter().all(|key| one["metadata"][key] == other["metadata"][key])
}

/// Adds the fields that are missing, but for some.
fn add(to: &mut Value, from: &Value, except: impl Fn(&str) -> bool) {
    let (Some(to), Some(from)) = (to.as_object_mut(), from.as_object()) else { return };
    for (field, value) in from.iter().filter(|(field, _)| !except(field)) {
        to.entry(field.clone()).or_insert_with(|| value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaler(tls: bool, authentication: Option<&str>) -> Scaler {
        let authentication = authentication.map(|text| text.parse().unwrap());
        Scaler { address: "s:1".to_owned(), tls, authentication }
    }

    fn with(trigger: Value) -> Value {
        json!({"spec": {"triggers": [trigger]}})
    }

    #[test]
    fn keda_speaks_tls_where_the_scaler_does() {
        let plain = trigger(&scaler(false, Some("ca")), "interceptorRoute", "a");
        let metadata = json!({"scalerAddress": "s:1", "interceptorRoute": "a"});
        assert_eq!(plain, json!({"type": "external-push", "metadata": metadata}));
        let tls = trigger(&scaler(true, Some("clustertriggerauthentication/ca")), "httpScaledObject", "a");
        let metadata = json!({"scalerAddress": "s:1", "httpScaledObject": "a", "enableTLS": "true"});
        let authentication = json!({"kind": "ClusterTriggerAuthentication", "name": "ca"});
        assert_eq!(tls, json!({"type": "external-push", "metadata": metadata, "authenticationRef": authentication}));
        let unsaid = trigger(&scaler(true, None), "httpScaledObject", "a");
        assert_eq!((&unsaid["metadata"]["enableTLS"], unsaid.get("authenticationRef")), (&json!("true"), None));
    }

    #[test]
    fn an_authentication_is_named_with_its_kind_or_is_of_the_namespace() {
        let read = |text: &str| text.parse::<AuthenticationRef>().map(|read| (read.kind, read.name));
        assert_eq!(read("ca"), Ok(("TriggerAuthentication", "ca".to_owned())));
        assert_eq!(read("ClusterTriggerAuthentication/ca.x"), Ok(("ClusterTriggerAuthentication", "ca.x".to_owned())));
        for bad in ["", "Secret/ca", "TriggerAuthentication/", "a/b/c", "Upper", "a b"] {
            let error = read(bad).expect_err(bad).to_string();
            assert!(error.starts_with(&format!("{bad:?} ")), "{error}");
        }
    }

    #[test]
    fn what_users_add_to_the_trigger_stays_and_what_is_ours_is_ours() {
        let users = json!({"type": "external", "name": "http", "useCachedMetrics": true, "authenticationRef": {"name": "mine"},
                           "metadata": {"scalerAddress": "old:1", "interceptorRoute": "a", "enableTLS": "true", "unsafeSsl": "true"}});
        let tls = with(trigger(&scaler(true, None), "interceptorRoute", "a"));
        let kept = keeping(&tls, &with(users.clone()))["spec"]["triggers"][0].clone();
        let metadata =
            json!({"scalerAddress": "s:1", "interceptorRoute": "a", "enableTLS": "true", "unsafeSsl": "true"});
        assert_eq!(
            kept,
            json!({"type": "external-push", "name": "http", "useCachedMetrics": true,
                   "authenticationRef": {"name": "mine"}, "metadata": metadata})
        );
        let named = with(trigger(&scaler(true, Some("ours")), "interceptorRoute", "a"));
        assert_eq!(keeping(&named, &with(users.clone()))["spec"]["triggers"][0]["authenticationRef"]["name"], "ours");
        let plain = with(trigger(&scaler(false, None), "interceptorRoute", "a"));
        let kept = keeping(&plain, &with(users))["spec"]["triggers"][0].clone();
        assert!(kept.get("authenticationRef").is_none() && kept["metadata"].get("enableTLS").is_none(), "{kept}");
        assert_eq!(kept["name"], "http");
        let other = json!({"type": "cron", "name": "night", "metadata": {"start": "0 0 * * *"}});
        assert_eq!(keeping(&plain, &with(other)), plain, "another trigger has nothing to do with ours");
        assert_eq!(keeping(&plain, &json!({})), plain);
    }
}
