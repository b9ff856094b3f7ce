//! Answers that a workload's resource gives while no endpoint is ready.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use plimsoll_wire::frame::interceptor_record::Record;
use plimsoll_wire::frame::{Activation, InterceptorRecord};
use plimsoll_wire::log::memory::MemoryLog;
use plimsoll_wire::log::{EventLog as _, Pace, StartAt, Topic, TopicSpec};
use plimsoll_wire::resources::{ConfigMapBody, FixedBody, FixedResponse, Overflow, Workload};
use plimsoll_wire::topic::INTERCEPTORS;
use prost::Message as _;
use tokio::net::TcpStream;

use crate::scene::{SOON, Scene, app};
use crate::upstream::Upstream;

const PAGE: &str = "<h1>Loading</h1>";

pub fn page(headers: &[(&str, &str)]) -> FixedResponse {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    FixedResponse { status: 503, headers, body: FixedBody::Inline(PAGE.into()) }
}

fn with_placeholder(headers: &[(&str, &str)]) -> impl FnOnce(&mut plimsoll_interceptor::Config, &mut Workload) {
    let page = page(headers);
    move |_, workload| workload.cold_start.placeholder = Some(page)
}

#[tokio::test]
async fn it_is_answered_at_once_and_the_workload_itself_as_soon_as_it_is_ready() {
    let scene = Scene::with(with_placeholder(&[("refresh", "5")])).await;
    let response = scene.get("/").await;
    assert_eq!((response.status, response.text()), (503, PAGE));
    assert_eq!(response.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(response.header("refresh"), Some("5"));
    assert_eq!(response.header("retry-after"), Some("5"));
    assert_eq!(response.header("x-keda-http-cold-start"), Some("true"));
    scene.until_queue(0, 1).await;
    scene.ready(&[Upstream::start().await.address]);
    let response = scene.get("/").await;
    assert_eq!((response.status, response.text()), (200, "hello"));
    assert_eq!(response.header("x-keda-http-cold-start"), Some("false"));
    scene.until_queue(0, 2).await;
}

#[tokio::test]
async fn its_own_headers_stand() {
    let scene = Scene::with(with_placeholder(&[("retry-after", "60"), ("content-type", "text/x-mine")])).await;
    let response = scene.get("/").await;
    assert_eq!(response.header("retry-after"), Some("60"));
    assert_eq!(response.header("content-type"), Some("text/x-mine"));
    assert_eq!(response.head.matches("retry-after").count(), 1);
}

#[tokio::test]
async fn it_wakes_the_workload() {
    let log = Arc::new(MemoryLog::new());
    let topics = [Topic::from(app().topic()), Topic::from(INTERCEPTORS)];
    let specs = topics.clone().map(|topic| TopicSpec { topic, retention: Duration::from_secs(900) });
    log.create_topics(&specs).await;
    let mut subscription = log.subscribe(Pace::AtOnce).unwrap();
    subscription.add([(topics[1].clone(), StartAt::Oldest)]);
    let scene = Scene::on(log.clone(), with_placeholder(&[])).await;
    assert_eq!(scene.get("/").await.status, 503);
    let activated = async {
        loop {
            for record in subscription.next().await.expect("the log goes on").records {
                let record = InterceptorRecord::decode(record.payload).unwrap().record;
                if let Some(Record::Activation(Activation { topic, frame: Some(frame) })) = record {
                    return (topic, frame.admitted);
                }
            }
        }
    };
    let activated = tokio::time::timeout(SOON, activated).await.expect("an activation");
    assert_eq!(activated, (app().topic(), 1));
}

#[tokio::test]
async fn a_head_request_gets_its_head_alone_and_the_connection_goes_on() {
    let scene = Scene::with(with_placeholder(&[])).await;
    let mut client = scene.client().await;
    client.send("HEAD / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    let (status, head) = client.head().await.unwrap();
    assert_eq!(status, 503);
    assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", PAGE.len())), "{head}");
    client.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    assert_eq!(client.response().await.text(), PAGE);
    scene.until_queue(0, 2).await;
}

#[tokio::test]
async fn it_is_served_over_http_2_too() {
    let scene = Scene::with(with_placeholder(&[])).await;
    let io = TokioIo::new(TcpStream::connect(scene.proxy).await.unwrap());
    let (mut sender, connection) = http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), io).await.unwrap();
    let connection = tokio::spawn(connection);
    for (method, body) in [("GET", PAGE), ("HEAD", ""), ("GET", PAGE)] {
        let request = Request::builder().method(method).uri("http://app.test/").body(Empty::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["content-length"], PAGE.len().to_string());
        assert_eq!(response.headers()["retry-after"], "5");
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), body);
    }
    scene.until_queue(0, 3).await;
    connection.abort();
}

