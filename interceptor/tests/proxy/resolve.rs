//! Endpoints by DNS.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_interceptor::resolve_by_dns;
use plimsoll_wire::resources::{Backend, Port};

use crate::scene::{Scene, until, workload};
use crate::upstream::Upstream;

#[tokio::test]
async fn a_target_is_followed_as_it_changes() {
    let scene = Scene::start().await;
    let upstream = Upstream::start().await;
    let resolving =
        tokio::spawn(resolve_by_dns(scene.routes.subscribe(), scene.endpoints.clone(), scene.shutdown.clone()));
    for service in ["127.0.0.1", "localhost"] {
        let mut workload = workload();
        workload.target.service = service.to_owned();
        workload.target.port = Port::Number(upstream.address.port());
        scene.routes.send_replace(Arc::new(vec![workload]));
        until(async || scene.get("/").await.status == 200, service).await;
    }

    // A fallback is followed too.
    let mut sleeping = workload();
    sleeping.target.service = "no-such-host.invalid".to_owned();
    sleeping.timeouts.readiness = Some(Duration::from_millis(1));
    let port = Port::Number(upstream.address.port());
    sleeping.cold_start.fallback = Some(Backend { service: "localhost".to_owned(), port });
    scene.routes.send_replace(Arc::new(vec![sleeping]));
    let from_fallback = async || {
        // A request that comes when the endpoints have gone, and before there is the new route, is held by the old one for long.
        let response = tokio::time::timeout(Duration::from_secs(1), scene.get("/")).await;
        response.is_ok_and(|it| it.status == 200 && it.header("x-keda-http-cold-start") == Some("true"))
    };
    until(from_fallback, "the fallback answers").await;

    // Without a cluster nobody knows the number of a port by its name.
    let mut named = workload();
    named.target.port = Port::Name("http".to_owned());
    named.timeouts.readiness = Some(Duration::from_millis(1));
    scene.routes.send_replace(Arc::new(vec![named]));
    until(async || scene.get("/").await.status == 500, "the name of the port is refused").await;

    // What does not resolve has no endpoint: requests are held, not refused.
    let mut nowhere = workload();
    nowhere.target.service = "no-such-host.invalid".to_owned();
    scene.routes.send_replace(Arc::new(vec![nowhere]));
    let mut held = Vec::new();
    until(
        async || {
            let mut client = scene.client().await;
            client.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
            held.push(client);
            scene.held().await > 0
        },
        "a request is held",
    )
    .await;
    scene.shutdown.cancel();
    resolving.await.unwrap();
}
