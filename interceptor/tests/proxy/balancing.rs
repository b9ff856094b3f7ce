//! How requests are spread over endpoints: new ones, failing ones, and those on their way out.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use plimsoll_interceptor::State;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::scene::{Scene, app, until};
use crate::upstream::{Upstream, read_head};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const GET: &str = "GET / HTTP/1.1\r\nhost: app.test\r\n\r\n";
/// What 200 clients send in a second, each with a request of half a second at a time. In requests and not in seconds a machine's pace is
/// the same whatever else it does.
const A_SECOND_OF_REQUESTS: usize = 400;
const POST: &str = "POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: 4\r\n\r\nbody";

async fn closed() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap()
}

/// Reads the head of each request; breaks the connection then, or answers where the switch is on. Counts requests.
async fn breaking(mended: Arc<AtomicBool>) -> (Upstream, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = seen.clone();
    let upstream = Upstream::scripted(move |mut stream, _| {
        let (mended, counted) = (mended.clone(), counted.clone());
        async move {
            while !read_head(&mut stream).await.is_empty() {
                counted.fetch_add(1, SeqCst);
                if !mended.load(SeqCst) || stream.write_all(ANSWER).await.is_err() {
                    return;
                }
            }
        }
    });
    (upstream.await, seen)
}

#[tokio::test]
async fn new_replicas_get_their_share_of_200_keep_alive_clients() {
    let scene = Scene::start().await;
    let mut upstreams = vec![Upstream::start().await];
    scene.ready(&[upstreams[0].address]);
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let (mut client, stop) = (scene.client().await, stop.clone());
        clients.spawn(async move {
            while !stop.load(SeqCst) {
                client.send("GET /slow HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
                assert_eq!(client.response().await.status, 200);
            }
        });
    }
    until(async || upstreams[0].requests.load(SeqCst) >= 400, "each client has a connection in use").await;
    for _ in 1..4 {
        upstreams.push(Upstream::start().await);
    }
    let addresses: Vec<_> = upstreams.iter().map(|upstream| upstream.address).collect();
    scene.ready(&addresses);
    let scaled_out = Instant::now();
    let seen = || -> Vec<usize> { upstreams.iter().map(|upstream| upstream.requests.load(SeqCst)).collect() };
    let sum = |counts: &[usize]| counts.iter().sum::<usize>();
    let (at_first, mut before) = (sum(&seen()), seen());
    // Each second's worth of requests is looked at by itself.
    loop {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let now = seen();
        let counts: Vec<usize> = now.iter().zip(&before).map(|(now, before)| now - before).collect();
        if sum(&counts) < A_SECOND_OF_REQUESTS {
            assert!(scaled_out.elapsed() < Duration::from_secs(120), "the clients have stopped: {counts:?}");
            continue;
        }
        let (took, requests) = (scaled_out.elapsed(), sum(&now) - at_first);
        println!("{took:?} and {requests} requests after the scale-out the replicas had {counts:?} of the last ones");
        let mean = sum(&counts) as f64 / 4.0;
        if counts.iter().all(|count| (*count as f64 - mean).abs() <= 0.2 * mean) {
            break;
        }
        assert!(requests < 5 * A_SECOND_OF_REQUESTS, "not even within 20 %: {counts:?}");
        before = now;
    }
    stop.store(true, SeqCst);
    clients.join_all().await;
}

#[tokio::test]
async fn a_request_that_was_never_sent_is_tried_elsewhere_whatever_its_method() {
    let scene = Scene::with(|config, _| config.eject_after = 0).await;
    let upstream = Upstream::start().await;
    scene.ready(&[closed().await, upstream.address]);
    for number in 1..=20 {
        let mut client = scene.client().await;
        client.send(POST).await;
        assert_eq!(client.response().await.status, 200);
        assert_eq!(upstream.requests.load(SeqCst), number);
    }
    let failures = scene.metric("interceptor_upstream_connect_failures_total").await.unwrap();
    assert!((1..=20).contains(&failures), "{failures}: a request avoids the endpoint that refused it");
}

