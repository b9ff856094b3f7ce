//! Sessions that stay at one endpoint.

use plimsoll_wire::resources::Affinity;

use crate::client::Response;
use crate::scene::Scene;
use crate::upstream::{Upstream, read_head};

/// A client that keeps cookies, as curl with `--cookie-jar` does.
struct Jar(Vec<(String, String)>);

impl Jar {
    async fn get(&mut self, scene: &Scene) -> Response {
        let cookies: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = if cookies.is_empty() { String::new() } else { format!("cookie: {}\r\n", cookies.join("; ")) };
        let mut client = scene.client().await;
        client.send(&format!("GET /head HTTP/1.1\r\nhost: app.test\r\n{cookies}\r\n")).await;
        let response = client.response().await;
        for line in response.head.lines().filter_map(|line| line.strip_prefix("set-cookie:")) {
            let (name, value) = line.split(';').next().unwrap().trim().split_once('=').unwrap();
            self.0.retain(|(known, _)| known != name);
            self.0.push((name.to_owned(), value.to_owned()));
        }
        response
    }
}

/// Answers with its own name and the head that it got.
async fn named(name: &'static str) -> Upstream {
    use tokio::io::AsyncWriteExt as _;
    Upstream::scripted(move |mut stream, _| async move {
        loop {
            let head = read_head(&mut stream).await;
            if head.is_empty() {
                return;
            }
            let body = format!("{name}\n{head}");
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await
}

fn server(response: &Response) -> String {
    assert_eq!(response.status, 200);
    response.text().lines().next().unwrap().to_owned()
}

#[tokio::test]
async fn a_client_with_a_cookie_stays_where_it_is_until_its_endpoint_goes() {
    let scene = Scene::with(|_, workload| workload.affinity = Some(Affinity::Cookie)).await;
    let upstreams = [("a", named("a").await), ("b", named("b").await), ("c", named("c").await)];
    let addresses = upstreams.each_ref().map(|(_, upstream)| upstream.address);
    scene.ready(&addresses);
    let mut jar = Jar(vec![("theme".to_owned(), "dark".to_owned())]);
    let first = jar.get(&scene).await;
    let cookie = first.header("set-cookie").unwrap();
    assert!(cookie.starts_with("plimsoll-affinity="), "{cookie}");
    assert!(cookie.ends_with("; path=/; httponly; samesite=lax"), "{cookie}");
    let home = server(&first);
    for _ in 0..20 {
        let response = jar.get(&scene).await;
        assert_eq!(server(&response), home);
        assert_eq!(response.header("set-cookie"), None, "the client knows");
        assert!(!response.text().contains("plimsoll-affinity"), "the workload does not see it: {}", response.text());
        assert!(response.text().contains("cookie: theme=dark"), "{}", response.text());
    }

    // Its endpoint goes: another one, and another cookie.
    let left: Vec<_> =
        upstreams.iter().filter(|(name, _)| *name != home).map(|(_, upstream)| upstream.address).collect();
    scene.ready(&left);
    let moved = jar.get(&scene).await;
    assert!(moved.header("set-cookie").is_some());
    let new_home = server(&moved);
    assert_ne!(new_home, home);
    for _ in 0..20 {
        assert_eq!(server(&jar.get(&scene).await), new_home);
    }
    // It comes back; the client has settled elsewhere.
    scene.ready(&addresses);
    assert_eq!(server(&jar.get(&scene).await), new_home);
}

#[tokio::test]
async fn clients_without_a_cookie_or_with_a_made_up_one_are_spread() {
    let scene = Scene::with(|_, workload| workload.affinity = Some(Affinity::Cookie)).await;
    let upstreams = [named("a").await, named("b").await];
    scene.ready(&upstreams.each_ref().map(|upstream| upstream.address));
    let mut seen = std::collections::BTreeSet::new();
    for number in 0..100 {
        let made_up = ("plimsoll-affinity".to_owned(), format!("{number:032x}"));
        let mut jar = Jar(if number % 2 == 0 { vec![made_up] } else { Vec::new() });
        let response = jar.get(&scene).await;
        assert!(response.header("set-cookie").is_some());
        seen.insert(server(&response));
    }
    assert_eq!(seen.len(), 2);
}

#[tokio::test]
async fn a_session_whose_endpoint_refuses_moves_on() {
    let scene = Scene::with(|_, workload| workload.affinity = Some(Affinity::Cookie)).await;
    let (first, second) = (named("a").await, named("b").await);
    scene.ready(&[first.address]);
    let mut jar = Jar(Vec::new());
    assert_eq!(server(&jar.get(&scene).await), "a");
    // Its connections end and it refuses new ones, though its address is still said to be ready.
    let refusing = first.address;
    first.stop().await;
    scene.ready(&[refusing, second.address]);
    assert_eq!(server(&jar.get(&scene).await), "b");
    assert_eq!(server(&jar.get(&scene).await), "b");
}

#[tokio::test]
async fn a_route_that_asks_for_no_sessions_has_no_cookie() {
    let scene = Scene::start().await;
    scene.ready(&[named("a").await.address]);
    let mut jar = Jar(vec![("plimsoll-affinity".to_owned(), "x".to_owned())]);
    let response = jar.get(&scene).await;
    assert_eq!(response.header("set-cookie"), None);
    assert!(response.text().contains("cookie: plimsoll-affinity=x"), "what is not ours goes on");
}
