use plimsoll_scheduler::directives::CollectorDirective;

use super::scene::Scene;

#[tokio::test]
async fn a_collector_is_cordoned_drained_and_taken_back() {
    let mut scene = Scene::start(&[]).await;
    scene.collector("a").await;
    for call in ["cordon", "uncordon", "drain"] {
        scene.ask("POST", &format!("/api/v1/collectors/nobody/{call}"), None).await.problem(404);
    }
    let call = |call: &str| format!("/api/v1/collectors/a/{call}");
    assert_eq!(scene.ask("POST", &call("cordon"), None).await.ok(200)["wish"], "cordon");
    let directives = scene.store_directives().await;
    assert_eq!(directives.collectors.get("a"), Some(&CollectorDirective::Cordon));
    assert_eq!(scene.ask("POST", &call("drain"), Some("{}")).await.ok(202)["wish"], "drain");
    scene.until("/api/v1/collectors/a", |answer| answer.json()["wish"] == "drain").await;
    assert_eq!(scene.ask("POST", &call("uncordon"), None).await.ok(200)["wish"], serde_json::Value::Null);
    assert_eq!(scene.ask("POST", &call("uncordon"), None).await.status, 200, "twice is once");
    assert!(scene.store_directives().await.collectors.is_empty());
    scene.ask("POST", &call("drain"), Some(r#"{"now":true}"#)).await.problem(422);
    scene.end().await;
}

#[tokio::test]
async fn each_rebalance_that_is_asked_for_is_counted() {
    let scene = Scene::start(&[]).await;
    let path = "/api/v1/assignment/rebalance";
    assert_eq!(scene.ask("POST", path, None).await.ok(202)["asked"], 1);
    assert_eq!(scene.ask("POST", path, None).await.ok(202)["asked"], 2);
    assert_eq!(scene.store_directives().await.rebalances, 2);
    scene.end().await;
}
