//! The workloads that a cluster's objects make. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::core::DynamicObject;
use kube::runtime::watcher::Event;

use super::read;
use crate::kubernetes::{Change, Kept};
use crate::resources::cold_start::no_config_map;
use crate::resources::files::Loaded;
use crate::resources::{Kind, Problem, Workload};
use crate::topic::WorkloadId;

/// The texts of a ConfigMap.
type Texts = Arc<BTreeMap<String, String>>;

/// All objects, as they are last known.
#[derive(Debug, Default)]
pub(super) struct Table {
    routes: Kept<WorkloadId, Entry>,
    objects: Kept<WorkloadId, Entry>,
    bodies: Kept<WorkloadId, Texts>,
}

/// What is kept of an object.
#[derive(Debug, PartialEq)]
struct Entry {
    /// What it describes; of an object that has become unusable what it described before.
    workload: Option<Workload>,
    /// Why it can't be used as it is.
    problem: Option<String>,
    without_effect: Vec<String>,
}

/// What is heard, of whichever kind.
#[derive(Debug)]
pub(super) enum News {
    Route(Event<DynamicObject>),
    Object(Event<DynamicObject>),
    Body(Event<ConfigMap>),
    /// There is no such kind in this cluster.
    NoKind(Kind),
}

impl Table {
    /// Takes news up. True where the workloads may be others than before.
    pub(super) fn apply(&mut self, news: News) -> bool {
        match news {
            News::Route(event) => {
                let change = apply(&mut self.routes, Kind::InterceptorRoute, event);
                changed(&self.routes, &change)
            }
            News::Object(event) => {
                let change = apply(&mut self.objects, Kind::HttpScaledObject, event);
                changed(&self.objects, &change)
            }
            News::Body(event) => {
                let key = |map: &ConfigMap| name(map.metadata.namespace.as_deref(), map.metadata.name.as_deref());
                let change = self.bodies.apply(event, key, |map, _| Arc::new(map.data.unwrap_or_default()));
                changed(&self.bodies, &change)
            }
            News::NoKind(Kind::InterceptorRoute) => self.routes.absent() != Change::Nothing,
            News::NoKind(Kind::HttpScaledObject) => self.objects.absent() != Change::Nothing,
        }
    }

    /// Whether all kinds have been listed once.
    pub(super) fn is_complete(&self) -> bool {
        self.routes.is_complete() && self.objects.is_complete() && self.bodies.is_complete()
    }

    /// The workloads in the order of their names, and what is wrong.
    ///
    /// An `InterceptorRoute` wins over the `HTTPScaledObject` of its name, as in the add-on.
    pub(super) fn loaded(&self) -> Loaded {
        let mut workloads = BTreeMap::new();
        let mut loaded = Loaded::default();
        for (kind, entries) in [("InterceptorRoute", &self.routes), ("HTTPScaledObject", &self.objects)] {
            for (id, entry) in entries.iter() {
                let place = || format!("{kind} {id}");
                let problem = |what| Problem { place: place(), workload: Some(id.clone()), what };
                loaded.problems.extend(entry.problem.clone().map(problem));
                if !entry.without_effect.is_empty() {
                    let fields = entry.without_effect.join(", ");
                    loaded.notes.push(format!("{}: it is used, but this version does nothing with {fields}", place()));
                }
                if let Some(workload) = entry.workload.as_ref().filter(|_| !workloads.contains_key(id)) {
                    let mut workload = workload.clone();
                    let missing = workload.supply_bodies(|name| self.texts(&id.namespace, name));
                    loaded.problems.extend(missing.into_iter().map(problem));
                    workloads.insert(id.clone(), workload);
                }
            }
        }
        loaded.workloads = workloads.into_values().collect();
        loaded
    }

    fn texts(&self, namespace: &str, name: &str) -> Result<Texts, String> {
        let texts = self.bodies.get(&WorkloadId::new(namespace, name)).cloned();
        texts.ok_or_else(|| no_config_map(namespace, name))
    }
}

/// Most events are of a status that somebody has written: of that nothing is kept.
fn changed<V: PartialEq>(kept: &Kept<WorkloadId, V>, change: &Change<WorkloadId, V>) -> bool {
    match change {
        Change::Nothing => false,
        Change::One(id, before) => kept.get(id) != before.as_ref(),
        Change::All => true,
    }
}

fn apply(kept: &mut Kept<WorkloadId, Entry>, kind: Kind, event: Event<DynamicObject>) -> Change<WorkloadId, Entry> {
    let key = |object: &DynamicObject| name(object.metadata.namespace.as_deref(), object.metadata.name.as_deref());
    kept.apply(event, key, |object, before| match read(kind, &object) {
        Ok(good) => Entry { workload: Some(good.workload), problem: None, without_effect: good.without_effect },
        Err(what) => {
            let workload = before.and_then(|before| before.workload.clone());
            let kept = if workload.is_some() { " (the last good version stays in use)" } else { "" };
            Entry { workload, problem: Some(format!("{what}{kept}")), without_effect: Vec::new() }
        }
    })
}

