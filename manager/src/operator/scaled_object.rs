//! What the ScaledObject of a resource should be. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::DynamicObject;
use serde_json::{Map, Value, json};

use super::trigger::{Scaler, trigger};
use super::{GROUP, Which};

/// The add-on's polling interval, in seconds.
const POLLING_INTERVAL_S: u32 = 15;
const ORPHAN: &str = "httpscaledobject.keda.sh/orphan-scaledobject";
const SKIP: &str = "httpscaledobject.keda.sh/skip-scaledobject-creation";
/// On an `InterceptorRoute`: what KEDA should scale.
pub(super) const SCALE_TARGET: &str = "plimsoll.io/scale-target";
/// What kubectl keeps there of the resource itself; on another object it would make kubectl remove fields.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What should become of the ScaledObject that has a resource's name.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Wanted {
    /// It should be so, whatever else is in it.
    So(Value),
    /// There should be none, where it is the resource's own.
    None,
    /// It should stay as it is, and belong to nobody.
    Orphan,
}

impl Wanted {
    /// What it should be, where it should be anything.
    pub(super) fn so(self) -> Option<Value> {
        match self {
            Self::So(value) => Some(value),
            Self::None | Self::Orphan => None,
        }
    }
}

/// What a resource wants.
///
/// # Errors
/// Where the resource's wish can't be read: the field, its value, the remedy.
pub(super) fn wanted(which: Which, object: &DynamicObject, scaler: &Scaler) -> Result<Wanted, String> {
    match which {
        Which::Object => {
            let says = |key: &str| annotation(object, key) == Some("true");
            if says(ORPHAN) {
                return Ok(Wanted::Orphan);
            }
            if says(SKIP) {
                return Ok(Wanted::None);
            }
            Ok(Wanted::So(of_object(object, scaler)))
        }
        Which::Route => match annotation(object, SCALE_TARGET) {
            None => Ok(Wanted::None),
            Some(target) => Ok(Wanted::So(of_route(object, scale_target(target)?, scaler))),
        },
    }
}

/// Whether a ScaledObject is this resource's.
pub(super) fn is_of(scaled: &DynamicObject, which: Which, object: &DynamicObject) -> bool {
    scaled.metadata.owner_references.iter().flatten().any(|owner| owns(owner, which, object))
}

/// The owners that are left when the resource lets go.
pub(super) fn other_owners(scaled: &DynamicObject, which: Which, object: &DynamicObject) -> Vec<OwnerReference> {
    let owners = scaled.metadata.owner_references.iter().flatten();
    owners.filter(|owner| !owns(owner, which, object)).cloned().collect()
}

fn owns(owner: &OwnerReference, which: Which, object: &DynamicObject) -> bool {
    // Not by the uid: of a resource that has been restored from a backup the ScaledObject names the one before.
    is_resource(owner)
        && owner.kind.eq_ignore_ascii_case(which.name())
        && Some(&owner.name) == object.metadata.name.as_ref()
}

/// The owners that are left when another resource lets go that is the controller; none where no other is. The API server takes one
/// controller only, and what another manager has written of its own is not taken back by applying.
pub(super) fn without_another_controller(
    scaled: &DynamicObject,
    object: &DynamicObject,
) -> Option<Vec<OwnerReference>> {
    let owners = scaled.metadata.owner_references.as_ref()?;
    let another = |owner: &OwnerReference| {
        owner.controller == Some(true) && is_resource(owner) && Some(&owner.uid) != object.metadata.uid.as_ref()
    };
    owners.iter().any(another).then(|| owners.iter().filter(|owner| !another(owner)).cloned().collect())
}

/// Whether an owner is a resource of one of the two kinds.
fn is_resource(owner: &OwnerReference) -> bool {
    owner.api_version.split_once('/').is_some_and(|(group, _)| group == GROUP)
}

/// As the add-on makes it.
fn of_object(object: &DynamicObject, scaler: &Scaler) -> Value {
    let spec = &object.data["spec"];
    let mut wanted = Map::new();
    let mut target = Map::new();
    for field in ["apiVersion", "kind", "name"] {
        put(&mut target, field, &spec["scaleTargetRef"][field]);
    }
    wanted.insert("scaleTargetRef".to_owned(), target.into());
    for (field, value) in [
        ("cooldownPeriod", &spec["scaledownPeriod"]),
        ("initialCooldownPeriod", &spec["initialCooldownPeriod"]),
        ("minReplicaCount", &spec["replicas"]["min"]),
        ("maxReplicaCount", &spec["replicas"]["max"]),
    ] {
        put(&mut wanted, field, value);
    }
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let annotations = object.metadata.annotations.clone().unwrap_or_default();
    let annotations = annotations.into_iter().filter(|(key, _)| key != LAST_APPLIED).collect();
    whole(Which::Object, object, annotations, wanted, trigger(scaler, "httpScaledObject", name))
}

