//! Which addresses each workload has, by the Services and EndpointSlices of a cluster. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::watcher::Event;
use plimsoll_wire::kubernetes::{Change, Kept};
use plimsoll_wire::resources::{Backend, BackendProtocol, Port, Workload};
use plimsoll_wire::topic::WorkloadId;

use super::objects::{Service, ServicePort, Slice};
use crate::cold_start::fallback_of;
use crate::endpoints::State;

/// A namespace and a name in it.
type Name = (Box<str>, Box<str>);

/// Workloads, Services and slices as they are last known.
#[derive(Debug, Default)]
pub(super) struct Book {
    services: Kept<Name, Service>,
    slices: Kept<Name, Slice>,
    /// The slices of each Service: the Service, then the slice's own name.
    of_service: BTreeSet<(Name, Box<str>)>,
    workloads: Arc<Vec<Workload>>,
    /// Who wants the endpoints of a Service: the key in `Endpoints`, and the port.
    wanting: BTreeMap<Name, Vec<(WorkloadId, Backend)>>,
    /// All keys that are wanted.
    keys: BTreeSet<WorkloadId>,
}

/// What has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Touched {
    /// Services whose endpoints may be others; none is any.
    services: Option<Vec<Name>>,
    /// Whether what is spoken with a workload's endpoints may have changed.
    pub(super) protocols: bool,
}

/// Where the requests of a workload can go.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// To these addresses; to none yet where it is empty.
    Addresses(Vec<(SocketAddr, State)>),
    /// Nowhere, and waiting does not help: why.
    NoPort(String),
}

impl Book {
    /// Takes over the workloads; gives also the keys that nobody wants any more.
    pub(super) fn workloads(&mut self, workloads: Arc<Vec<Workload>>) -> (Touched, Vec<WorkloadId>) {
        let mut wanting: BTreeMap<Name, Vec<(WorkloadId, Backend)>> = BTreeMap::new();
        let mut keys = BTreeSet::new();
        for workload in workloads.iter() {
            let fallback = workload.cold_start.fallback.as_ref().map(|fallback| (fallback_of(&workload.id), fallback));
            for (key, backend) in std::iter::once((workload.id.clone(), &workload.target)).chain(fallback) {
                keys.insert(key.clone());
                let service = (workload.id.namespace.as_str().into(), backend.service.as_str().into());
                wanting.entry(service).or_default().push((key, backend.clone()));
            }
        }
        let gone = self.keys.difference(&keys).cloned().collect();
        let touched = wanting.iter().filter(|(service, who)| self.wanting.get(*service) != Some(who));
        let touched =
            Touched { services: Some(touched.map(|(service, _)| service.clone()).collect()), protocols: true };
        (self.workloads, self.wanting, self.keys) = (workloads, wanting, keys);
        (touched, gone)
    }

    /// Takes up what is heard of a Service.
    pub(super) fn service(&mut self, event: Event<v1::Service>) -> Touched {
        match self.services.apply(event, |service| name(&service.metadata), |service, _| Service::read(service)) {
            Change::Nothing => Touched::none(),
            Change::All => Touched { services: None, protocols: true },
            Change::One(name, before) if self.services.get(&name) == before.as_ref() => Touched::none(),
            Change::One(name, before) => {
                let changed = protocols(self.services.get(&name)) != protocols(before.as_ref());
                let protocols = changed && self.wanting.contains_key(&name);
                Touched { services: Some(vec![name]), protocols }
            }
        }
    }

    /// Takes up what is heard of an EndpointSlice.
    pub(super) fn slice(&mut self, event: Event<discovery::EndpointSlice>) -> Touched {
        match self.slices.apply(event, |slice| name(&slice.metadata), |slice, _| Slice::read(slice)) {
            Change::Nothing => Touched::none(),
            Change::All => {
                let indexed = |((namespace, name), slice): (&Name, &Slice)| {
                    ((namespace.clone(), slice.service.clone()), name.clone())
                };
                self.of_service = self.slices.iter().map(indexed).collect();
                Touched { services: None, protocols: false }
            }
            Change::One((namespace, name), before) => {
                let service = |slice: &Slice| (namespace.clone(), slice.service.clone());
                let now = self.slices.get(&(namespace.clone(), name.clone()));
                if now == before.as_ref() {
                    return Touched::none();
                }
                let mut services = Vec::new();
                if let Some(before) = before.as_ref().map(service) {
                    self.of_service.remove(&(before.clone(), name.clone()));
                    services.push(before);
                }
                if let Some(now) = now.map(service) {
                    self.of_service.insert((now.clone(), name.clone()));
                    services.push(now);
                }
                services.dedup();
                Touched { services: Some(services), protocols: false }
            }
        }
    }

    /// Whether both kinds have been listed once.
    pub(super) fn is_complete(&self) -> bool {
        self.services.is_complete() && self.slices.is_complete()
    }

    /// Who wants the endpoints that may have changed.
    pub(super) fn wanting(&self, touched: &Touched) -> Vec<(&WorkloadId, &Backend)> {
        let all: Vec<&Vec<(WorkloadId, Backend)>> = match &touched.services {
            None => self.wanting.values().collect(),
            Some(services) => services.iter().filter_map(|service| self.wanting.get(service)).collect(),
        };
        all.into_iter().flatten().map(|(key, backend)| (key, backend)).collect()
    }

