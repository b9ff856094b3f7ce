use super::scene::{OK, Scene};
use serde_json::json;

const PATH: &str = "/api/v1/policy";

#[tokio::test]
async fn a_policy_is_set_guarded_and_reset() {
    let scene = Scene::start(&["--max-per-host=77"]).await;
    let first = scene.get(PATH).await;
    assert_eq!(first.ok(OK)["maxPerHost"], 77, "what the flags say");
    let set = |number: u32| {
        json!({"kind":"per-provider","maxPerHost":number,"minCollectors":2,"maxCollectors":9}).to_string()
    };
    let put = async |tag: &str, number| {
        let headers = [("content-type", "application/json"), ("if-match", tag)];
        scene.send("PUT", PATH, &headers, Some(&set(number))).await
    };
    let tag = first.headers["etag"].clone();
    let second = put(&tag, 5).await;
    assert_eq!(second.ok(OK)["kind"], "per-provider");
    put(&tag, 6).await.problem(412);
    scene.send("DELETE", PATH, &[("if-match", &tag)], None).await.problem(412);
    assert_eq!(scene.store_directives().await.policy.map(|policy| policy.max_per_host), Some(5));
    assert_eq!(put(&second.headers["etag"], 6).await.ok(OK)["maxPerHost"], 6);
    assert_eq!(put("*", 7).await.ok(OK)["maxPerHost"], 7);
    assert_eq!(scene.ask("PUT", PATH, Some(&set(8))).await.ok(OK)["maxPerHost"], 8, "unguarded");
    scene.until(PATH, |answer| answer.json()["maxPerHost"] == 8).await;
    let reset = scene.ask("DELETE", PATH, None).await;
    assert_eq!(reset.ok(OK)["maxPerHost"], 77);
    assert_eq!(reset.headers["etag"], tag, "the same policy is the same version");
    scene.end().await;
}

#[tokio::test]
async fn a_bad_policy_is_told_by_its_field_and_changes_nothing() {
    let scene = Scene::start(&[]).await;
    let good = json!({"kind":"max-per-host","maxPerHost":200,"minCollectors":1,"maxCollectors":50});
    let with = |field: &str, value: serde_json::Value| {
        let mut policy = good.clone();
        policy[field] = value;
        policy
    };
    let without = |field: &str| {
        let mut policy = good.clone();
        policy.as_object_mut().unwrap().remove(field);
        policy
    };
    let mut bad = vec![(with("kind", json!("best")), "kind"), (with("minCollectors", json!(51)), "maxCollectors")];
    for field in ["maxPerHost", "minCollectors", "maxCollectors"] {
        bad.push((with(field, json!(0)), field));
        bad.push((with(field, json!(-1)), field));
        bad.push((with(field, json!("9")), field));
    }
    for field in ["kind", "maxPerHost", "minCollectors", "maxCollectors"] {
        bad.push((without(field), field));
    }
    bad.push((with("maxPerHots", json!(1)), "maxPerHots"));
    for (policy, field) in bad {
        let problem = scene.ask("PUT", PATH, Some(&policy.to_string())).await.problem(422);
        assert_eq!(problem["errors"][0]["field"], field, "{policy}: {problem}");
    }
    assert_eq!(scene.store_directives().await.policy, None);
    assert_eq!(scene.get(PATH).await.json(), good);
    scene.end().await;
}
