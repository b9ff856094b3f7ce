//! What the operator knows of the cluster.

use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt as _};
use k8s_openapi::api::core::v1;
use kube::api::{Api, ApiResource};
use kube::core::{DynamicObject, GroupVersionKind};
use kube::runtime::watcher::{Config, Event};
use kube::{Client, ResourceExt as _};
use plimsoll_wire::kubernetes::{Change, Kept, follow, of_namespace};
use plimsoll_wire::topic::WorkloadId;

use super::Which;
use super::verdict::Service;
use super::writers::{Part, prune};

/// A ScaledObject.
#[derive(Clone)]
pub(super) struct Scaled {
    /// Without its status, which KEDA writes all the time, and without its version.
    pub(super) object: Arc<DynamicObject>,
    /// Its `resourceVersion`.
    pub(super) version: Option<String>,
}

/// Objects as they are last known.
#[derive(Default)]
pub(super) struct Cluster {
    pub(super) routes: Kept<WorkloadId, Arc<DynamicObject>>,
    pub(super) objects: Kept<WorkloadId, Arc<DynamicObject>>,
    pub(super) scaled: Kept<WorkloadId, Scaled>,
    pub(super) services: Kept<WorkloadId, Service>,
    /// The definition of ScaledObjects is not installed.
    pub(super) no_scaled_objects: bool,
}

/// What is heard, of whichever kind; none is that there is no such kind.
#[allow(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart at once")]
pub(super) enum News {
    Resource(Which, Option<Event<DynamicObject>>),
    Scaled(Option<Event<DynamicObject>>),
    Service(Event<v1::Service>),
}

/// What has changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Touched {
    Nothing,
    /// Anything.
    All,
    Resource(Which, WorkloadId),
    Scaled(WorkloadId),
    Service(WorkloadId),
}

/// The kind that is written.
pub(super) fn scaled_objects() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("keda.sh", "v1alpha1", "ScaledObject"))
}

/// The kind of a resource.
pub(super) fn resources(which: Which) -> ApiResource {
    let (group, version) = which.api_version().split_once('/').unwrap_or((which.api_version(), ""));
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, which.name()))
}

/// All that is heard.
pub(super) fn news(client: &Client, namespace: Option<&str>) -> BoxStream<'static, News> {
    let dynamic = |resource: ApiResource| -> Api<DynamicObject> {
        match namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        }
    };
    let resource = |which: Which, what| {
        let heard = follow(dynamic(resources(which)), Config::default(), what);
        heard.map(move |heard| News::Resource(which, heard.event())).boxed()
    };
    let scaled = follow(dynamic(scaled_objects()), Config::default(), "ScaledObjects");
    let services = follow(of_namespace::<v1::Service>(client.clone(), namespace), Config::default(), "Services");
    futures::stream::select_all([
        resource(Which::Route, "InterceptorRoutes (for their conditions)"),
        resource(Which::Object, "HTTPScaledObjects (for their conditions)"),
        scaled.map(|heard| News::Scaled(heard.event())).boxed(),
        services.filter_map(|heard| async { heard.event().map(News::Service) }).boxed(),
    ])
    .boxed()
}

impl Cluster {
    /// Takes news up.
    pub(super) fn apply(&mut self, news: News) -> Touched {
        match news {
            News::Resource(which, event) => {
                let kept = self.of_mut(which);
                let Some(event) = event else { return touched(kept.absent(), |id| Touched::Resource(which, id)) };
                let change = kept.apply(event, key, |mut object, _| {
                    prune(&mut object, Part::Status);
                    Arc::new(object)
                });
                touched(change, |id| Touched::Resource(which, id))
            }
            News::Scaled(event) => {
                let absent = match &event {
                    None => true,
                    // A list that has begun may come to nothing.
                    Some(Event::Init | Event::InitApply(_)) => self.no_scaled_objects,
                    Some(_) => false,
                };
                let turned = std::mem::replace(&mut self.no_scaled_objects, absent) != absent;
                let change = match event {
                    Some(event) => self.scaled.apply(event, key, |object, _| read_scaled(object)),
                    None => self.scaled.absent(),
                };
                if turned { Touched::All } else { self.unless_same(change) }
            }
            News::Service(event) => {
                let key = |service: &v1::Service| Some(id(service.namespace()?, service.name_any()));
                let change = self.services.apply(event, key, |service, _| read_service(service));
                match change {
                    Change::One(id, before) if self.services.get(&id) == before.as_ref() => Touched::Nothing,
                    change => touched(change, Touched::Service),
                }
            }
        }
    }