#[tokio::test]
async fn a_post_whose_connection_broke_after_sending_began_is_never_sent_twice() {
    let scene = Scene::start().await;
    let (first, first_seen) = breaking(Arc::default()).await;
    let (second, second_seen) = breaking(Arc::default()).await;
    scene.ready(&[first.address, second.address]);
    for number in 1..=10 {
        let mut client = scene.client().await;
        client.send(POST).await;
        assert_eq!(client.response().await.status, 502);
        assert_eq!(first_seen.load(SeqCst) + second_seen.load(SeqCst), number);
    }
}

#[tokio::test]
async fn an_idempotent_request_on_a_connection_that_was_closed_is_tried_at_another_endpoint() {
    let scene = Scene::with(|config, _| config.proxy_threads = Some(1.try_into().unwrap())).await;
    // Each connection answers once, and breaks when the second request has come.
    let once = Upstream::scripted(|mut stream, _| async move {
        read_head(&mut stream).await;
        stream.write_all(ANSWER).await.unwrap();
        read_head(&mut stream).await;
    });
    let (once, steady) = (once.await, Upstream::start().await);
    scene.ready(&[once.address]);
    let mut client = scene.client().await;
    client.send(GET).await;
    assert_eq!(client.response().await.text(), "ok");
    scene.ready(&[once.address, steady.address]);
    for _ in 0..100 {
        client.send(GET).await;
        let response = client.response().await;
        assert_eq!(response.status, 200);
        if scene.metric("interceptor_resent_requests_total").await == Some(1) {
            assert_eq!(response.text(), "hello", "the other one has answered");
            assert_eq!(once.connections.load(SeqCst), 1);
            return;
        }
    }
    panic!("the closed connection was never chosen");
}

#[tokio::test]
async fn an_endpoint_that_fails_gets_no_requests_and_returns_when_it_is_mended() {
    let scene = Scene::with(|config, _| {
        config.eject_after = 3;
        config.eject_time = Duration::from_secs(2);
    });
    let scene = scene.await;
    let mended = Arc::new(AtomicBool::new(true));
    let (bad, bad_seen) = breaking(mended.clone()).await;
    let good = Upstream::start().await;
    scene.ready(&[bad.address, good.address]);
    let ejections = async || scene.metric("interceptor_endpoint_ejections_total").await.unwrap();
    until(async || scene.get("/").await.status == 200 && bad_seen.load(SeqCst) > 0, "it has answered once").await;
    mended.store(false, SeqCst);
    let mut refused = 0;
    while ejections().await == 0 {
        refused += u32::from(scene.get("/").await.status == 502);
        assert!(refused <= 3, "it fails three times at most");
    }
    let (ejected_at, seen) = (Instant::now(), bad_seen.load(SeqCst));
    loop {
        let status = scene.get("/").await.status;
        // What began after the two seconds may have come to it again.
        if ejected_at.elapsed() > Duration::from_millis(1_500) {
            break;
        }
        assert_eq!(status, 200);
        assert_eq!(bad_seen.load(SeqCst), seen);
    }
    mended.store(true, SeqCst);
    let mended_sees = async || scene.get("/").await.status == 200 && bad_seen.load(SeqCst) > seen;
    until(mended_sees, "it gets requests again").await;
}

#[tokio::test]
async fn the_workloads_own_errors_eject_nobody() {
    let scene = Scene::with(|config, _| config.eject_after = 1).await;
    let failing = || async {
        Upstream::scripted(|mut stream, _| async move {
            while !read_head(&mut stream).await.is_empty() {
                let answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
                if stream.write_all(answer).await.is_err() {
                    return;
                }
            }
        })
        .await
        .address
    };
    scene.ready(&[failing().await, failing().await]);
    for _ in 0..20 {
        assert_eq!(scene.get("/").await.status, 503);
    }
    assert_eq!(scene.metric("interceptor_endpoint_ejections_total").await, Some(0));
}