    /// Where the requests go that want this backend.
    pub(super) fn reach(&self, key: &WorkloadId, backend: &Backend) -> Reach {
        let name: Name = (key.namespace.as_str().into(), backend.service.as_str().into());
        let Some(service) = self.services.get(&name) else { return Reach::Addresses(Vec::new()) };
        if let Some(alias) = &service.external_name {
            return Reach::NoPort(format!(
                "the Service {}/{} is an alias of {alias} (ExternalName), which has no endpoints: name a Service with a selector \
                 or with EndpointSlices",
                name.0, name.1
            ));
        }
        let Some(port) = port_of(service, &backend.port) else {
            let asked = match &backend.port {
                Port::Number(number) => number.to_string(),
                Port::Name(name) => format!("{name:?}"),
            };
            let there: Vec<String> =
                service.ports.iter().map(|port| format!("{} {:?}", port.number, port.name)).collect();
            let there = if there.is_empty() { "none for TCP".to_owned() } else { there.join(", ") };
            return Reach::NoPort(format!("the Service {}/{} has no port {asked}; it has {there}", name.0, name.1));
        };
        Reach::Addresses(self.addresses(&name, service, port))
    }

    /// The slices of this backend's Service whose endpoints can get no request, since they say no port: a sentence each.
    pub(super) fn without_ports(&self, key: &WorkloadId, backend: &Backend) -> Vec<String> {
        let service: Name = (key.namespace.as_str().into(), backend.service.as_str().into());
        let bad = self.slices_of(&service).filter(|(_, slice)| slice.ports.is_empty() && !slice.endpoints.is_empty());
        let (namespace, service) = (&service.0, &service.1);
        let told = bad.map(|(name, slice)| {
            let endpoints = slice.endpoints.len();
            format!(
                "the EndpointSlice {namespace}/{name} has no ports: its endpoints ({endpoints}) get no request; write into it \
                 where the pods listen, by the name of the port of the Service {service}"
            )
        });
        told.collect()
    }

    /// A Service's slices, by name.
    fn slices_of<'a>(&'a self, service: &'a Name) -> impl Iterator<Item = (&'a str, &'a Slice)> {
        let of_service = self.of_service.range((service.clone(), Box::default())..);
        let of_service = of_service.take_while(move |(of, _)| of == service);
        of_service.filter_map(move |(_, name)| Some((&**name, self.slices.get(&(service.0.clone(), name.clone()))?)))
    }

    /// An address that stands in several slices counts once, in its best state: it is on its way from one to another.
    fn addresses(&self, name: &Name, service: &Service, port: &ServicePort) -> Vec<(SocketAddr, State)> {
        let slices = || self.slices_of(name).map(|(_, slice)| slice);
        // The other family's are the same pods: counted twice, each would get twice its share.
        let first = slices().any(|slice| slice.ipv6 == service.ipv6_first && !slice.endpoints.is_empty());
        let mut addresses = Vec::new();
        for slice in slices().filter(|slice| !first || slice.ipv6 == service.ipv6_first) {
            let Some(at) = slice.ports.iter().find(|at| at.name == port.name) else { continue };
            let number = at.number.unwrap_or(port.number);
            addresses.extend(slice.endpoints.iter().map(|(ip, state)| (SocketAddr::new(*ip, number), *state)));
        }
        addresses.sort_by_key(|(address, state)| (*address, rank(*state)));
        addresses.dedup_by_key(|(address, _)| *address);
        addresses
    }

    /// The workloads, each with the protocol that its Service's port names where the resource names none.
    pub(super) fn with_protocols(&self) -> Arc<Vec<Workload>> {
        let said: Vec<Option<BackendProtocol>> =
            self.workloads.iter().map(|workload| self.protocol(workload)).collect();
        if said.iter().all(Option::is_none) {
            return self.workloads.clone();
        }
        let with = |(workload, said): (&Workload, Option<BackendProtocol>)| Workload {
            backend_protocol: workload.backend_protocol.or(said),
            ..workload.clone()
        };
        Arc::new(self.workloads.iter().zip(said).map(with).collect())
    }

    fn protocol(&self, workload: &Workload) -> Option<BackendProtocol> {
        if workload.backend_protocol.is_some() {
            return None;
        }
        let name = (workload.id.namespace.as_str().into(), workload.target.service.as_str().into());
        port_of(self.services.get(&name)?, &workload.target.port)?.protocol
    }
}

impl Touched {
    fn none() -> Self {
        Self { services: Some(Vec::new()), protocols: false }
    }
}

/// What a Service says of its ports' protocols: nothing, in nearly all.
fn protocols(service: Option<&Service>) -> Vec<&ServicePort> {
    let ports = service.map(|service| &*service.ports).unwrap_or_default();
    ports.iter().filter(|port| port.protocol.is_some()).collect()
}

fn port_of<'a>(service: &'a Service, port: &Port) -> Option<&'a ServicePort> {
    service.ports.iter().find(|there| match port {
        Port::Number(number) => there.number == *number,
        Port::Name(name) => *there.name == **name,
    })
}

fn rank(state: State) -> u8 {
    match state {
        State::Ready => 0,
        State::Starting => 1,
        State::Draining => 2,
    }
}

fn name(metadata: &ObjectMeta) -> Option<Name> {
    Some((metadata.namespace.as_deref()?.into(), metadata.name.as_deref()?.into()))
}

#[cfg(test)]
mod tests;
