use super::scene::{OK, Scene};

const NEW: &str = r#"{"workload":"shop/cart","provider":"aws"}"#;
const CART: &str = "/api/v1/topics/plimsoll.shop.cart";

#[tokio::test]
async fn a_topic_is_registered_once_and_deleted_once() {
    let scene = Scene::start(&[]).await;
    scene.get(CART).await.problem(404);
    let added = scene.ask("POST", "/api/v1/topics", Some(NEW)).await;
    assert_eq!(added.headers["location"], CART);
    let view = added.ok(201);
    assert_eq!((view["workload"].as_str(), view["provider"].as_str()), (Some("shop/cart"), Some("aws")), "{view}");
    assert_eq!(view["registered"], true);
    scene.ask("POST", "/api/v1/topics", Some(NEW)).await.problem(409);
    scene.until(CART, |answer| answer.status == OK && answer.json()["registered"] == true).await;
    assert_eq!(scene.ask("DELETE", CART, None).await.ok(202)["state"], "removing");
    scene.ask("DELETE", CART, None).await.problem(404);
    scene.ask("POST", "/api/v1/topics", Some(NEW)).await.ok(201);
    scene.end().await;
}

#[tokio::test]
async fn before_the_resources_are_known_no_topic_is_added_or_deleted() {
    let (tell, known) = tokio::sync::watch::channel(false);
    let scene = Scene::unknowing(known).await;
    // A resource describes it, as this manager will know.
    let web = r#"{"workload":"shop/web","provider":"gcp"}"#;
    scene.ask("POST", "/api/v1/topics", Some(web)).await.problem(503);
    scene.ask("DELETE", "/api/v1/topics/plimsoll.shop.web", None).await.problem(503);
    assert_eq!(scene.store_directives().await, Default::default());
    tell.send_replace(true);
    scene.until("/readyz", |answer| answer.status == OK).await;
    scene.ask("POST", "/api/v1/topics", Some(web)).await.problem(409);
    scene.end().await;
}

#[tokio::test]
async fn a_provider_that_no_fleet_can_serve_is_a_conflict_and_changes_nothing() {
    let moon = r#"{"workload":"shop/cart","provider":"moon"}"#;
    let mut scene = Scene::start(&["--policy=per-provider"]).await;
    let problem = scene.ask("POST", "/api/v1/topics", Some(moon)).await.problem(409);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("moon") && detail.contains("nothing was changed"), "{detail}");
    assert_eq!(scene.store_directives().await, Default::default());
    // One of its collectors is there.
    scene.collector("a").await;
    scene.ask("POST", "/api/v1/topics", Some(r#"{"workload":"shop/cart","provider":"default"}"#)).await.ok(201);
    scene.end().await;
    // Any collector reads it.
    let scene = Scene::start(&[]).await;
    scene.ask("POST", "/api/v1/topics", Some(moon)).await.ok(201);
    scene.end().await;
}

#[tokio::test]
async fn a_topic_that_a_resource_describes_is_the_resources() {
    let scene = Scene::start(&[]).await;
    let problem = scene.ask("DELETE", "/api/v1/topics/plimsoll.shop.web", None).await.problem(409);
    assert!(problem["detail"].as_str().unwrap().contains("shop/web"), "{problem}");
    scene.ask("POST", "/api/v1/topics", Some(r#"{"workload":"shop/web"}"#)).await.problem(409);
    assert_eq!(scene.store_directives().await, Default::default());
    scene.end().await;
}

#[tokio::test]
async fn a_bad_body_is_told_by_its_field_and_changes_nothing() {
    let scene = Scene::start(&[]).await;
    for (body, status, field) in [
        (r#"{"provider":"aws"}"#, 422, "workload"),
        (r#"{"workload":"nonsense"}"#, 422, "workload"),
        (r#"{"workload":"Shop/cart"}"#, 422, "workload"),
        (r#"{"workload":7}"#, 422, "workload"),
        (r#"{"workload":"shop/cart","provider":""}"#, 422, "provider"),
        (r#"{"workload":"shop/cart","provider":"A W S"}"#, 422, "provider"),
        (r#"{"workload":"shop/cart","dedicated":"yes"}"#, 422, "dedicated"),
        (r#"{"workload":"shop/cart","provder":"aws"}"#, 422, "provder"),
        (r#"{"workload":"#, 400, ""),
        ("", 400, ""),
    ] {
        let problem = scene.ask("POST", "/api/v1/topics", Some(body)).await.problem(status);
        if status == 422 {
            assert_eq!(problem["errors"][0]["field"], field, "{body}: {problem}");
        }
    }
    assert_eq!(scene.store_directives().await, Default::default());
    scene.end().await;
}

#[tokio::test]
async fn a_pin_needs_a_topic_and_a_collector_that_are_there() {
    let mut scene = Scene::start(&[]).await;
    scene.collector("a").await;
    let pin = "/api/v1/topics/plimsoll.shop.web/pin";
    scene.ask("PUT", pin, Some(r#"{"collector":"nobody"}"#)).await.problem(404);
    scene.ask("PUT", "/api/v1/topics/no-such/pin", Some(r#"{"collector":"a"}"#)).await.problem(404);
    let problem = scene.ask("PUT", pin, Some("{}")).await.problem(422);
    assert_eq!(problem["errors"][0]["field"], "collector");
    scene.ask("DELETE", pin, None).await.problem(404);
    assert_eq!(scene.ask("PUT", pin, Some(r#"{"collector":"a"}"#)).await.ok(200)["pinned"], "a");
    assert_eq!(scene.ask("PUT", pin, Some(r#"{"collector":"a"}"#)).await.ok(200)["pinned"], "a");
    assert_eq!(scene.ask("DELETE", pin, None).await.ok(200)["pinned"], serde_json::Value::Null);
    scene.ask("DELETE", pin, None).await.problem(404);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_at_the_same_time_are_all_made() {
    let scene = std::sync::Arc::new(Scene::start(&["--api-writes-per-second=1000"]).await);
    let mut all = tokio::task::JoinSet::new();
    for number in 0..12 {
        let scene = scene.clone();
        all.spawn(async move {
            let body = format!(r#"{{"workload":"shop/w{number}"}}"#);
            scene.ask("POST", "/api/v1/topics", Some(&body)).await.ok(201);
        });
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
    assert_eq!(scene.store_directives().await.registered.len(), 12);
    std::sync::Arc::into_inner(scene).unwrap().end().await;
}
