use std::collections::BTreeSet;

use super::scene::{OK, Scene};
use serde_json::{Value, json};

/// Every call of the design's table, and what is beside it.
const CALLS: &[(&str, &str)] = &[
    ("get", "/api/v1/topics"),
    ("post", "/api/v1/topics"),
    ("get", "/api/v1/topics/{topic}"),
    ("delete", "/api/v1/topics/{topic}"),
    ("get", "/api/v1/topics/{topic}/explain"),
    ("put", "/api/v1/topics/{topic}/pin"),
    ("delete", "/api/v1/topics/{topic}/pin"),
    ("get", "/api/v1/collectors"),
    ("get", "/api/v1/collectors/{collector}"),
    ("post", "/api/v1/collectors/{collector}/cordon"),
    ("post", "/api/v1/collectors/{collector}/uncordon"),
    ("post", "/api/v1/collectors/{collector}/drain"),
    ("get", "/api/v1/assignment"),
    ("post", "/api/v1/assignment/plan"),
    ("post", "/api/v1/assignment/rebalance"),
    ("get", "/api/v1/events"),
    ("get", "/api/v1/decisions"),
    ("get", "/api/v1/live"),
    ("get", "/api/v1/history"),
    ("get", "/api/v1/workloads/{namespace}/{name}/interceptors"),
    ("get", "/api/v1/policy"),
    ("put", "/api/v1/policy"),
    ("delete", "/api/v1/policy"),
    ("get", "/api/v1/workloads"),
    ("get", "/api/v1/workloads/{namespace}/{name}"),
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/metrics"),
];

#[tokio::test]
async fn the_description_has_every_call_that_is_served_and_no_other() {
    let scene = Scene::start(&[]).await;
    let document = scene.get("/openapi.json").await.ok(OK);
    let mut told = BTreeSet::new();
    for (path, calls) in document["paths"].as_object().unwrap() {
        for (method, call) in calls.as_object().unwrap() {
            told.insert((method.clone(), path.clone()));
            assert!(call["summary"].as_str().is_some_and(|text| text.len() > 5), "{method} {path} says nothing");
            let parameters = call["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
            for name in path.split(['{', '}']).skip(1).step_by(2) {
                assert!(
                    parameters.iter().any(|one| one["name"] == name && one["in"] == "path"),
                    "{method} {path}: {name}"
                );
            }
            let writes = !["get", "head"].contains(&method.as_str());
            assert_eq!(call["security"].is_array(), writes, "{method} {path}: who may do it");
            // What is described is served: whatever it answers, it is no 404 of the router and no 405.
            let path =
                path.replace("{namespace}", "shop").replace("{name}", "web").replace("{topic}", "plimsoll.shop.web");
            let path = path.replace("{collector}", "a");
            if ["/api/v1/events", "/api/v1/live"].contains(&path.as_str()) {
                // They never end; `events` and `live` listen to them.
                continue;
            }
            let answer = scene.send(&method.to_uppercase(), &path, &[], None).await;
            assert!(answer.status != 405 && !answer.text.contains("nothing is at"), "{method} {path}: {answer:?}");
        }
    }
    let expected = CALLS.iter().map(|(method, path)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(told, expected);
    scene.end().await;
}

/// The schema of an answer, with all that it refers to.
fn schema(document: &Value, method: &str, path: &str, status: u16) -> Value {
    let answer = &document["paths"][path][method]["responses"][status.to_string()];
    let content = answer["content"].as_object().unwrap_or_else(|| panic!("{method} {path} has no {status}: {answer}"));
    let schema = &content.values().next().unwrap()["schema"];
    json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "allOf": [schema], "components": document["components"]})
}

