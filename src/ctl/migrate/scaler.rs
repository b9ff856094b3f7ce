//! ScaledObjects whose triggers ask the add-on's scaler. Pure.

use std::collections::BTreeSet;

use kube::core::DynamicObject;
use serde_json::Value;

use super::judge::{Id, id};
use super::report::{Finding, Level};

/// The add-on's Service of its scaler.
const ADD_ON: &str = "keda-add-ons-http-external-scaler";

/// The resources that there are.
pub struct Known {
    pub routes: BTreeSet<Id>,
    pub objects: BTreeSet<Id>,
}

/// Its triggers that are for the add-on or Plimsoll, with their places.
pub fn triggers(scaled: &DynamicObject) -> impl Iterator<Item = (usize, &Value)> {
    let all = scaled.data["spec"]["triggers"].as_array().into_iter().flatten().enumerate();
    all.filter(|(_, trigger)| {
        let keys = ["interceptorRoute", "httpScaledObject", "interceptorTargetPendingRequests"];
        keys.iter().any(|key| !trigger["metadata"][*key].is_null())
    })
}

/// What is otherwise about this one.
pub fn findings(scaled: &DynamicObject, known: &Known, scaler_address: &str) -> Vec<Finding> {
    let mut all: Vec<Finding> = triggers(scaled)
        .flat_map(|(at, trigger)| {
            let field = format!("spec.triggers[{at}]");
            [
                missing(scaled, &field, &trigger["metadata"], known),
                address(scaled, &field, trigger, scaler_address),
                kind(scaled, &field, trigger),
            ]
        })
        .flatten()
        .collect();
    if scaled.data["spec"]["fallback"].is_null() {
        let plimsoll = "it is an error to KEDA, which then keeps the replicas as they are";
        let remedy = "a `fallback` says how many there should be meanwhile";
        let add_on = "load that is not known is told as the last one, or zero";
        all.push(finding(scaled, Level::Note, "spec.fallback", add_on, plimsoll, remedy));
    }
    all
}

fn finding(
    scaled: &DynamicObject,
    level: Level,
    field: &str,
    add_on: impl Into<String>,
    plimsoll: impl Into<String>,
    remedy: impl Into<String>,
) -> Finding {
    let ((namespace, name), field) = (id(scaled), field.to_owned());
    let (add_on, plimsoll, remedy) = (add_on.into(), plimsoll.into(), remedy.into());
    Finding { level, kind: "ScaledObject", namespace, name, field, add_on, plimsoll, remedy }
}

/// It asks for a resource that is not there.
fn missing(scaled: &DynamicObject, field: &str, metadata: &Value, known: &Known) -> Option<Finding> {
    let (namespace, _) = id(scaled);
    for (key, there) in [("interceptorRoute", &known.routes), ("httpScaledObject", &known.objects)] {
        let Some(name) = metadata[key].as_str() else { continue };
        if there.contains(&(namespace.clone(), name.to_owned())) {
            continue;
        }
        let (field, plimsoll) =
            (format!("{field}.metadata.{key}"), format!("NOT_FOUND: there is no {namespace}/{name}"));
        let remedy = "name one that is there, or delete the ScaledObject";
        return Some(finding(scaled, Level::Hand, &field, "an error of the kind Unknown", plimsoll, remedy));
    }
    None
}

/// Whom it asks.
fn address(scaled: &DynamicObject, field: &str, trigger: &Value, ours: &str) -> Option<Finding> {
    let metadata = &trigger["metadata"];
    let asked = metadata["scalerAddress"].as_str().unwrap_or_default();
    if asked == ours {
        return None;
    }
    let field = format!("{field}.metadata.scalerAddress");
    if made_for_object(scaled) {
        let plimsoll = format!("it is {ours} once Plimsoll's operator is on");
        return Some(finding(scaled, Level::Change, &field, asked, plimsoll, ""));
    }
    if asked == ADD_ON || asked.starts_with(&format!("{ADD_ON}:")) || asked.starts_with(&format!("{ADD_ON}.")) {
        let plimsoll = "the same name leads here where compatibility.kedaHttpAddOn.enabled is on";
        return Some(finding(scaled, Level::Note, &field, asked, plimsoll, format!("or write {ours}")));
    }
    let plimsoll = "this name is none that Plimsoll takes over";
    Some(finding(scaled, Level::Hand, &field, asked, plimsoll, format!("write {ours}")))
}

/// Whether an operator made it for an HTTPScaledObject, and so goes on to write it.
fn made_for_object(scaled: &DynamicObject) -> bool {
    scaled.metadata.owner_references.iter().flatten().any(|owner| owner.kind == "HTTPScaledObject")
}

/// KEDA is told of the first request only by a trigger that it keeps a stream for.
fn kind(scaled: &DynamicObject, field: &str, trigger: &Value) -> Option<Finding> {
    let asks = !trigger["metadata"]["interceptorTargetPendingRequests"].is_null();
    let polled = || {
        let plimsoll = "the same: the first request waits for KEDA's next poll";
        let field = format!("{field}.type");
        finding(scaled, Level::Note, &field, "KEDA polls, and is not told", plimsoll, "write external-push")
    };
    (!asks && trigger["type"] == "external").then(polled)
}