#[tokio::test]
async fn a_config_map_without_a_key_is_served_by_path() {
    let texts = [("index.html", "<p>wait</p>"), ("style.css", "p {}")];
    let texts = BTreeMap::from(texts.map(|(key, text)| (key.to_owned(), text.to_owned())));
    let body = ConfigMapBody { name: "pages".to_owned(), key: None, texts: Some(Arc::new(texts)) };
    let response = FixedResponse { status: 200, headers: vec![], body: FixedBody::ConfigMap(body) };
    let scene = Scene::with(|_, workload| workload.cold_start.placeholder = Some(response)).await;
    for (path, text, kind) in [
        ("/", "<p>wait</p>", Some("text/html; charset=utf-8")),
        ("/style.css?v=2", "p {}", Some("text/css; charset=utf-8")),
        ("/favicon.ico", "", None),
    ] {
        let response = scene.get(path).await;
        assert_eq!((response.status, response.text()), (200, text), "{path}");
        assert_eq!(response.header("content-type"), kind, "{path}");
        assert_eq!(response.header("retry-after"), None, "{path}");
    }
    scene.until_queue(0, 3).await;
}

#[tokio::test]
async fn a_body_that_nobody_has_supplied_is_empty() {
    let body = ConfigMapBody { name: "pages".to_owned(), key: Some("a".to_owned()), texts: None };
    let response = FixedResponse { status: 503, headers: vec![], body: FixedBody::ConfigMap(body) };
    let scene = Scene::with(|_, workload| workload.cold_start.placeholder = Some(response)).await;
    let response = scene.get("/").await;
    assert_eq!((response.status, response.text()), (503, ""));
    scene.until_queue(0, 1).await;
}

#[tokio::test]
async fn with_a_bound_of_its_own_requests_wait_and_those_beyond_it_get_the_placeholder() {
    let scene = Scene::with(|_, workload| {
        workload.cold_start.placeholder = Some(page(&[]));
        workload.cold_start.max_pending = Some(1);
        workload.cold_start.overflow = Overflow::Placeholder;
    });
    let scene = scene.await;
    let mut held = scene.client().await;
    held.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    scene.until_held(1).await;
    assert_eq!(scene.get("/").await.text(), PAGE);
    scene.until_queue(1, 2).await;
    scene.ready(&[Upstream::start().await.address]);
    assert_eq!(held.response().await.text(), "hello");
    scene.until_queue(0, 2).await;
}

#[tokio::test]
async fn it_changes_with_its_resource() {
    let scene = Scene::with(with_placeholder(&[])).await;
    assert_eq!(scene.get("/").await.text(), PAGE);
    let mut workload = scene.routes.borrow()[0].clone();
    workload.cold_start.placeholder = Some(FixedResponse { status: 202, ..page(&[]) });
    scene.routes.send_replace(Arc::new(vec![workload]));
    crate::scene::until(async || scene.get("/").await.status == 202, "the new placeholder is served").await;
}

#[tokio::test]
async fn a_manifest_with_its_config_map_is_served_as_it_stands() {
    const MANIFEST: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: pages, labels: {http.keda.sh/response-body: "true"}}
data: {wait.html: "<p>Loading</p>"}
---
apiVersion: http.keda.sh/v1beta1
kind: InterceptorRoute
metadata: {name: app}
spec:
  target: {service: app.internal, port: 80}
  rules: [{hosts: [app.test]}]
  scalingMetric: {concurrency: {}}
  coldStart:
    placeholder:
      response: {statusCode: 202, bodyFromConfigMap: {name: pages, key: wait.html}, headers: {Refresh: "5"}}
  staticRoutes:
    - rules: [{paths: [{value: /healthz}]}]
      response: {body: fine}
      responseMode: Always
"#;
    let loaded = plimsoll_wire::resources::files::parse(MANIFEST, "routes.yaml");
    assert_eq!((loaded.problems, loaded.notes), (vec![], vec![]));
    let scene = Scene::with(|_, workload| *workload = loaded.workloads[0].clone()).await;
    let response = scene.get("/").await;
    assert_eq!((response.status, response.text()), (202, "<p>Loading</p>"));
    assert_eq!(response.header("refresh"), Some("5"));
    assert_eq!(response.header("retry-after"), None);
    assert_eq!(scene.get("/healthz").await.text(), "fine");
    scene.until_queue(0, 1).await;
}