fn name(namespace: Option<&str>, name: Option<&str>) -> Option<WorkloadId> {
    Some(WorkloadId::new(namespace?, name?))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resources::FixedBody;

    fn route(name: &str, spec: Value) -> DynamicObject {
        let metadata = json!({"name": name, "namespace": "n"});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    fn spec(service: &str) -> Value {
        json!({"target": {"service": service, "port": 80}, "scalingMetric": {"concurrency": {"targetValue": 1}}})
    }

    fn body(name: &str, text: &str) -> ConfigMap {
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "n"}, "data": {"a.html": text}})).unwrap()
    }

    fn services(table: &Table) -> Vec<String> {
        table.loaded().workloads.into_iter().map(|workload| workload.target.service).collect()
    }

    #[test]
    fn it_is_complete_when_every_kind_is() {
        let mut table = Table::default();
        for news in [News::Route(Event::Init), News::Object(Event::Init), News::Body(Event::Init)] {
            assert!(!table.apply(news));
        }
        assert!(table.apply(News::Route(Event::InitDone)));
        assert!(table.apply(News::Body(Event::InitDone)) && !table.is_complete());
        assert!(table.apply(News::NoKind(Kind::HttpScaledObject)) && table.is_complete());
    }

    #[test]
    fn an_event_that_changes_nothing_that_is_kept_is_no_change() {
        let mut table = Table::default();
        let with_status = |service: &str, generation: u32| {
            let mut route = route("a", spec(service));
            route.data["status"] = json!({"observedGeneration": generation});
            News::Route(Event::Apply(route))
        };
        assert!(table.apply(with_status("s", 1)));
        assert!(!table.apply(with_status("s", 2)), "a status makes no other workload");
        assert!(table.apply(with_status("t", 2)));
        assert!(table.apply(News::Body(Event::Apply(body("pages", "wait")))));
        assert!(!table.apply(News::Body(Event::Apply(body("pages", "wait")))));
        assert!(table.apply(News::Route(Event::Delete(route("a", spec("t"))))));
        assert!(!table.apply(News::Route(Event::Delete(route("a", spec("t"))))));
    }

    #[test]
    fn an_interceptor_route_wins_over_the_http_scaled_object_of_its_name() {
        let mut table = Table::default();
        table.apply(News::Object(Event::Apply(route("a", json!({"scaleTargetRef": {"service": "old", "port": 80}})))));
        assert_eq!(services(&table), ["old"]);
        table.apply(News::Route(Event::Apply(route("a", spec("new")))));
        assert_eq!(services(&table), ["new"]);
        table.apply(News::Route(Event::Delete(route("a", spec("new")))));
        assert_eq!(services(&table), ["old"]);
    }

    #[test]
    fn an_object_that_becomes_unusable_keeps_its_last_good_version_and_is_named() {
        let mut table = Table::default();
        table.apply(News::Route(Event::Apply(route("a", spec("good")))));
        table.apply(News::Route(Event::Apply(route("a", json!({})))));
        table.apply(News::Route(Event::Apply(route("b", json!({})))));
        assert_eq!(services(&table), ["good"]);
        let problems = table.loaded().problems;
        assert_eq!(
            problems.iter().map(|problem| &*problem.place).collect::<Vec<_>>(),
            ["InterceptorRoute n/a", "InterceptorRoute n/b"]
        );
        assert!(problems[0].what.ends_with("(the last good version stays in use)"), "{}", problems[0].what);
        // A new list, after an outage, forgets it no more than a change does.
        for event in [Event::Init, Event::InitApply(route("a", json!({}))), Event::InitDone] {
            table.apply(News::Route(event));
        }
        assert_eq!(services(&table), ["good"]);
    }

    #[test]
    fn bodies_are_those_of_the_config_maps_of_now() {
        let mut table = Table::default();
        let mut with = spec("s");
        with["coldStart"] =
            json!({"placeholder": {"response": {"bodyFromConfigMap": {"name": "pages", "key": "a.html"}}}});
        table.apply(News::Route(Event::Apply(route("a", with))));
        let problems = table.loaded().problems;
        assert!(problems[0].what.contains("there is no ConfigMap n/pages with the label"), "{problems:?}");
        table.apply(News::Body(Event::Apply(body("pages", "wait"))));
        let loaded = table.loaded();
        assert!(loaded.problems.is_empty());
        let placeholder = loaded.workloads[0].cold_start.placeholder.as_ref().unwrap();
        let FixedBody::ConfigMap(body) = &placeholder.body else { panic!("{placeholder:?}") };
        assert_eq!(body.texts.as_ref().unwrap()["a.html"], "wait");
    }
}