/// Replicas and cool-down are for the user to say, in the same ScaledObject: they are no fields of ours.
fn of_route(object: &DynamicObject, target: Value, scaler: &Scaler) -> Value {
    let wanted = Map::from_iter([("scaleTargetRef".to_owned(), target)]);
    let name = object.metadata.name.as_deref().unwrap_or_default();
    whole(Which::Route, object, BTreeMap::new(), wanted, trigger(scaler, "interceptorRoute", name))
}

fn whole(
    which: Which,
    object: &DynamicObject,
    annotations: BTreeMap<String, String>,
    mut spec: Map<String, Value>,
    trigger: Value,
) -> Value {
    let metadata = &object.metadata;
    spec.insert("pollingInterval".to_owned(), POLLING_INTERVAL_S.into());
    spec.insert("advanced".to_owned(), json!({"restoreToOriginalReplicaCount": true}));
    spec.insert("triggers".to_owned(), json!([trigger]));
    let owner = json!({
        "apiVersion": which.api_version(), "kind": which.name(), "name": metadata.name, "uid": metadata.uid,
        "controller": true, "blockOwnerDeletion": true,
    });
    json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {
            "name": metadata.name, "namespace": metadata.namespace,
            "labels": metadata.labels.clone().unwrap_or_default(), "annotations": annotations,
            "ownerReferences": [owner],
        },
        "spec": spec,
    })
}

/// `Deployment/web`, `StatefulSet/web`, or with an API version before it: `argoproj.io/v1alpha1/Rollout/web`.
pub(super) fn scale_target(text: &str) -> Result<Value, String> {
    let refused = || {
        format!(
            "metadata.annotations[{SCALE_TARGET}]: {text:?} can't be used; write kind/name such as deployment/web, or \
             group/version/kind/name"
        )
    };
    let parts: Vec<&str> = text.split('/').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(refused());
    }
    match parts[..] {
        [kind, name] => {
            let known = ["Deployment", "StatefulSet"].into_iter().find(|known| known.eq_ignore_ascii_case(kind));
            let kind = known.ok_or_else(refused)?;
            Ok(json!({"apiVersion": "apps/v1", "kind": kind, "name": name}))
        }
        [group, version, kind, name] => {
            Ok(json!({"apiVersion": format!("{group}/{version}"), "kind": kind, "name": name}))
        }
        _ => Err(refused()),
    }
}

fn put(map: &mut Map<String, Value>, field: &str, value: &Value) {
    // What is not said has KEDA's default.
    if !value.is_null() {
        map.insert(field.to_owned(), value.clone());
    }
}

