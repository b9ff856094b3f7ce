//! Requests that a workload's resource takes out of its load.

use std::sync::atomic::Ordering;

use plimsoll_wire::resources::{FixedBody, FixedResponse, HeaderRule, ResponseMode, Rule, StaticRoute};

use crate::scene::Scene;
use crate::upstream::Upstream;

fn route(path: &str, header: Option<(&str, &str)>, mode: ResponseMode, body: &str) -> StaticRoute {
    let header = header.map(|(name, value)| HeaderRule { name: name.to_owned(), value: Some(value.to_owned()) });
    let (hosts, paths) = (vec!["app.test".to_owned()], vec![path.to_owned()]);
    StaticRoute {
        rules: vec![Rule { hosts, paths, headers: header.into_iter().collect() }],
        response: FixedResponse { status: 200, headers: vec![], body: FixedBody::Inline(body.into()) },
        mode,
    }
}

#[tokio::test]
async fn always_means_that_neither_the_workload_nor_its_load_hears_of_it() {
    let scene = Scene::with(|_, workload| {
        workload.static_routes.push(route("/healthz", None, ResponseMode::Always, "fine"));
    });
    let scene = scene.await;
    let upstream = Upstream::start().await;
    for ready in [false, true] {
        if ready {
            scene.ready(&[upstream.address]);
        }
        let response = scene.get("/healthz").await;
        assert_eq!((response.status, response.text()), (200, "fine"));
        assert_eq!(response.header("content-type"), Some("text/plain; charset=utf-8"));
    }
    assert_eq!(upstream.requests.load(Ordering::SeqCst), 0);
    assert_eq!(scene.queue().await, (0, 0));
    let series =
        "interceptor_request_count_total{code=\"200\",method=\"GET\",route_name=\"app\",route_namespace=\"default\"}";
    assert_eq!(scene.metric(series).await, Some(2));
    // All else is load.
    assert_eq!(scene.get("/health").await.text(), "hello");
    scene.until_queue(0, 1).await;
}

#[tokio::test]
async fn when_unavailable_it_is_answered_here_and_else_by_the_workload_uncounted() {
    let scene = Scene::with(|_, workload| {
        workload.static_routes.push(route("/", None, ResponseMode::WhenUnavailable, "asleep"));
    });
    let scene = scene.await;
    assert_eq!(scene.get("/echo").await.text(), "asleep");
    let upstream = Upstream::start().await;
    scene.ready(&[upstream.address]);
    let mut client = scene.client().await;
    client.send("POST /echo HTTP/1.1\r\nhost: app.test\r\ncontent-length: 4\r\n\r\n").await;
    let (status, _) = client.head().await.unwrap();
    assert_eq!(status, 200);
    // The request is under way.
    assert_eq!(scene.queue().await, (0, 0));
    client.leave();
    assert_eq!(scene.get("/").await.text(), "hello");
    assert_eq!(upstream.requests.load(Ordering::SeqCst), 2);
    assert_eq!(scene.queue().await, (0, 0));
}

#[tokio::test]
async fn the_first_route_that_matches_decides() {
    let scene = Scene::with(|_, workload| {
        workload.static_routes = vec![
            route("/healthz", Some(("x-probe", "deep")), ResponseMode::WhenUnavailable, "deep"),
            route("/healthz", None, ResponseMode::Always, "shallow"),
        ];
    });
    let scene = scene.await;
    let mut client = scene.client().await;
    client.send("GET /healthz HTTP/1.1\r\nhost: app.test\r\nx-probe: deep\r\n\r\n").await;
    assert_eq!(client.response().await.text(), "deep");
    assert_eq!(scene.get("/healthz").await.text(), "shallow");
    assert_eq!(scene.queue().await, (0, 0));
}
