//! Everything read, judged. Pure.

use std::collections::{BTreeMap, BTreeSet};

use kube::core::DynamicObject;
use plimsoll_wire::resources::Kind;
use serde_json::Value;

use super::cluster::Found;
use super::overlaps;
use super::report::{Finding, Level, Report};
use super::resource::{self, Read};
use super::scaler;

/// What is otherwise for all resources (docs/migrate-from-keda-http-add-on.md says the same, at length).
const FOR_ALL: [&str; 5] = [
    "concurrency is the mean over 15 s (plimsoll.io/concurrency-window), raised by held requests and by bursts; the add-on's is \
     that of the moment it is asked",
    "a workload is active for 30 s after its last request (--activity-window); the add-on's only while a request is in flight",
    "while the load is not known KEDA gets an error, never an old value or zero: its `fallback` decides",
    "a stream tells KEDA a change once; the add-on's `true` every 200 ms holds many workloads up for ever",
    "a connection that fails is tried on another pod, where nothing has been sent yet",
];

/// `namespace/name`.
pub type Id = (String, String);

pub fn id(object: &DynamicObject) -> Id {
    let metadata = &object.metadata;
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

/// What all this means. `scaler_address` is where Plimsoll's scaler will be.
pub fn judge(found: &Found, scaler_address: &str) -> Report {
    let routes = found.interceptor_routes.iter().map(|object| Read::of(Kind::InterceptorRoute, object));
    let objects = found.http_scaled_objects.iter().map(|object| Read::of(Kind::HttpScaledObject, object));
    let all: Vec<Read<'_>> = routes.chain(objects).collect();
    let services: BTreeMap<Id, &Value> = found.services.iter().map(|one| (id(one), &one.data["spec"])).collect();
    let mut findings: Vec<Finding> = all.iter().flat_map(|one| resource::findings(one, &services)).collect();
    findings.extend(same_name(&all));
    findings.extend(overlaps::findings(&all));
    let named =
        |kind: Kind| -> BTreeSet<Id> { all.iter().filter(|one| one.kind == kind).map(|one| id(one.object)).collect() };
    let known = scaler::Known { routes: named(Kind::InterceptorRoute), objects: named(Kind::HttpScaledObject) };
    let ours: Vec<_> = found.scaled_objects.iter().filter(|one| scaler::triggers(one).next().is_some()).collect();
    findings.extend(ours.iter().flat_map(|one| scaler::findings(one, &known, scaler_address)));
    findings.sort();
    findings.dedup();
    Report {
        interceptor_routes: found.interceptor_routes.len(),
        http_scaled_objects: found.http_scaled_objects.len(),
        scaled_objects: ours.len(),
        absent_kinds: found.absent.clone(),
        needs_hand: findings.iter().filter(|one| one.level == Level::Hand).count(),
        findings,
        for_all: if all.is_empty() { Vec::new() } else { FOR_ALL.to_vec() },
    }
}

/// An HTTPScaledObject that a route of the same name stands for.
fn same_name<'a>(all: &'a [Read<'_>]) -> impl Iterator<Item = Finding> + 'a {
    let routes: BTreeSet<Id> =
        all.iter().filter(|one| one.kind == Kind::InterceptorRoute).map(|one| id(one.object)).collect();
    all.iter().filter(move |one| one.kind == Kind::HttpScaledObject && routes.contains(&id(one.object))).map(|one| {
        one.finding(
            Level::Note,
            "metadata.name",
            "an InterceptorRoute of the same name counts in its place",
            "the same",
            "",
        )
    })
}

#[cfg(test)]
mod tests;
