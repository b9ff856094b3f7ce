//! The admin pages.

use crate::scene::Scene;
use crate::upstream::Upstream;

#[tokio::test]
async fn the_pages_tell_what_is_going_on() {
    let scene = Scene::start().await;
    scene.ready(&[Upstream::start().await.address]);
    assert_eq!(scene.page("/livez").await.status, 200);
    assert_eq!(scene.page("/queue").await.text(), r#"{"default/app":{"Concurrency":0,"RequestCount":0}}"#);
    scene.get("/").await;
    scene.until_queue(0, 1).await;

    let metrics = scene.page("/metrics").await;
    for line in [
        r#"interceptor_request_count_total{code="200",method="GET",route_name="app",route_namespace="default"} 1"#,
        r#"interceptor_request_duration_seconds_count{route_name="app",route_namespace="default"} 1"#,
        r#"interceptor_request_duration_seconds_bucket{le="0.005",route_name="app",route_namespace="default"} "#,
        r#"interceptor_request_concurrency{route_name="app",route_namespace="default"} 0"#,
        "interceptor_upstream_connects_total 1",
    ] {
        assert!(metrics.text().contains(line), "{line} is not in\n{}", metrics.text());
    }

    let routes: serde_json::Value = serde_json::from_slice(&scene.page("/routes").await.body).unwrap();
    assert_eq!(routes[0]["workload"], "default/app");
    assert_eq!(routes[0]["rules"][0]["hosts"][0], "app.test");
}
