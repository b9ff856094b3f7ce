//! What a single resource's fields mean. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::core::DynamicObject;
use plimsoll_wire::go_duration;
use plimsoll_wire::resources::cluster::{Good, read};
use plimsoll_wire::resources::{ADD_ON_FINALIZER, Kind, Port};
use serde_json::Value;

use super::judge::{Id, id};
use super::report::{Finding, Level};

/// The granularity at which a bucket's sum is a rate per second.
const SECOND: Duration = Duration::from_secs(1);

/// A resource, and what Plimsoll reads of it.
pub struct Read<'a> {
    pub kind: Kind,
    pub object: &'a DynamicObject,
    pub good: Result<Good, String>,
}

impl<'a> Read<'a> {
    pub fn of(kind: Kind, object: &'a DynamicObject) -> Self {
        Self { kind, object, good: read(kind, object) }
    }

    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::InterceptorRoute => "InterceptorRoute",
            Kind::HttpScaledObject => "HTTPScaledObject",
        }
    }

    pub fn finding(
        &self,
        level: Level,
        field: impl Into<String>,
        add_on: impl Into<String>,
        plimsoll: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        let (namespace, name) = id(self.object);
        let (field, add_on, plimsoll, remedy) = (field.into(), add_on.into(), plimsoll.into(), remedy.into());
        Finding { level, kind: self.kind_name(), namespace, name, field, add_on, plimsoll, remedy }
    }

    /// Each host as it is written, with its field.
    pub fn hosts(&self) -> Vec<(String, &'a str)> {
        let spec = &self.object.data["spec"];
        let of = |field: String, hosts: &'a Value| {
            let hosts = hosts.as_array().into_iter().flatten().enumerate();
            hosts.filter_map(move |(at, host)| Some((format!("{field}[{at}]"), host.as_str()?))).collect::<Vec<_>>()
        };
        match self.kind {
            Kind::HttpScaledObject => of("spec.hosts".to_owned(), &spec["hosts"]),
            Kind::InterceptorRoute => {
                let rules = spec["rules"].as_array().into_iter().flatten().enumerate();
                rules.flat_map(|(at, rule)| of(format!("spec.rules[{at}].hosts"), &rule["hosts"])).collect()
            }
        }
    }
}

/// What is otherwise about this one.
pub fn findings(one: &Read<'_>, services: &BTreeMap<Id, &Value>) -> Vec<Finding> {
    let granularity = granularity(one);
    let mut all = Vec::new();
    match &one.good {
        // What is wrong with a granularity has been said already.
        Err(reason) if granularity.is_none() || !reason.contains("granularity") => {
            let (field, reason) = reason.split_once(": ").unwrap_or(("spec", reason));
            let plimsoll = format!("it is not used: {reason}; its Ready condition says so");
            all.push(one.finding(Level::Hand, field, "it may be accepted", plimsoll, "correct the field"));
        }
        Err(_) => {}
        Ok(good) => {
            all.extend(good.without_effect.iter().map(|field| {
                one.finding(Level::Note, field, "it is not known there either, or ignored", "it has no effect", "")
            }));
            all.extend(service(one, good, services));
            all.extend(fallback(one, good, services));
        }
    }
    all.extend(granularity);
    all.extend(hosts(one));
    if one.kind == Kind::HttpScaledObject {
        all.extend(old_fields(one));
    }
    all
}

fn granularity(one: &Read<'_>) -> Option<Finding> {
    let rate = &one.object.data["spec"]["scalingMetric"]["requestRate"];
    let text = rate["granularity"].as_str()?;
    let field = "spec.scalingMetric.requestRate.granularity";
    let granularity = go_duration::parse(text).ok()?;
    if granularity == SECOND {
        return None;
    }
    if granularity < SECOND {
        let add_on = format!("{text} takes the scaler down (a division by zero)");
        let plimsoll = "it is not used; its Ready condition says so";
        return Some(one.finding(Level::Hand, field, add_on, plimsoll, "write 1s, or leave it out"));
    }
    let factor = granularity.as_secs_f64();
    let target = rate["targetValue"].as_f64().unwrap_or(100.0);
    let equal = (target / factor).round().max(1.0);
    let add_on = format!("a rate is the sum of {text}: {factor} times the requests per second");
    let plimsoll =
        format!("a rate is always per second: KEDA is told 1/{factor} of that, and there are as many fewer replicas");
    let remedy =
        format!("targetValue: {equal} in place of {target}, and granularity 1s, for as many replicas as before");
    Some(one.finding(Level::Hand, field, add_on, plimsoll, remedy))
}

