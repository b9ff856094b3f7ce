use super::scene::{OK, Scene};

#[tokio::test]
async fn every_error_is_a_problem_in_the_same_form() {
    let scene = Scene::start(&[]).await;
    for (method, path, status) in [
        ("GET", "/nowhere", 404),
        ("GET", "/api/v1/nowhere", 404),
        ("GET", "/api/v1/topics/no-such", 404),
        ("GET", "/api/v1/workloads/no/such", 404),
        ("GET", "/api/v1/collectors/no-such", 404),
        ("PATCH", "/api/v1/topics", 405),
        ("DELETE", "/api/v1/assignment", 405),
        ("GET", "/api/v1/topics/%ff", 400),
        ("GET", "/api/v1/topics?limit=many", 400),
        ("GET", "/api/v1/topics?limit=-1", 400),
        ("GET", "/api/v1/topics?provder=aws", 400),
        ("GET", "/api/v1/topics?state=happy", 400),
        ("GET", "/api/v1/workloads?known=perhaps", 400),
    ] {
        let answer = scene.ask(method, path, None).await;
        answer.problem(status);
        if status == 405 {
            assert!(answer.headers.contains_key("allow"), "{answer:?}");
        }
    }
    let long = "x".repeat(70_000);
    scene.ask("POST", "/api/v1/topics", Some(&long)).await.problem(413);
    for kind in ["text/plain", "application/x-www-form-urlencoded", ""] {
        let body = r#"{"workload":"shop/cart"}"#;
        scene.send("POST", "/api/v1/topics", &[("content-type", kind)], Some(body)).await.problem(415);
        scene.send("POST", "/api/v1/assignment/rebalance", &[("content-type", kind)], None).await.problem(415);
    }
    assert_eq!(scene.store_directives().await, Default::default());
    scene.end().await;
}

#[tokio::test]
async fn a_plan_that_is_known_is_not_sent_again() {
    let scene = Scene::start(&[]).await;
    let plan = scene.get("/api/v1/assignment").await;
    let generation = plan.ok(OK)["generation"].as_u64().unwrap();
    let tag = plan.headers["etag"].clone();
    assert_eq!(tag, format!("\"{generation}\""));
    for known in [tag.clone(), "*".into(), format!("\"x\", W/{tag}")] {
        let again = scene.send("GET", "/api/v1/assignment", &[("if-none-match", &known)], None).await;
        assert_eq!((again.status, again.text.as_str(), &again.headers["etag"]), (304, "", &tag));
    }
    let other = scene.send("GET", "/api/v1/assignment", &[("if-none-match", "\"x\"")], None).await;
    assert_eq!(other.status, OK);
    scene.end().await;
}

#[tokio::test]
async fn requests_are_counted_by_call_and_status_and_by_nothing_that_a_client_makes_up() {
    let scene = Scene::start(&[]).await;
    for name in ["a", "b", "c"] {
        scene.get(&format!("/api/v1/topics/{name}")).await.problem(404);
        scene.ask("BREW", &format!("/{name}"), None).await;
    }
    let metrics = scene.get("/metrics").await.text;
    let counted = |line: &str| metrics.lines().any(|found| found == line);
    assert!(
        counted(r#"plimsoll_api_requests_total{method="GET",route="/api/v1/topics/{topic}",status="404"} 3"#),
        "{metrics}"
    );
    assert!(counted(r#"plimsoll_api_requests_total{method="other",route="other",status="404"} 3"#), "{metrics}");
    assert!(counted(r#"plimsoll_manager_topics{state="unassigned"} 2"#), "{metrics}");
    scene.end().await;
}
