use std::sync::Arc;

use super::scene::{OK, Scene, workload};

#[tokio::test]
async fn lists_are_in_one_order_and_pages_make_up_the_whole() {
    let scene = Scene::start(&[]).await;
    // A dash sorts before a dot, so these are in another order by topic than by name.
    let names = ["a", "a-b", "a.b", "ab", "b"];
    scene.workloads.send_replace(Arc::new(names.iter().map(|name| workload(name, "aws")).collect()));
    scene.until("/api/v1/topics?limit=0", |answer| answer.json()["total"] == 5).await;
    let of = async |path: &str, key: &str| -> Vec<String> {
        let page = scene.get(path).await.ok(OK);
        page["items"].as_array().unwrap().iter().map(|item| item[key].as_str().unwrap().to_owned()).collect()
    };
    let whole = of("/api/v1/topics", "topic").await;
    let mut sorted = whole.clone();
    sorted.sort();
    assert_eq!(whole, sorted);
    let mut pages = Vec::new();
    for offset in [0, 2, 4, 6] {
        pages.extend(of(&format!("/api/v1/topics?limit=2&offset={offset}"), "topic").await);
    }
    assert_eq!(pages, whole);
    assert_eq!(of("/api/v1/workloads?q=a.b", "name").await, ["a.b"]);
    assert_eq!(of("/api/v1/topics?q=shop/a-", "topic").await, ["plimsoll.shop.a-b"]);
    scene.end().await;
}

#[tokio::test]
async fn lists_give_what_is_asked_for() {
    let mut scene = Scene::start(&[]).await;
    scene.collector("a").await;
    let total = async |path: &str| scene.get(path).await.ok(OK)["total"].as_u64().unwrap();
    scene.until("/api/v1/topics", |answer| answer.json()["total"] == 2).await;
    assert_eq!(total("/api/v1/topics?provider=aws").await, 1);
    assert_eq!(total("/api/v1/topics?provider=azure").await, 0);
    assert_eq!(total("/api/v1/topics?state=unassigned").await, 2, "nobody reads anything here");
    assert_eq!(total("/api/v1/topics?state=ready").await, 0);
    assert_eq!(total("/api/v1/topics?collector=a").await, 0);
    assert_eq!(total("/api/v1/workloads?provider=gcp&known=false").await, 1);
    assert_eq!(total("/api/v1/workloads?namespace=shop").await, 2);
    assert_eq!(total("/api/v1/workloads?namespace=elsewhere").await, 0);
    assert_eq!(total("/api/v1/collectors?state=joining").await, 1);
    assert_eq!(total("/api/v1/collectors?state=ready").await, 0);
    assert_eq!(total("/api/v1/collectors?q=b").await, 0);
    let problem = scene.get("/api/v1/collectors?state=happy").await.problem(400);
    assert!(problem["detail"].as_str().unwrap().contains("retiring"), "{problem}");
    scene.end().await;
}

#[tokio::test]
async fn a_page_of_a_hundred_thousand_topics_is_there_at_once() {
    let scene = Scene::start(&[]).await;
    let many = (0..100_000).map(|number| workload(&format!("w{number}"), "aws")).collect();
    scene.workloads.send_replace(Arc::new(many));
    scene.until("/api/v1/topics?limit=0", |answer| answer.json()["total"] == 100_000).await;
    let began = tokio::time::Instant::now();
    const PAGES: u32 = 20;
    for page in 0..PAGES {
        let answer = scene.get(&format!("/api/v1/topics?limit=100&offset={}", page * 5_000)).await.ok(OK);
        assert_eq!(answer["items"].as_array().unwrap().len(), 100);
    }
    let each = began.elapsed() / PAGES;
    println!("a page of 100 out of 100,000 topics, without optimisation: {each:?}");
    // On a machine that does nothing else it is a hundredth of this.
    assert!(each < std::time::Duration::from_secs(5), "{each:?}");
    scene.end().await;
}
