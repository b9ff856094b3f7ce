//! What is to be written for one resource. Pure.

use k8s_openapi::jiff::Timestamp;
use kube::core::DynamicObject;
use plimsoll_wire::resources::ADD_ON_FINALIZER;
use plimsoll_wire::resources::status::Condition;
use serde_json::{Value, json};

use super::cluster::Scaled;
use super::scaled_object::{Wanted, is_of, other_owners, without_another_controller};
use super::trigger::keeping;
use super::verdict::{Verdict, ready_of};
use super::writers::applied_by_us;
use super::{FIELD_MANAGER, Which};

/// What is to be done with a ScaledObject.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    /// It is to be applied.
    Apply {
        /// What it is to be merged with before, where another resource has to let go of it.
        first: Option<Value>,
        /// What it should be.
        value: Value,
    },
    /// It is to be deleted: this very one.
    Delete {
        /// Its uid.
        uid: Option<String>,
    },
    /// It is to be merged with this.
    Merge(Value),
}

/// The change that makes the ScaledObject of a resource what it should be; none where it is. `there` is the one of its name, and
/// `applied` what was wanted when it was applied last, where this manager did so.
pub(super) fn change(
    which: Which,
    object: &DynamicObject,
    wanted: &Wanted,
    there: Option<&Scaled>,
    applied: Option<&Value>,
) -> Option<Change> {
    let ours = there.map(|there| &*there.object).filter(|scaled| is_of(scaled, which, object));
    match wanted {
        Wanted::So(asked) => {
            let before = there.map(|there| json!(*there.object));
            let value = before.as_ref().map_or_else(|| asked.clone(), |before| keeping(asked, before));
            // What we no longer ask for goes only when it is applied anew, so the last application counts as well.
            let same = applied == Some(asked) && before.is_some_and(|before| has(&before, &value));
            (!same).then(|| Change::Apply { first: there.and_then(|there| release(there, object)), value })
        }
        // Most InterceptorRoutes want none, and a user's own may belong to one; that we made it shows that it was asked for.
        Wanted::None => ours
            .filter(|scaled| which == Which::Object || applied_by_us(scaled))
            .map(|scaled| Change::Delete { uid: scaled.metadata.uid.clone() }),
        Wanted::Orphan => ours
            .map(|scaled| Change::Merge(json!({"metadata": {"ownerReferences": other_owners(scaled, which, object)}}))),
    }
}

/// What takes another resource off a ScaledObject that a resource is to control; none where there is no other.
fn release(scaled: &Scaled, object: &DynamicObject) -> Option<Value> {
    let left = without_another_controller(&scaled.object, object)?;
    // The version makes sure that none is lost that somebody adds meanwhile.
    Some(json!({"metadata": {"ownerReferences": left, "resourceVersion": scaled.version}}))
}

/// The finalizers that a resource keeps, where it loses the add-on's: without the add-on nobody would take it off, and the
/// resource could never go.
pub(super) fn finalizers(object: &DynamicObject) -> Option<Value> {
    let all = object.metadata.finalizers.as_ref()?;
    let left: Vec<&String> = all.iter().filter(|finalizer| *finalizer != ADD_ON_FINALIZER).collect();
    (left.len() < all.len()).then(|| {
        // The version makes sure that none is lost that somebody adds meanwhile.
        let version = &object.metadata.resource_version;
        json!({"metadata": {"finalizers": left, "resourceVersion": version}})
    })
}

/// The status that is to be written; none where it says so already.
pub(super) fn status(which: Which, object: &DynamicObject, verdict: &Verdict, now: Timestamp) -> Option<Value> {
    let before = &object.data["status"];
    let condition: Condition = verdict.condition(object.metadata.generation, before, now);
    let mut status = json!({"conditions": [condition]});
    if which == Which::Object {
        let target = &object.data["spec"]["scaleTargetRef"];
        let text = |field: &str| target[field].as_str().unwrap_or_default();
        status["targetWorkload"] = format!("{}/{}/{}", text("apiVersion"), text("kind"), text("name")).into();
        let port = target["port"].as_i64().map_or_else(|| text("portName").to_owned(), |port| port.to_string());
        status["targetService"] = format!("{}:{port}", text("service")).into();
    }
    let same = ready_of(before).is_some_and(|before| before.says_as(&condition))
        && ["targetWorkload", "targetService"]
            .iter()
            .all(|field| status.get(field).is_none_or(|is| before[field] == *is));
    (!same).then(|| {
        let metadata = json!({"name": object.metadata.name, "namespace": object.metadata.namespace});
        json!({"apiVersion": which.api_version(), "kind": which.name(), "metadata": metadata, "status": status})
    })
}