fn hosts(one: &Read<'_>) -> Vec<Finding> {
    let written = one.hosts();
    let upper = written.iter().filter(|(_, host)| host.bytes().any(|byte| byte.is_ascii_uppercase()));
    upper
        .map(|(field, host)| {
            let add_on = format!("only requests that spell it {host} match: browsers never do");
            let plimsoll = "hosts are compared without case: more requests come here than before";
            one.finding(Level::Change, field, add_on, plimsoll, format!("write {}", host.to_ascii_lowercase()))
        })
        .collect()
}

/// The Service that the requests go to.
fn service(one: &Read<'_>, good: &Good, services: &BTreeMap<Id, &Value>) -> Option<Finding> {
    let (namespace, _) = id(one.object);
    let target = &good.workload.target;
    let field = match one.kind {
        Kind::InterceptorRoute => "spec.target.service",
        Kind::HttpScaledObject => "spec.scaleTargetRef.service",
    };
    let Some(spec) = services.get(&(namespace, target.service.clone())) else {
        let add_on = format!("there is no Service {}: requests are held", target.service);
        return Some(one.finding(Level::Note, field, add_on, "the same; its Ready condition says ServiceNotFound", ""));
    };
    if spec["type"] == "ExternalName" {
        let add_on = "requests wait for an endpoint, which a Service of type ExternalName never has";
        let plimsoll = "they are answered with 500 at once; its Ready condition says ServiceWithoutEndpoints";
        return Some(one.finding(Level::Hand, field, add_on, plimsoll, "name a Service that selects pods"));
    }
    let ports = || spec["ports"].as_array().into_iter().flatten();
    let there = match &target.port {
        Port::Number(number) => ports().any(|port| port["port"] == *number),
        Port::Name(name) => ports().any(|port| port["name"] == name.as_str()),
    };
    let missing = || {
        one.finding(
            Level::Note,
            field,
            "the Service has no such port: 500",
            "the same; its Ready condition says PortNotFound",
            "",
        )
    };
    (!there).then(missing)
}

/// The Service that answers when the target takes too long.
fn fallback(one: &Read<'_>, good: &Good, services: &BTreeMap<Id, &Value>) -> Option<Finding> {
    let fallback = good.workload.cold_start.fallback.as_ref()?;
    let spec = services.get(&(id(one.object).0, fallback.service.clone()))?;
    let field = match one.kind {
        Kind::InterceptorRoute => "spec.coldStart.fallback.service.name",
        Kind::HttpScaledObject => "spec.coldStartTimeoutFailoverRef.service",
    };
    let add_on = "requests go to the name that the Service stands for";
    let plimsoll = "requests go to pods alone, and a Service of type ExternalName has none: no fallback";
    let remedy = "name a Service that selects pods, or a placeholder";
    (spec["type"] == "ExternalName").then(|| one.finding(Level::Hand, field, add_on, plimsoll, remedy))
}

/// What only an HTTPScaledObject has.
fn old_fields(one: &Read<'_>) -> Vec<Finding> {
    let mut all = Vec::new();
    let mut finalizers = one.object.metadata.finalizers.iter().flatten();
    if finalizers.any(|name| name == ADD_ON_FINALIZER) {
        let plimsoll = "the finalizer is taken off, since the ScaledObject goes with its owner";
        let add_on = "its operator has to run when this is deleted";
        all.push(one.finding(Level::Note, "metadata.finalizers", add_on, plimsoll, ""));
    }
    let spec = &one.object.data["spec"];
    let metric = &spec["scalingMetric"];
    if !spec["targetPendingRequests"].is_null() && metric["concurrency"].is_null() && metric["requestRate"].is_null() {
        let remedy = "scalingMetric.concurrency.targetValue says the same";
        let add_on = "deprecated: the target of concurrency";
        all.push(one.finding(Level::Note, "spec.targetPendingRequests", add_on, "the same", remedy));
    }
    all
}