    fn unless_same(&self, change: Change<WorkloadId, Scaled>) -> Touched {
        let object = |scaled: &Scaled| scaled.object.clone();
        match change {
            Change::One(id, before) if self.scaled.get(&id).map(object) == before.as_ref().map(object) => {
                Touched::Nothing
            }
            change => touched(change, Touched::Scaled),
        }
    }

    /// The resources of one kind.
    pub(super) fn of(&self, which: Which) -> &Kept<WorkloadId, Arc<DynamicObject>> {
        match which {
            Which::Route => &self.routes,
            Which::Object => &self.objects,
        }
    }

    fn of_mut(&mut self, which: Which) -> &mut Kept<WorkloadId, Arc<DynamicObject>> {
        match which {
            Which::Route => &mut self.routes,
            Which::Object => &mut self.objects,
        }
    }

    /// Whether everything has been listed once.
    pub(super) fn is_complete(&self) -> bool {
        let Self { routes, objects, scaled, services, no_scaled_objects: _ } = self;
        routes.is_complete() && objects.is_complete() && scaled.is_complete() && services.is_complete()
    }
}

fn key(object: &DynamicObject) -> Option<WorkloadId> {
    Some(id(object.namespace()?, object.name_any()))
}

fn read_scaled(mut object: DynamicObject) -> Scaled {
    prune(&mut object, Part::Spec);
    let version = object.metadata.resource_version.take();
    object.metadata.generation = None;
    if let Some(data) = object.data.as_object_mut() {
        data.remove("status");
    }
    Scaled { object: Arc::new(object), version }
}

fn touched<V>(change: Change<WorkloadId, V>, one: impl FnOnce(WorkloadId) -> Touched) -> Touched {
    match change {
        Change::Nothing => Touched::Nothing,
        Change::All => Touched::All,
        Change::One(id, _) => one(id),
    }
}

fn read_service(service: v1::Service) -> Service {
    let spec = service.spec.unwrap_or_default();
    let is_alias = spec.type_.as_deref() == Some("ExternalName");
    // A port may have a number twice, as DNS' has; no request goes by UDP.
    let tcp = |port: &v1::ServicePort| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
    let ports = spec.ports.unwrap_or_default().into_iter().filter(tcp);
    Service {
        ports: ports.map(|port| (port.name.unwrap_or_default(), port.port)).collect(),
        alias: is_alias.then(|| spec.external_name.unwrap_or_default()),
    }
}

fn id(namespace: String, name: String) -> WorkloadId {
    WorkloadId::new(namespace, name)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn scaled(version: &str, interval: u32) -> Event<DynamicObject> {
        let value = json!({
            "metadata": {"name": "a", "namespace": "n", "resourceVersion": version},
            "spec": {"pollingInterval": interval}, "status": {"seen": version},
        });
        Event::Apply(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn a_port_that_is_no_tcp_port_is_none() {
        let ports: Value = json!([{"name": "quic", "port": 80, "protocol": "UDP"}, {"name": "web", "port": 80}, {"port": 81, "protocol": "TCP"}]);
        let service = serde_json::from_value(json!({"spec": {"ports": ports}})).unwrap();
        assert_eq!(*read_service(service).ports, [("web".to_owned(), 80), (String::new(), 81)]);
    }

    #[test]
    fn what_keda_writes_of_a_scaled_object_concerns_nobody_and_its_version_is_kept() {
        let mut cluster = Cluster::default();
        let id = WorkloadId::new("n", "a");
        assert_eq!(cluster.apply(News::Scaled(Some(scaled("1", 15)))), Touched::Scaled(id.clone()));
        assert_eq!(cluster.apply(News::Scaled(Some(scaled("2", 15)))), Touched::Nothing);
        assert_eq!(cluster.scaled.get(&id).unwrap().version.as_deref(), Some("2"));
        assert_eq!(cluster.apply(News::Scaled(Some(scaled("3", 30)))), Touched::Scaled(id));
    }

    #[test]
    fn that_keda_comes_and_goes_concerns_all() {
        let mut cluster = Cluster::default();
        assert_eq!(cluster.apply(News::Scaled(None)), Touched::All);
        assert_eq!((cluster.apply(News::Scaled(None)), cluster.no_scaled_objects), (Touched::Nothing, true));
        assert_eq!(
            (cluster.apply(News::Scaled(Some(Event::Init))), cluster.no_scaled_objects),
            (Touched::Nothing, true)
        );
        let listed = cluster.apply(News::Scaled(Some(Event::InitDone)));
        assert_eq!((listed, cluster.no_scaled_objects), (Touched::All, false));
        assert_eq!(cluster.apply(News::Scaled(None)), Touched::All);
    }
}