/// How it is written: what others wrote of the same fields is overruled, what they wrote beside stays.
pub(super) fn applying() -> kube::api::PatchParams {
    kube::api::PatchParams::apply(FIELD_MANAGER).force()
}

/// Whether an object has all that is wanted of it. Of lists of owners each must be there, triggers must be the very same; other
/// lists must be the same, element by element.
fn has(object: &Value, wanted: &Value) -> bool {
    match (object, wanted) {
        (Value::Object(object), Value::Object(wanted)) => {
            wanted.iter().all(|(field, wanted)| match object.get(field) {
                Some(Value::Array(there)) if field == "ownerReferences" => wanted
                    .as_array()
                    .is_some_and(|wanted| wanted.iter().all(|one| there.iter().any(|other| has(other, one)))),
                Some(there) if field == "triggers" => there == wanted,
                Some(there) => has(there, wanted),
                // An empty map is as good as none.
                None => wanted.as_object().is_some_and(serde_json::Map::is_empty),
            })
        }
        (Value::Array(object), Value::Array(wanted)) => {
            object.len() == wanted.len() && object.iter().zip(wanted).all(|(object, wanted)| has(object, wanted))
        }
        (object, wanted) => object == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    fn resource() -> DynamicObject {
        object(json!({
            "apiVersion": "http.keda.sh/v1alpha1", "kind": "HTTPScaledObject",
            "metadata": {"name": "a", "namespace": "n", "generation": 2, "resourceVersion": "7",
                         "finalizers": ["other/keep", ADD_ON_FINALIZER]},
            "spec": {"scaleTargetRef": {"name": "w", "kind": "Deployment", "apiVersion": "apps/v1", "service": "s", "port": 80}},
        }))
    }

    fn scaled(spec: Value) -> Value {
        let owner = json!({"apiVersion": "http.keda.sh/v1", "kind": "HTTPScaledObject", "name": "a", "uid": "u"});
        json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
               "metadata": {"name": "a", "namespace": "n", "uid": "s-1", "ownerReferences": [owner]}, "spec": spec})
    }

    fn known(value: Value) -> Scaled {
        Scaled { object: object(value).into(), version: Some("8".to_owned()) }
    }

    #[test]
    fn drift_is_repaired_and_what_users_add_is_none() {
        let wanted = scaled(json!({"pollingInterval": 15, "triggers": [{"type": "external-push"}]}));
        let so = Wanted::So(wanted.clone());
        let changed = |there: Option<Value>, applied: Option<&Value>| {
            change(Which::Object, &resource(), &so, there.map(known).as_ref(), applied)
        };
        let apply = Some(Change::Apply { first: None, value: wanted.clone() });
        assert_eq!(changed(None, None), apply);
        assert_eq!(changed(Some(wanted.clone()), None), apply, "who applied it is not known");
        assert_eq!(changed(Some(wanted.clone()), Some(&wanted)), None);
        let users = json!({"pollingInterval": 15, "fallback": {"replicas": 3}, "triggers": [{"type": "external-push", "name": "x"}]});
        assert_eq!(changed(Some(scaled(users)), Some(&wanted)), None);
        for drift in [
            json!({"pollingInterval": 30, "triggers": [{"type": "external-push"}]}),
            json!({"triggers": [{"type": "external-push"}]}),
            json!({"pollingInterval": 15, "triggers": [{"type": "external-push"}, {"type": "cron"}]}),
        ] {
            assert_eq!(changed(Some(scaled(drift.clone())), Some(&wanted)), apply, "{drift}");
        }
        let mut tls = wanted.clone();
        tls["spec"]["triggers"][0]["metadata"] = json!({"enableTLS": "true"});
        let plain = json!({"pollingInterval": 15, "triggers": [{"type": "external-push", "metadata": {}}]});
        let plain = Wanted::So(scaled(plain));
        let Wanted::So(asked) = &plain else { panic!("it is one") };
        let changed_back = change(Which::Object, &resource(), &plain, Some(&known(tls)), Some(asked));
        assert_eq!(changed_back, Some(Change::Apply { first: None, value: asked.clone() }), "TLS is not asked for");
        let more =
            scaled(json!({"pollingInterval": 15, "minReplicaCount": 1, "triggers": [{"type": "external-push"}]}));
        assert_eq!(changed(Some(more.clone()), Some(&more)), apply, "a minimum was ours, and is wanted no more");
    }

    #[test]
    fn only_its_own_scaled_object_is_deleted_or_orphaned() {
        let changed =
            |wanted: Wanted, there: Value| change(Which::Object, &resource(), &wanted, Some(&known(there)), None);
        let uid = Some("s-1".to_owned());
        assert_eq!(changed(Wanted::None, scaled(json!({}))), Some(Change::Delete { uid }));
        let route = |there: Value| change(Which::Route, &resource(), &Wanted::None, Some(&known(there)), None);
        let mut users = scaled(json!({}));
        users["metadata"]["ownerReferences"][0]["kind"] = "InterceptorRoute".into();
        users["metadata"]["managedFields"] = json!([{"manager": "kubectl", "operation": "Update"}]);
        assert_eq!(route(users.clone()), None, "a user's own that belongs to the route");
        users["metadata"]["managedFields"] = json!([{"manager": "plimsoll", "operation": "Apply"}]);
        assert_eq!(route(users), Some(Change::Delete { uid: Some("s-1".to_owned()) }));
        let none: [Value; 0] = [];
        let merge = Change::Merge(json!({"metadata": {"ownerReferences": none}}));
        assert_eq!(changed(Wanted::Orphan, scaled(json!({}))), Some(merge));
        let mut users = scaled(json!({}));
        users["metadata"]["ownerReferences"] = json!([]);
        assert_eq!(changed(Wanted::None, users.clone()), None);
        assert_eq!(changed(Wanted::Orphan, users), None);
        assert_eq!(change(Which::Object, &resource(), &Wanted::None, None, None), None);
    }

    #[test]
    fn another_resource_lets_go_before_this_one_takes_over() {
        let mut there = scaled(json!({}));
        there["metadata"]["ownerReferences"][0]["controller"] = true.into();
        let wanted = scaled(json!({"pollingInterval": 15}));
        let change = change(Which::Route, &resource(), &Wanted::So(wanted.clone()), Some(&known(there)), None);
        let none: [Value; 0] = [];
        let first = Some(json!({"metadata": {"ownerReferences": none, "resourceVersion": "8"}}));
        assert_eq!(change, Some(Change::Apply { first, value: wanted }));
    }

    #[test]
    fn the_add_on_s_finalizer_is_taken_off_and_others_stay() {
        let patch = finalizers(&resource()).unwrap();
        assert_eq!(patch, json!({"metadata": {"finalizers": ["other/keep"], "resourceVersion": "7"}}));
        assert_eq!(finalizers(&object(json!({"metadata": {"finalizers": ["other/keep"]}}))), None);
    }

    #[test]
    fn a_status_is_written_once() {
        let (verdict, now) = (Verdict::invalid("spec: bad".to_owned()), Timestamp::UNIX_EPOCH);
        let written = status(Which::Object, &resource(), &verdict, now).unwrap();
        assert_eq!(written["status"]["targetWorkload"], "apps/v1/Deployment/w");
        assert_eq!(written["status"]["targetService"], "s:80");
        assert_eq!(written["status"]["conditions"][0]["observedGeneration"], 2);
        let mut after = resource();
        after.data["status"] = written["status"].clone();
        let later = Timestamp::from_second(9_999).unwrap();
        assert_eq!(status(Which::Object, &after, &verdict, later), None);
        after.metadata.generation = Some(3);
        let again = status(Which::Object, &after, &verdict, later).unwrap();
        assert_eq!(again["status"]["conditions"][0]["lastTransitionTime"], "1970-01-01T00:00:00Z");
    }
}
