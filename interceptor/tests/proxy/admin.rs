//! The admin pages.

use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::client::Client;
use crate::scene::{SOON, Scene, until};
use crate::upstream::Upstream;

async fn json(scene: &Scene, path: &str) -> Value {
    serde_json::from_slice(&scene.page(path).await.body).unwrap()
}

#[tokio::test]
async fn the_pages_tell_what_is_going_on() {
    let scene = Scene::start().await;
    let upstream = Upstream::start().await.address;
    scene.ready(&[upstream]);
    assert_eq!(scene.page("/livez").await.status, 200);
    assert_eq!(scene.page("/queue").await.text(), r#"{"default/app":{"Concurrency":0,"RequestCount":0}}"#);
    scene.get("/").await;
    scene.until_queue(0, 1).await;

    let metrics = scene.page("/metrics").await;
    let route = r#"route_name="app",route_namespace="default""#;
    for line in [
        format!(r#"interceptor_request_count_total{{code="200",method="GET",{route}}} 1"#),
        format!(r#"interceptor_request_duration_seconds_count{{code="200",method="GET",{route}}} 1"#),
        format!(r#"interceptor_request_duration_seconds_bucket{{le="0.005",code="200",method="GET",{route}}} "#),
        format!(r#"interceptor_request_duration_seconds_bucket{{le="1",code="200",method="GET",{route}}} "#),
        format!(r#"interceptor_request_concurrency{{{route}}} 0"#),
        format!(r#"interceptor_endpoint_picks_total{{endpoint="{upstream}",{route}}} 1"#),
        "# TYPE interceptor_request_count_total counter".to_owned(),
        "interceptor_upstream_connects_total 1".to_owned(),
    ] {
        assert!(metrics.text().contains(&line), "{line} is not in\n{}", metrics.text());
    }

    let routes = json(&scene, "/routes").await;
    assert_eq!(routes[0]["workload"], "default/app");
    assert_eq!(routes[0]["rules"][0]["hosts"][0], "app.test");

    let endpoints = json(&scene, "/endpoints").await;
    assert_eq!(endpoints[0]["workload"], "default/app");
    assert_eq!(endpoints[0]["endpoints"][0]["address"], upstream.to_string());
    assert_eq!(endpoints[0]["endpoints"][0]["picks"], 1);
    assert_eq!(endpoints[0]["endpoints"][0]["inFlight"], 0);
}

#[tokio::test]
async fn the_settings_shown_are_those_in_force() {
    let scene = Scene::with(|config, _| config.connect_timeout = Duration::from_millis(1234)).await;
    let settings = json(&scene, "/config").await;
    assert_eq!(settings["connect-timeout"], "1234ms");
    assert_eq!(settings["proxy-threads"], 2);
}

#[tokio::test]
async fn requests_that_no_route_matches_are_counted_without_a_routes_name() {
    let scene = Scene::start().await;
    let mut client = scene.client().await;
    client.send("BREW / HTTP/1.1\r\nhost: nobody.test\r\n\r\n").await;
    assert_eq!(client.response().await.status, 404);
    let series = r#"interceptor_request_count_total{code="404",method="_OTHER",route_name="",route_namespace=""}"#;
    assert_eq!(scene.metric(series).await, Some(1));
}

#[tokio::test]
async fn a_wait_for_an_endpoint_is_measured() {
    let scene = Scene::start().await;
    let mut client = scene.client().await;
    client.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    scene.until_held(1).await;
    scene.ready(&[Upstream::start().await.address]);
    assert_eq!(client.response().await.text(), "hello");
    scene.until_queue(0, 1).await;
    // This one has not waited.
    scene.get("/").await;
    scene.until_queue(0, 2).await;
    for name in ["interceptor_cold_start_duration_seconds_count", "interceptor_request_queue_duration_seconds_count"] {
        let series = format!(r#"{name}{{route_name="app",route_namespace="default"}}"#);
        assert_eq!(scene.metric(&series).await, Some(1), "{name}");
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_is_counted_by_its_reason() {
    let scene = Scene::start().await;
    let cut_short = Upstream::scripted(|mut stream, _| async move {
        crate::upstream::read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await.unwrap();
    });
    scene.ready(&[cut_short.await.address]);
    let mut client = scene.client().await;
    client.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    assert!(client.try_response().await.is_none());
    scene.until_queue(0, 1).await;
    let broken = |reason| {
        format!(r#"interceptor_broken_requests_total{{reason="{reason}",route_name="app",route_namespace="default"}}"#)
    };
    assert_eq!(scene.metric(&broken("upstream failed")).await, Some(1));

    scene.ready(&[Upstream::start().await.address]);
    let mut client = scene.client().await;
    client.send("GET /drip HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    client.head().await.unwrap();
    client.leave();
    scene.until_queue(0, 2).await;
    assert_eq!(scene.metric(&broken("client gone")).await, Some(1));
}

#[tokio::test]
async fn the_series_of_a_route_go_with_it() {
    let scene = Scene::start().await;
    scene.ready(&[Upstream::start().await.address]);
    scene.get("/").await;
    scene.until_queue(0, 1).await;
    scene.endpoints.remove(&crate::scene::app());
    scene.routes.send(std::sync::Arc::default()).unwrap();
    let gone = async || !scene.page("/metrics").await.text().contains("route_name=\"app\"");
    until(gone, "no series names the route").await;
}

#[tokio::test]
async fn scrapers_that_hang_keep_no_probe_waiting() {
    let scene = Scene::start().await;
    let mut hanging = Vec::new();
    // More than may be connected at once: the oldest are cut off for want of a request's head.
    for _ in 0..300 {
        let mut stream = TcpStream::connect(scene.admin).await.unwrap();
        stream.write_all(b"GET /metrics HT").await.unwrap();
        hanging.push(stream);
    }
    let probe = async {
        let mut client = Client::connect(scene.admin).await;
        client.send("GET /livez HTTP/1.1\r\nhost: admin\r\n\r\n").await;
        tokio::time::timeout(6 * SOON, client.stream.readable()).await.unwrap().unwrap();
        client.response().await.status
    };
    assert_eq!(probe.await, 200);
}
