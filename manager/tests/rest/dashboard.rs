use std::time::Duration;

use super::scene::{OK, Scene, workload};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(20);
const FILES: [(&str, &str); 5] = [
    ("/", "text/html"),
    ("/assets/app.js", "text/javascript"),
    ("/assets/base.css", "text/css"),
    ("/assets/workloads.js", "text/javascript"),
    ("/assets/icon.svg", "image/svg+xml"),
];

#[tokio::test]
async fn the_dashboards_files_are_served_and_let_nothing_else_in() {
    let scene = Scene::start(&[]).await;
    for (path, kind) in FILES {
        let plain = scene.get(path).await;
        assert_eq!(plain.status, OK, "{path}");
        assert!(plain.headers["content-type"].starts_with(kind), "{path}: {plain:?}");
        let policy = &plain.headers["content-security-policy"];
        assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(plain.headers["x-content-type-options"], "nosniff");
        let known = scene.send("GET", path, &[("if-none-match", &plain.headers["etag"])], None).await;
        assert_eq!((known.status, known.text.as_str()), (304, ""), "{path}: what is known is not sent again");
        let other = scene.send("GET", path, &[("if-none-match", "W/\"0\"")], None).await;
        assert_eq!(other.status, OK, "{path}");
        let short = scene.send("GET", path, &[("accept-encoding", "gzip")], None).await;
        assert_eq!(short.headers["content-encoding"], "gzip");
    }
    // All that the page names is there.
    let page = scene.get("/").await.text;
    for name in page.split('"').filter(|part| part.starts_with("/assets/")) {
        let file = scene.get(name).await;
        assert_eq!(file.status, OK, "{name}");
        for import in file.text.split("from './").skip(1).filter_map(|rest| rest.split('\'').next()) {
            assert_eq!(scene.get(&format!("/assets/{import}")).await.status, OK, "{name} imports {import}");
        }
    }
    scene.get("/assets/none.js").await.problem(404);
    scene.end().await;
}

#[tokio::test]
async fn the_files_are_for_everybody_and_what_they_show_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens");
    std::fs::write(&file, "read:bob:0123456789abcdef-bob\n").unwrap();
    let flag = format!("--api-token-file={}", file.display());
    let scene = Scene::start(&[&flag, "--api-reads-need-role"]).await;
    assert_eq!(scene.get("/").await.status, OK);
    assert_eq!(scene.get("/assets/app.js").await.status, OK);
    scene.get("/api/v1/live").await.problem(401);
    scene.get("/api/v1/history?workloads=shop/web").await.problem(401);
    scene.end().await;
}

/// An open stream of all that moves.
struct Page {
    response: reqwest::Response,
    text: String,
}

impl Page {
    async fn open(scene: &Scene) -> Self {
        let response = reqwest::get(format!("http://{}/api/v1/live", scene.address)).await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next message of this kind.
    async fn next(&mut self, kind: &str) -> Value {
        let read = async {
            loop {
                if let Some((event, rest)) = self.text.split_once("\n\n") {
                    let (event, rest) = (event.to_owned(), rest.to_owned());
                    self.text = rest;
                    if event.contains(&format!("event: {kind}\n")) {
                        let data = event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
                        return serde_json::from_str(data).unwrap();
                    }
                    continue;
                }
                let part = self.response.chunk().await.unwrap().expect("the stream ended");
                self.text.push_str(std::str::from_utf8(&part).unwrap());
            }
        };
        tokio::time::timeout(LIMIT, read).await.unwrap_or_else(|_| panic!("no {kind} in {}", self.text))
    }
}

#[tokio::test]
async fn a_page_is_told_all_workloads_then_what_comes_and_goes() {
    let mut scene = Scene::start(&[]).await;
    scene.until("/api/v1/workloads", |answer| answer.json()["total"] == 2).await;
    let mut page = Page::open(&scene).await;
    let fleet = page.next("fleet").await;
    assert_eq!(fleet["policy"]["maxPerHost"], 200, "{fleet}");
    let mut names = std::collections::BTreeMap::new();
    let mut resets = 0;
    let take = |names: &mut std::collections::BTreeMap<u64, String>, rows: &Value| {
        for row in rows["whole"].as_array().unwrap() {
            names.insert(
                row[8][0].as_u64().unwrap(),
                format!("{}/{}", row[0].as_str().unwrap(), row[1].as_str().unwrap()),
            );
        }
        for gone in rows["gone"].as_array().unwrap() {
            names.remove(&gone.as_u64().unwrap());
        }
    };
    while names.len() < 2 {
        let rows = page.next("rows").await;
        resets += usize::from(rows["reset"] == true);
        take(&mut names, &rows);
    }
    assert_eq!(resets, 1, "the first message voids what a page knew before");
    scene.workloads.send_replace(std::sync::Arc::new(vec![workload("web", "aws"), workload("new", "aws")]));
    while names.values().cloned().collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
        != ["shop/new", "shop/web"]
    {
        take(&mut names, &page.next("rows").await);
    }
    scene.collector("a").await;
    while page.next("fleet").await["collectors"][0]["id"] != "a" {}
    // A stream is open: a manager that stops must not wait for it.
    tokio::time::timeout(Duration::from_secs(8), scene.end()).await.expect("it waited for its listeners");
}
