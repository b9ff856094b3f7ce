//! What is kept of Services and EndpointSlices: a few dozen bytes of the kilobytes that each has. Pure.

use std::net::IpAddr;

use k8s_openapi::api::core::v1;
use k8s_openapi::api::discovery::v1 as discovery;
use plimsoll_wire::resources::BackendProtocol;

use crate::endpoints::State;

/// The label of an EndpointSlice that names its Service.
pub(super) const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// What is kept of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) ports: Box<[ServicePort]>,
    /// Whether its endpoints are asked for by IPv6 first; those of the other family are the same pods once more.
    pub(super) ipv6_first: bool,
    /// What it is an alias of, where it is one: such a Service has no endpoints.
    pub(super) external_name: Option<Box<str>>,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServicePort {
    /// Empty where the only port has none.
    pub(super) name: Box<str>,
    pub(super) number: u16,
    pub(super) protocol: Option<BackendProtocol>,
}

/// What is kept of an EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slice {
    /// The Service's name.
    pub(super) service: Box<str>,
    pub(super) ipv6: bool,
    pub(super) ports: Box<[SlicePort]>,
    pub(super) endpoints: Box<[(IpAddr, State)]>,
}

/// A port of a slice: where the pods listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SlicePort {
    /// The name of the Service's port.
    pub(super) name: Box<str>,
    /// None is every port: that of the Service counts.
    pub(super) number: Option<u16>,
}

impl Service {
    pub(super) fn read(service: v1::Service) -> Self {
        let spec = service.spec.unwrap_or_default();
        let ports = spec.ports.unwrap_or_default().into_iter();
        let ports = ports.filter(|port| is_tcp(port.protocol.as_deref())).filter_map(|port| {
            Some(ServicePort {
                name: port.name.unwrap_or_default().into(),
                number: u16::try_from(port.port).ok()?,
                protocol: port.app_protocol.as_deref().and_then(BackendProtocol::named),
            })
        });
        let external = spec.type_.as_deref() == Some("ExternalName");
        Self {
            ports: ports.collect(),
            ipv6_first: spec.ip_families.unwrap_or_default().first().is_some_and(|family| family == "IPv6"),
            external_name: spec.external_name.filter(|_| external).map(Into::into),
        }
    }
}

impl Slice {
    /// An endpoint's first address is the one to use (the API says so of all others that they are not). A slice of host names has
    /// none of use.
    pub(super) fn read(slice: discovery::EndpointSlice) -> Self {
        let service = slice.metadata.labels.and_then(|mut labels| labels.remove(SERVICE_NAME_LABEL));
        let ports = slice.ports.unwrap_or_default().into_iter();
        let ports = ports.filter(|port| is_tcp(port.protocol.as_deref())).filter_map(|port| {
            let number = port.port.map(u16::try_from).transpose().ok()?;
            Some(SlicePort { name: port.name.unwrap_or_default().into(), number })
        });
        let endpoints = slice.endpoints.into_iter().filter_map(|endpoint| {
            let address = endpoint.addresses.first()?.parse().ok()?;
            Some((address, state(endpoint.conditions.as_ref())))
        });
        Self {
            service: service.unwrap_or_default().into(),
            ipv6: slice.address_type == "IPv6",
            ports: ports.collect(),
            endpoints: endpoints.collect(),
        }
    }
}

/// A port of UDP may have the number or the name of another one's, and takes no request. What is not said is TCP.
fn is_tcp(protocol: Option<&str>) -> bool {
    protocol.is_none_or(|protocol| protocol == "TCP")
}

/// What an endpoint's conditions mean. What is not said is as good as said: ready, and not terminating.
fn state(conditions: Option<&discovery::EndpointConditions>) -> State {
    let said = |which: fn(&discovery::EndpointConditions) -> Option<bool>| conditions.and_then(which);
    if said(|c| c.terminating).unwrap_or(false) {
        State::Draining
    } else if said(|c| c.ready).unwrap_or(true) {
        State::Ready
    } else {
        State::Starting
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn slice(value: Value) -> Slice {
        Slice::read(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn conditions_say_what_state_an_endpoint_is_in() {
        let endpoint = |conditions: Value| json!({"addresses": ["10.0.0.1"], "conditions": conditions});
        let read = slice(json!({
            "addressType": "IPv4",
            "metadata": {"labels": {SERVICE_NAME_LABEL: "web"}},
            "endpoints": [
                endpoint(json!({})), endpoint(json!({"ready": true})), endpoint(json!({"ready": false})),
                endpoint(json!({"ready": false, "serving": true, "terminating": true})),
                {"addresses": ["10.0.0.1"]},
                {"addresses": []}, {"addresses": ["no address"]},
            ],
        }));
        let states: Vec<State> = read.endpoints.iter().map(|(_, state)| *state).collect();
        assert_eq!(states, [State::Ready, State::Ready, State::Starting, State::Draining, State::Ready]);
        assert_eq!(&*read.service, "web");
        assert!(read.ports.is_empty());
    }

    #[test]
    fn a_port_that_is_not_of_tcp_is_none() {
        let ports = json!([{"name": "dns", "port": 80, "protocol": "UDP"}, {"name": "web", "port": 80, "protocol": "TCP"},
                           {"name": "sctp", "port": 81, "protocol": "SCTP"}]);
        let service = Service::read(serde_json::from_value(json!({"spec": {"ports": ports}})).unwrap());
        assert_eq!(*service.ports, [ServicePort { name: "web".into(), number: 80, protocol: None }]);
        let slice = slice(json!({"addressType": "IPv4", "ports": ports, "endpoints": []}));
        assert_eq!(*slice.ports, [SlicePort { name: "web".into(), number: Some(80) }]);
    }

    #[test]
    fn a_service_s_ports_have_names_numbers_and_protocols() {
        let service = json!({"spec": {
            "ipFamilies": ["IPv6", "IPv4"],
            "ports": [{"name": "grpc", "port": 80, "appProtocol": "kubernetes.io/h2c"}, {"port": 81, "appProtocol": "mysql"}],
        }});
        let read = Service::read(serde_json::from_value(service).unwrap());
        let port = |name: &str, number, protocol| ServicePort { name: name.into(), number, protocol };
        assert_eq!(*read.ports, [port("grpc", 80, Some(BackendProtocol::H2c)), port("", 81, None)]);
        assert!(read.ipv6_first && read.external_name.is_none());
        let alias = json!({"spec": {"type": "ExternalName", "externalName": "example.com"}});
        let alias = Service::read(serde_json::from_value(alias).unwrap());
        assert_eq!(alias.external_name.as_deref(), Some("example.com"));
    }
}
