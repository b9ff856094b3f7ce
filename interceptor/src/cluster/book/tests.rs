use serde_json::{Value, json};

use super::*;

fn workload(name: &str, service: &str, port: Port) -> Workload {
    Workload::new(WorkloadId::new("n", name), Backend { service: service.to_owned(), port })
}

fn service(name: &str, ports: Value) -> v1::Service {
    serde_json::from_value(json!({"metadata": {"name": name, "namespace": "n"}, "spec": {"ports": ports}})).unwrap()
}

/// `10.0.0.N` for each number, in the state that its sign says.
fn slice(name: &str, of: &str, port: Value, endpoints: &[(u8, State)]) -> discovery::EndpointSlice {
    let endpoint = |(number, state): &(u8, State)| {
        json!({
            "addresses": [format!("10.0.0.{number}")],
            "conditions": {"ready": *state == State::Ready, "terminating": *state == State::Draining},
        })
    };
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "n", "labels": {"kubernetes.io/service-name": of}},
        "addressType": "IPv4", "ports": port, "endpoints": endpoints.iter().map(endpoint).collect::<Vec<_>>(),
    }))
    .unwrap()
}

fn web() -> Value {
    json!([{"name": "web", "port": 8080}])
}

/// A book with the Service `s`, whose port 80 is called `web`.
fn book(workloads: Vec<Workload>) -> Book {
    let mut book = Book::default();
    book.workloads(Arc::new(workloads));
    book.service(Event::Init);
    book.service(Event::InitApply(service("s", json!([{"name": "web", "port": 80}, {"name": "other", "port": 81}]))));
    book.service(Event::InitDone);
    book.slice(Event::Init);
    book.slice(Event::InitDone);
    book
}

fn reach(book: &Book, name: &str) -> Reach {
    let key = WorkloadId::new("n", name);
    let all = Touched { services: None, protocols: false };
    let (key, backend) = book.wanting(&all).into_iter().find(|(wanting, _)| **wanting == key).unwrap();
    book.reach(key, backend)
}

/// The last numbers of the addresses, with their states.
fn addresses(book: &Book, name: &str) -> Vec<(String, State)> {
    match reach(book, name) {
        Reach::Addresses(addresses) => addresses.into_iter().map(|(at, state)| (at.to_string(), state)).collect(),
        Reach::NoPort(why) => panic!("{why}"),
    }
}

fn told(touched: &Touched, book: &Book) -> Vec<String> {
    book.wanting(touched).into_iter().map(|(key, _)| key.to_string()).collect()
}

#[test]
fn a_port_is_found_by_number_and_by_name_and_pods_listen_where_their_slices_say() {
    let mut book = book(vec![
        workload("number", "s", Port::Number(80)),
        workload("name", "s", Port::Name("web".to_owned())),
        workload("other", "s", Port::Number(81)),
        workload("elsewhere", "t", Port::Number(80)),
    ]);
    let touched = book.slice(Event::Apply(slice("s-1", "s", web(), &[(1, State::Ready)])));
    assert_eq!(told(&touched, &book), ["n/number", "n/name", "n/other"]);
    assert!(!touched.protocols);
    for name in ["number", "name"] {
        assert_eq!(addresses(&book, name), [("10.0.0.1:8080".to_owned(), State::Ready)]);
    }
    assert_eq!(addresses(&book, "other"), [], "no slice has this port yet");
    assert_eq!(addresses(&book, "elsewhere"), [], "there is no such Service yet");
}

#[test]
fn a_port_that_the_service_has_not_is_named() {
    let book = book(vec![workload("a", "s", Port::Number(8080)), workload("b", "s", Port::Name("http".to_owned()))]);
    let why = |name| match reach(&book, name) {
        Reach::NoPort(why) => why,
        Reach::Addresses(_) => panic!("{name} has a port"),
    };
    assert_eq!(why("a"), "the Service n/s has no port 8080; it has 80 \"web\", 81 \"other\"");
    assert!(why("b").contains("no port \"http\""));
}

#[test]
fn endpoints_of_several_slices_are_one_set_each_once_in_its_best_state() {
    let mut book = book(vec![workload("a", "s", Port::Number(80))]);
    book.slice(Event::Apply(slice("s-1", "s", web(), &[(1, State::Ready), (2, State::Starting)])));
    book.slice(Event::Apply(slice("s-2", "s", web(), &[(2, State::Ready), (3, State::Draining)])));
    let three = [("10.0.0.1:8080", State::Ready), ("10.0.0.2:8080", State::Ready), ("10.0.0.3:8080", State::Draining)];
    assert_eq!(addresses(&book, "a"), three.map(|(at, state)| (at.to_owned(), state)));
    let touched = book.slice(Event::Delete(slice("s-1", "s", web(), &[])));
    assert_eq!(told(&touched, &book), ["n/a"]);
    assert_eq!(addresses(&book, "a").len(), 2);
    // One that changes hands is no longer the first Service's.
    let touched = book.slice(Event::Apply(slice("s-2", "t", web(), &[(2, State::Ready)])));
    assert_eq!(told(&touched, &book), ["n/a"]);
    assert_eq!(addresses(&book, "a"), []);
}