pub(super) fn annotation<'a>(object: &'a DynamicObject, key: &str) -> Option<&'a str> {
    object.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaler(address: &str) -> Scaler {
        Scaler { address: address.to_owned(), tls: false, authentication: None }
    }

    fn object(annotations: Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "http.keda.sh/v1alpha1", "kind": "HTTPScaledObject",
            "metadata": {"name": "xkcd", "namespace": "comics", "uid": "u-1", "labels": {"team": "a"}, "annotations": annotations},
            "spec": {
                "scaleTargetRef": {"name": "xkcd", "kind": "Deployment", "apiVersion": "apps/v1", "service": "xkcd", "port": 8080},
                "replicas": {"min": 1, "max": 10}, "scaledownPeriod": 300, "initialCooldownPeriod": 10,
            },
        }))
        .unwrap()
    }

    #[test]
    fn an_http_scaled_object_has_the_scaled_object_that_the_add_on_makes() {
        let annotations = json!({"mine": "x", LAST_APPLIED: "{}"});
        let expected = json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
            "metadata": {
                "name": "xkcd", "namespace": "comics", "labels": {"team": "a"}, "annotations": {"mine": "x"},
                "ownerReferences": [{
                    "apiVersion": "http.keda.sh/v1alpha1", "kind": "HTTPScaledObject", "name": "xkcd", "uid": "u-1",
                    "controller": true, "blockOwnerDeletion": true,
                }],
            },
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "xkcd"},
                "pollingInterval": 15, "cooldownPeriod": 300, "initialCooldownPeriod": 10,
                "minReplicaCount": 1, "maxReplicaCount": 10,
                "advanced": {"restoreToOriginalReplicaCount": true},
                "triggers": [{
                    "type": "external-push",
                    "metadata": {"scalerAddress": "scaler.test:9090", "httpScaledObject": "xkcd"},
                }],
            },
        });
        assert_eq!(wanted(Which::Object, &object(annotations), &scaler("scaler.test:9090")), Ok(Wanted::So(expected)));
    }

    #[test]
    fn what_is_not_said_is_left_to_keda() {
        let mut bare = object(json!({}));
        bare.data["spec"] = json!({"scaleTargetRef": {"name": "a", "service": "a", "port": 1}});
        let Ok(Wanted::So(scaled)) = wanted(Which::Object, &bare, &scaler("s:1")) else { panic!("none is wanted") };
        assert_eq!(scaled["spec"]["scaleTargetRef"], json!({"name": "a"}));
        for field in ["minReplicaCount", "maxReplicaCount", "cooldownPeriod", "initialCooldownPeriod"] {
            assert!(scaled["spec"].get(field).is_none(), "{field}");
        }
    }

    #[test]
    fn annotations_orphan_it_or_do_without() {
        let of = |annotations: Value| wanted(Which::Object, &object(annotations), &scaler("s:1"));
        assert_eq!(of(json!({ORPHAN: "true", SKIP: "true"})), Ok(Wanted::Orphan));
        assert_eq!(of(json!({SKIP: "true"})), Ok(Wanted::None));
        assert!(matches!(of(json!({SKIP: "false"})), Ok(Wanted::So(_))));
    }

    #[test]
    fn an_interceptor_route_has_one_where_it_names_its_target() {
        let of = |annotations: Value| wanted(Which::Route, &object(annotations), &scaler("s:1"));
        assert_eq!(of(json!({})), Ok(Wanted::None));
        let Ok(Wanted::So(scaled)) = of(json!({SCALE_TARGET: "deployment/web"})) else { panic!("none is wanted") };
        assert_eq!(
            scaled["spec"]["scaleTargetRef"],
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"})
        );
        assert_eq!(scaled["spec"]["triggers"][0]["metadata"]["interceptorRoute"], "xkcd");
        assert_eq!(scaled["metadata"]["ownerReferences"][0]["kind"], "InterceptorRoute");
        for bad in ["web", "deployment/", "/web", "pod/web", "a/b/c", "a/b/c/d/e", ""] {
            let error = of(json!({SCALE_TARGET: bad})).expect_err(bad);
            assert!(error.starts_with(&format!("metadata.annotations[plimsoll.io/scale-target]: {bad:?} ")), "{error}");
        }
        assert_eq!(scale_target("argoproj.io/v1alpha1/Rollout/web").unwrap()["apiVersion"], "argoproj.io/v1alpha1");
    }

    #[test]
    fn a_scaled_object_is_its_owner_s_whoever_wrote_it() {
        let owner = object(json!({}));
        let scaled = |kind: &str, name: &str| {
            let other = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "other", "uid": "u-2"});
            let ours = json!({"apiVersion": "http.keda.sh/v1alpha1", "kind": kind, "name": name, "uid": "u-9"});
            let metadata = json!({"name": "xkcd", "ownerReferences": [other, ours]});
            serde_json::from_value::<DynamicObject>(json!({"metadata": metadata})).unwrap()
        };
        assert!(is_of(&scaled("HTTPScaledObject", "xkcd"), Which::Object, &owner));
        assert!(!is_of(&scaled("HTTPScaledObject", "other"), Which::Object, &owner));
        assert!(!is_of(&scaled("InterceptorRoute", "xkcd"), Which::Object, &owner));
        let left = other_owners(&scaled("HTTPScaledObject", "xkcd"), Which::Object, &owner);
        assert_eq!(left.iter().map(|owner| &*owner.name).collect::<Vec<_>>(), ["other"]);
    }
    #[test]
    fn a_kind_of_the_same_name_in_another_group_owns_nothing_of_ours() {
        let owner = json!({"apiVersion": "example.com/v1", "kind": "InterceptorRoute", "name": "xkcd", "uid": "u-1"});
        let metadata = json!({"name": "xkcd", "ownerReferences": [owner]});
        let scaled = serde_json::from_value::<DynamicObject>(json!({"metadata": metadata})).unwrap();
        assert!(!is_of(&scaled, Which::Route, &object(json!({}))));
    }

    #[test]
    fn one_resource_at_a_time_is_the_controller() {
        let owner = |group: &str, uid: &str, controller: bool| json!({"apiVersion": format!("{group}/v1"), "kind": "K", "name": "n", "uid": uid, "controller": controller});
        let left = |owners: Value| {
            let scaled = json!({"metadata": {"name": "xkcd", "ownerReferences": owners}});
            let scaled = serde_json::from_value::<DynamicObject>(scaled).unwrap();
            let left = without_another_controller(&scaled, &object(json!({})));
            left.map(|left| left.into_iter().map(|owner| owner.uid).collect::<Vec<_>>())
        };
        let (own, plain) = (owner(GROUP, "u-1", true), owner(GROUP, "u-3", false));
        assert_eq!(left(json!([owner(GROUP, "u-2", true), plain])), Some(vec!["u-3".to_owned()]));
        assert_eq!(left(json!([own, plain])), None);
        assert_eq!(left(json!([owner("example.com", "u-2", true)])), None, "somebody else's is not ours to take off");
    }
}