#[tokio::test]
async fn live_answers_are_as_described() {
    let mut scene = Scene::start(&[]).await;
    scene.collector("a").await;
    let document = scene.get("/openapi.json").await.ok(OK);
    let policy = r#"{"kind":"max-per-host","maxPerHost":5,"minCollectors":1,"maxCollectors":2}"#;
    let new = r#"{"workload":"shop/cart"}"#;
    let topic = "/api/v1/topics/{topic}";
    let web = "plimsoll.shop.web";
    for (method, path, fill, body, status) in [
        ("get", "/api/v1/workloads", "", None, 200),
        ("get", "/api/v1/workloads/{namespace}/{name}", "web", None, 200),
        ("get", "/api/v1/workloads/{namespace}/{name}", "no", None, 404),
        ("get", "/api/v1/topics", "", None, 200),
        ("get", "/api/v1/topics", "?limit=x", None, 400),
        ("get", topic, web, None, 200),
        ("get", topic, "no", None, 404),
        ("get", "/api/v1/topics/{topic}/explain", web, None, 200),
        ("get", "/api/v1/decisions", "", None, 200),
        ("get", "/api/v1/history", "?workloads=shop/web,shop/gone&minutes=5", None, 200),
        ("get", "/api/v1/history", "?workloads=web", None, 400),
        ("get", "/api/v1/history", "", None, 400),
        ("get", "/api/v1/workloads/{namespace}/{name}/interceptors", "web", None, 200),
        ("get", "/api/v1/workloads/{namespace}/{name}/interceptors", "no", None, 404),
        ("post", "/api/v1/assignment/plan", "", Some(r#"{"lose":["a"]}"#), 200),
        ("post", "/api/v1/assignment/plan", "", Some(r#"{"lose":["x"]}"#), 422),
        ("post", "/api/v1/topics", "", Some(new), 201),
        ("post", "/api/v1/topics", "", Some(new), 409),
        ("post", "/api/v1/topics", "", Some("{}"), 422),
        ("post", "/api/v1/topics", "", Some("{"), 400),
        ("delete", topic, "plimsoll.shop.cart", None, 202),
        ("delete", topic, web, None, 409),
        ("put", "/api/v1/topics/{topic}/pin", web, Some(r#"{"collector":"a"}"#), 200),
        ("delete", "/api/v1/topics/{topic}/pin", web, None, 200),
        ("delete", "/api/v1/topics/{topic}/pin", web, None, 404),
        ("get", "/api/v1/collectors", "", None, 200),
        ("get", "/api/v1/collectors/{collector}", "a", None, 200),
        ("post", "/api/v1/collectors/{collector}/cordon", "a", None, 200),
        ("post", "/api/v1/collectors/{collector}/drain", "a", None, 202),
        ("post", "/api/v1/collectors/{collector}/uncordon", "a", None, 200),
        ("get", "/api/v1/assignment", "", None, 200),
        ("post", "/api/v1/assignment/rebalance", "", None, 202),
        ("get", "/api/v1/policy", "", None, 200),
        ("put", "/api/v1/policy", "", Some(policy), 200),
        ("put", "/api/v1/policy", "", Some("{}"), 422),
        ("delete", "/api/v1/policy", "", None, 200),
        ("get", "/readyz", "", None, 200),
    ] {
        let open = |name: &str| path.contains(&format!("{{{name}}}"));
        let asked = path.replace("{namespace}", "shop").replace("{name}", fill).replace("{topic}", fill);
        let mut asked = asked.replace("{collector}", fill);
        if !["name", "topic", "collector"].iter().any(|name| open(name)) {
            asked.push_str(fill);
        }
        let answer = scene.ask(&method.to_uppercase(), &asked, body).await.ok(status);
        let validator = jsonschema::validator_for(&schema(&document, method, path, status)).unwrap();
        let errors: Vec<String> = validator.iter_errors(&answer).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{method} {asked} {status}: {errors:?}\n{answer:#}");
    }
    let known = schema(&document, "get", "/api/v1/policy", 200);
    let validator = jsonschema::validator_for(&known).unwrap();
    assert!(!validator.is_valid(&json!({"kind": "best"})), "a schema that lets everything through proves nothing");
    scene.end().await;
}

#[tokio::test]
async fn the_page_for_people_has_every_call_and_loads_nothing() {
    let scene = Scene::start(&[]).await;
    let page = scene.get("/docs").await;
    assert!(page.headers["content-type"].starts_with("text/html"));
    assert!(page.headers["content-security-policy"].starts_with("default-src 'none'; style-src 'sha256-"));
    for (method, path) in CALLS {
        let line = format!("<span class=m>{}</span><code>{path}</code>", method.to_uppercase());
        assert!(page.text.contains(&line), "{method} {path} is missing");
    }
    for loads in ["<script", "src=", "<link", "@import", "url(", "http://", "https://"] {
        assert!(!page.text.contains(loads), "{loads}");
    }
    scene.end().await;
}