#[test]
fn a_slice_without_ports_gives_no_endpoint_and_disturbs_no_other() {
    let mut book = book(vec![workload("a", "s", Port::Number(80))]);
    book.slice(Event::Apply(slice("s-1", "s", Value::Null, &[(1, State::Ready)])));
    book.slice(Event::Apply(slice("s-2", "s", web(), &[(2, State::Ready)])));
    assert_eq!(addresses(&book, "a"), [("10.0.0.2:8080".to_owned(), State::Ready)]);
    let backend = Backend { service: "s".to_owned(), port: Port::Number(80) };
    let bad = |book: &Book| book.without_ports(&WorkloadId::new("n", "a"), &backend);
    let told = bad(&book);
    assert!(told.len() == 1 && told[0].contains("EndpointSlice n/s-1 has no ports"), "{told:?}");
    // A port without a number is that of the Service.
    book.slice(Event::Apply(slice("s-1", "s", json!([{"name": "web"}]), &[(1, State::Ready)])));
    assert_eq!(addresses(&book, "a")[0].0, "10.0.0.1:80");
    assert!(bad(&book).is_empty());
}

#[test]
fn of_a_pod_with_two_addresses_that_of_the_service_s_first_family_counts() {
    let mut book = book(vec![workload("a", "s", Port::Number(80))]);
    let mut sixth = slice("s-6", "s", web(), &[]);
    sixth.address_type = "IPv6".to_owned();
    let endpoint = json!({"addresses": ["fd00::1"]});
    sixth.endpoints = vec![serde_json::from_value(endpoint).unwrap()];
    book.slice(Event::Apply(sixth));
    assert_eq!(addresses(&book, "a")[0].0, "[fd00::1]:8080", "better than none");
    book.slice(Event::Apply(slice("s-4", "s", web(), &[(1, State::Ready)])));
    assert_eq!(addresses(&book, "a"), [("10.0.0.1:8080".to_owned(), State::Ready)]);
    let mut first = service("s", json!([{"name": "web", "port": 80}]));
    first.spec.as_mut().unwrap().ip_families = Some(vec!["IPv6".to_owned(), "IPv4".to_owned()]);
    book.service(Event::Apply(first));
    assert_eq!(addresses(&book, "a")[0].0, "[fd00::1]:8080");
}

#[test]
fn what_has_not_changed_touches_nobody() {
    let mut book = book(vec![workload("a", "s", Port::Number(80))]);
    let again = slice("s-1", "s", web(), &[(1, State::Ready)]);
    book.slice(Event::Apply(again.clone()));
    assert_eq!(book.slice(Event::Apply(again)), Touched::none());
    let (touched, gone) = book.workloads(Arc::new(vec![workload("a", "s", Port::Number(80))]));
    assert!(book.wanting(&touched).is_empty() && gone.is_empty());
    let (touched, gone) = book.workloads(Arc::new(vec![workload("a", "s", Port::Number(81))]));
    assert_eq!(told(&touched, &book), ["n/a"]);
    assert!(gone.is_empty());
    assert_eq!(book.workloads(Arc::default()).1, [WorkloadId::new("n", "a")]);
}

#[test]
fn a_fallback_s_service_has_a_key_of_its_own() {
    let mut with = workload("a", "s", Port::Number(80));
    with.cold_start.fallback = Some(Backend { service: "t".to_owned(), port: Port::Number(1) });
    let mut book = book(vec![with]);
    book.service(Event::Apply(service("t", json!([{"port": 1}]))));
    let touched = book.slice(Event::Apply(slice("t-1", "t", json!([{"port": 9}]), &[(7, State::Ready)])));
    assert_eq!(told(&touched, &book), ["n/a/fallback"]);
    assert_eq!(addresses(&book, "a/fallback"), [("10.0.0.7:9".to_owned(), State::Ready)]);
}

#[test]
fn a_service_s_protocol_counts_where_the_resource_names_none() {
    let mut named = workload("named", "s", Port::Number(80));
    named.backend_protocol = Some(BackendProtocol::Http1);
    let mut book = book(vec![workload("a", "s", Port::Number(80)), named]);
    assert!(Arc::ptr_eq(&book.with_protocols(), &book.workloads), "nothing is said");
    let ports = json!([{"name": "web", "port": 80, "appProtocol": "grpc"}]);
    let grpc = service("s", ports);
    assert!(book.service(Event::Apply(grpc.clone())).protocols);
    let protocols: Vec<_> = book.with_protocols().iter().map(|workload| workload.backend_protocol).collect();
    assert_eq!(protocols, [Some(BackendProtocol::H2c), Some(BackendProtocol::Http1)]);
    // Whatever else changes of a Service makes no new table of all workloads.
    let mut other = grpc;
    other.spec.as_mut().unwrap().ip_families = Some(vec!["IPv6".to_owned()]);
    let touched = book.service(Event::Apply(other));
    assert_eq!(told(&touched, &book), ["n/a", "n/named"]);
    assert!(!touched.protocols);
    assert!(book.service(Event::Delete(service("s", web()))).protocols);
    assert!(!book.service(Event::Apply(service("s", web()))).protocols, "it names no protocol");
}