#[tokio::test]
async fn an_endpoint_on_its_way_out_gets_no_new_request_and_finishes_those_it_has() {
    let scene = Scene::start().await;
    let (leaving, staying) = (Upstream::start().await, Upstream::start().await);
    scene.ready(&[leaving.address]);
    let mut slow = scene.client().await;
    slow.send("GET /slow HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    until(async || leaving.requests.load(SeqCst) == 1, "it has a request").await;
    let states = vec![(leaving.address, State::Draining), (staying.address, State::Ready)];
    scene.endpoints.set_with_states(&app(), states);
    for number in 1..=20 {
        assert_eq!(scene.get("/").await.status, 200);
        assert_eq!(staying.requests.load(SeqCst), number);
    }
    assert_eq!(slow.response().await.text(), "slow");
    assert_eq!(leaving.requests.load(SeqCst), 1);
}

#[tokio::test]
async fn idle_connections_to_an_endpoint_that_has_gone_are_closed() {
    for gone in [vec![], vec![State::Draining]] {
        let scene = Scene::start().await;
        let ended = Arc::new(AtomicBool::new(false));
        let closing = ended.clone();
        let upstream = Upstream::scripted(move |mut stream, _| {
            let ended = closing.clone();
            async move {
                read_head(&mut stream).await;
                stream.write_all(ANSWER).await.unwrap();
                read_head(&mut stream).await;
                ended.store(true, SeqCst);
            }
        });
        let upstream = upstream.await;
        scene.ready(&[upstream.address]);
        assert_eq!(scene.get("/").await.status, 200);
        assert!(!ended.load(SeqCst));
        scene.endpoints.set_with_states(&app(), gone.iter().map(|state| (upstream.address, *state)).collect());
        until(async || ended.load(SeqCst), "the idle connection is closed").await;
    }
}

#[tokio::test]
async fn a_starting_endpoint_gets_requests_as_soon_as_it_accepts_connections() {
    let scene = Scene::start().await;
    let address = closed().await;
    scene.endpoints.set_with_states(&app(), vec![(address, State::Starting)]);
    let mut client = scene.client().await;
    client.send(GET).await;
    scene.until_held(1).await;
    let _upstream = Upstream::on(TcpListener::bind(address).await.unwrap());
    let response = client.response().await;
    assert_eq!((response.status, response.header("x-keda-http-cold-start")), (200, Some("true")));
    assert_eq!(scene.metric("interceptor_endpoints_probed_total").await, Some(1));
    // A ready one makes guessing needless.
    let ready = Upstream::start().await;
    let states = vec![(address, State::Starting), (ready.address, State::Ready)];
    scene.endpoints.set_with_states(&app(), states);
    for number in 1..=10 {
        assert_eq!(scene.get("/").await.status, 200);
        assert_eq!(ready.requests.load(SeqCst), number);
    }
}

#[tokio::test]
async fn starting_endpoints_are_probed_also_where_connecting_has_no_limit() {
    let scene = Scene::with(|config, _| config.connect_timeout = Duration::ZERO).await;
    let upstream = Upstream::start().await;
    scene.endpoints.set_with_states(&app(), vec![(upstream.address, State::Starting)]);
    let mut client = scene.client().await;
    client.send(GET).await;
    assert_eq!(client.response().await.status, 200);
}

#[tokio::test]
async fn nothing_is_probed_where_the_operator_does_not_want_it() {
    let scene = Scene::with(|config, _| config.probe_endpoints = false).await;
    let upstream = Upstream::start().await;
    scene.endpoints.set_with_states(&app(), vec![(upstream.address, State::Starting)]);
    let mut client = scene.client().await;
    client.send(GET).await;
    scene.until_held(1).await;
    assert!(client.is_silent().await);
    assert_eq!(upstream.connections.load(SeqCst), 0);
    scene.ready(&[upstream.address]);
    assert_eq!(client.response().await.status, 200);
}
