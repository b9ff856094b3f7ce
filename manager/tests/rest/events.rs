use std::time::Duration;

use super::scene::{OK, Scene};

const LIMIT: Duration = Duration::from_secs(20);

/// An open stream of events, as text.
struct Listener {
    response: reqwest::Response,
    text: String,
}

impl Listener {
    async fn open(scene: &Scene, last: Option<&str>) -> Self {
        Self::open_to(scene, "", last).await
    }

    async fn open_to(scene: &Scene, what: &str, last: Option<&str>) -> Self {
        let mut request = reqwest::Client::new().get(format!("http://{}/api/v1/events{what}", scene.address));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// Reads until this has come, with the whole event around it.
    async fn hears(&mut self, what: &str) -> &str {
        let read = async {
            while !self.text.split_inclusive("\n\n").any(|event| event.contains(what) && event.ends_with("\n\n")) {
                let part = self.response.chunk().await.unwrap().expect("the stream ended");
                self.text.push_str(std::str::from_utf8(&part).unwrap());
            }
        };
        tokio::time::timeout(LIMIT, read).await.unwrap_or_else(|_| panic!("{what} is not in {}", self.text));
        self.text.split("\n\n").find(|event| event.contains(what)).unwrap()
    }
}

fn id(event: &str) -> &str {
    event.lines().find_map(|line| line.strip_prefix("id: ")).unwrap_or_else(|| panic!("no id in {event}"))
}

#[tokio::test]
async fn what_happens_is_told_and_what_was_missed_comes_first() {
    let mut scene = Scene::start(&[]).await;
    let mut listener = Listener::open(&scene, None).await;
    scene.collector("a").await;
    let first = listener.hears(r#""collector":"a""#).await;
    assert!(first.contains("event: collector") && first.contains(r#""from":null"#), "{first}");
    let first = id(first).to_owned();
    scene.collector("b").await;
    listener.hears(r#""collector":"b""#).await;

    // The newest that have been, and then what comes: nothing falls between the two.
    let mut newest = Listener::open_to(&scene, "?kind=collector&last=1", None).await;
    assert_ne!(id(newest.hears("event: collector").await), first, "that is not one of the last");

    let mut again = Listener::open(&scene, Some(&first)).await;
    again.hears(r#""collector":"b""#).await;
    assert!(!again.text.contains(&format!("id: {first}\n")), "what is known is not told again: {}", again.text);
    assert!(!again.text.contains("event: reset"), "{}", again.text);

    // One that asks for some gets those alone: of the past, and of what comes.
    let mut some = Listener::open_to(&scene, "?collector=c&kind=collector", Some(&first)).await;
    scene.collector("c").await;
    some.hears(r#""collector":"c""#).await;
    assert!(!some.text.contains(r#""collector":"b""#), "{}", some.text);

    let mut stranger = Listener::open(&scene, Some("0123456789abcdef-7")).await;
    stranger.hears("event: reset").await;
    stranger.hears(r#""collector":"a""#).await;

    let newest = scene.get("/api/v1/decisions?kind=collector&collector=b").await.ok(OK);
    assert_eq!(newest["items"][0]["collector"], "b", "{newest}");
    assert_eq!(scene.get("/api/v1/decisions?collector=nobody").await.ok(OK)["total"], 0);
    scene.get("/api/v1/events?topics=weather").await.problem(400);
    // Four streams are open: a manager that stops must not wait for them.
    tokio::time::timeout(Duration::from_secs(8), scene.end()).await.expect("it waited for its listeners");
}

#[tokio::test]
async fn a_manager_that_knows_no_workloads_leaves_the_lead_to_one_that_does() {
    let (tell, known) = tokio::sync::watch::channel(false);
    let first = Scene::unknowing(known).await;
    first.until("/readyz", |answer| answer.status == 503).await;
    let second = first.another().await;
    second.until("/readyz", |answer| answer.json()["leading"] == true).await;
    assert_eq!(first.get("/readyz").await.json()["leading"], false);
    tell.send_replace(true);
    second.stop().await;
    first.until("/readyz", |answer| answer.json()["leading"] == true).await;
    first.end().await;
}

#[tokio::test]
async fn a_manager_that_does_not_lead_tells_what_it_sees() {
    let mut scene = Scene::start(&[]).await;
    scene.until("/readyz", |answer| answer.json()["leading"] == true).await;
    let follower = scene.another().await;
    scene.collector("a").await;
    let path = "/api/v1/decisions?collector=a";
    follower.until(path, |answer| answer.json()["total"] != 0).await;
    assert_eq!(follower.get("/readyz").await.json()["leading"], false);
    // It takes changes, too, and both show them.
    follower.ask("POST", "/api/v1/collectors/a/cordon", None).await.ok(200);
    scene.until("/api/v1/collectors/a", |answer| answer.json()["wish"] == "cordon").await;
    follower.stop().await;
    scene.end().await;
}

#[tokio::test]
async fn why_a_topic_is_where_it_is_is_told_in_sentences() {
    let scene = Scene::start(&[]).await;
    let told = scene.get("/api/v1/topics/plimsoll.shop.web/explain").await.ok(OK);
    let because = told["because"].as_array().unwrap();
    assert!(because[0].as_str().unwrap().contains("No collector reads it"), "{told}");
    assert!(because.iter().any(|one| one.as_str().unwrap().starts_with("KEDA gets an error")), "{told}");
    assert_eq!(told["workload"]["name"], "web");
    scene.get("/api/v1/topics/no-such/explain").await.problem(404);
    scene.end().await;
}

#[tokio::test]
async fn a_plan_is_tried_out_and_nothing_is_changed() {
    let mut scene = Scene::start(&[]).await;
    scene.collector("a").await;
    let path = "/api/v1/assignment/plan";
    let tried = scene.ask("POST", path, None).await.ok(OK);
    assert_eq!((tried["totalMoves"].as_u64(), tried["settled"].as_bool()), (Some(0), Some(true)), "{tried}");
    assert_eq!(tried["unassigned"].as_array().map(Vec::len), Some(2), "nobody is ready: {tried}");
    for (body, field) in [
        (r#"{"drain":["nobody"]}"#, "drain"),
        (r#"{"drian":["a"]}"#, "drian"),
        (
            r#"{"policy":{"kind":"max-per-host","maxPerHost":0,"minCollectors":1,"maxCollectors":1}}"#,
            "policy.maxPerHost",
        ),
        (r#"{"policy":{"kind":"max-per-host"}}"#, "policy.maxPerHost"),
    ] {
        let problem = scene.ask("POST", path, Some(body)).await.problem(422);
        assert_eq!(problem["errors"][0]["field"], field, "{body}: {problem}");
    }
    scene.ask("POST", path, Some("{")).await.problem(400);
    scene.send("POST", path, &[("content-type", "text/plain")], Some("{}")).await.problem(415);
    assert_eq!(scene.store_directives().await, Default::default());
    scene.end().await;
}
