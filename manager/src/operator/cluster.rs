//! What the operator knows of the cluster.

use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt as _};
use k8s_openapi::api::core::v1;
use kube::api::{Api, ApiResource};
use kube::core::{DynamicObject, GroupVersionKind};
use kube::runtime::watcher::{Config, Event};
use kube::{Client, ResourceExt as _};
use plimsoll_wire::kubernetes::{Change, Heard, Kept, follow};
use plimsoll_wire::topic::WorkloadId;

use super::Which;
use super::verdict::Service;

/// Objects as they are last known.
#[derive(Default)]
pub(super) struct Cluster {
    pub(super) routes: Kept<WorkloadId, Arc<DynamicObject>>,
    pub(super) objects: Kept<WorkloadId, Arc<DynamicObject>>,
    /// Without their status, which KEDA writes all the time.
    pub(super) scaled: Kept<WorkloadId, Arc<DynamicObject>>,
    pub(super) services: Kept<WorkloadId, Service>,
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
    let services: Api<v1::Service> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let resource = |which: Which, what| {
        let heard = follow(dynamic(resources(which)), Config::default(), what);
        heard.map(move |heard| News::Resource(which, event(heard))).boxed()
    };
    let scaled = follow(dynamic(scaled_objects()), Config::default(), "ScaledObjects");
    let services = follow(services, Config::default(), "Services");
    futures::stream::select_all([
        resource(Which::Route, "InterceptorRoutes (for their conditions)"),
        resource(Which::Object, "HTTPScaledObjects (for their conditions)"),
        scaled.map(|heard| News::Scaled(event(heard))).boxed(),
        services.filter_map(|heard| async { event(heard).map(News::Service) }).boxed(),
    ])
    .boxed()
}

fn event<O>(heard: Heard<O>) -> Option<Event<O>> {
    match heard {
        Heard::Event(event) => Some(event),
        Heard::NoSuchKind => None,
    }
}

impl Cluster {
    /// Takes news up.
    pub(super) fn apply(&mut self, news: News) -> Touched {
        match news {
            News::Resource(which, event) => {
                let change = apply(self.of_mut(which), event, |_| {});
                touched(change, |id| Touched::Resource(which, id))
            }
            News::Scaled(event) => {
                let before = |object: &mut DynamicObject| {
                    object.metadata.resource_version = None;
                    object.metadata.generation = None;
                    if let Some(data) = object.data.as_object_mut() {
                        data.remove("status");
                    }
                };
                let change = apply(&mut self.scaled, event, before);
                self.unless_same(change)
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

    fn unless_same(&self, change: Change<WorkloadId, Arc<DynamicObject>>) -> Touched {
        match change {
            Change::One(id, before) if self.scaled.get(&id) == before.as_ref() => Touched::Nothing,
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
        let Self { routes, objects, scaled, services } = self;
        routes.is_complete() && objects.is_complete() && scaled.is_complete() && services.is_complete()
    }
}

fn apply(
    kept: &mut Kept<WorkloadId, Arc<DynamicObject>>,
    event: Option<Event<DynamicObject>>,
    prune: impl Fn(&mut DynamicObject),
) -> Change<WorkloadId, Arc<DynamicObject>> {
    let Some(event) = event else { return kept.absent() };
    let key = |object: &DynamicObject| Some(id(object.namespace()?, object.name_any()));
    kept.apply(event, key, |mut object, _| {
        object.metadata.managed_fields = None;
        prune(&mut object);
        Arc::new(object)
    })
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
    let ports = spec.ports.unwrap_or_default().into_iter();
    Service {
        ports: ports.map(|port| (port.name.unwrap_or_default(), port.port)).collect(),
        alias: is_alias.then(|| spec.external_name.unwrap_or_default()),
    }
}

fn id(namespace: String, name: String) -> WorkloadId {
    WorkloadId::new(namespace, name)
}
