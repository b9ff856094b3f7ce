//! Connections of HTTP/2 to workloads: shared, given up, refused, and grown old.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Request, Response};
use plimsoll_wire::resources::BackendProtocol;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};

use crate::frames::{END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, SETTINGS, frame};
use crate::scene::{SOON, Scene};
use crate::upstream::{Speaks, Upstream};

/// What a scripted server does with a request; the numbers say which connection it came on and which request of it it is.
type Asked = (Request<RecvStream>, SendResponse<Bytes>);

async fn scene() -> Scene {
    Scene::with(|config, workload| {
        config.proxy_threads = Some(1.try_into().unwrap());
        workload.backend_protocol = Some(BackendProtocol::H2c);
    })
    .await
}

/// The body, read to its end.
async fn read(request: Request<RecvStream>) -> Vec<u8> {
    let (mut body, mut all) = (request.into_body(), Vec::new());
    while let Some(Ok(data)) = body.data().await {
        body.flow_control().release_capacity(data.len()).unwrap();
        all.extend_from_slice(&data);
    }
    all
}

async fn answer((request, mut respond): Asked) {
    let body = read(request).await;
    let mut stream = respond.send_response(Response::new(()), false).unwrap();
    stream.send_data(Bytes::from(body), true).unwrap();
}

async fn serve(stream: TcpStream, mut each: impl AsyncFnMut(Asked, usize) -> bool) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    let mut number = 0;
    while let Some(Ok(asked)) = connection.accept().await {
        if !each(asked, number).await {
            connection.graceful_shutdown();
        }
        number += 1;
    }
}

async fn post(scene: &Scene, body: &str) -> crate::client::Response {
    let mut client = scene.client().await;
    client.send(&format!("POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
    client.response().await
}

#[tokio::test]
async fn a_refused_request_is_sent_again_with_its_body() {
    let scene = scene().await;
    let refused = Arc::new(AtomicUsize::new(0));
    let counted = refused.clone();
    let upstream = Upstream::scripted(move |stream, _| {
        let counted = counted.clone();
        serve(stream, async move |(request, mut respond): Asked, number| {
            if number < 3 {
                let counted = counted.clone();
                tokio::spawn(async move {
                    // Not before some of the body has come.
                    let mut body = request.into_body();
                    let _some = body.data().await;
                    counted.fetch_add(1, Ordering::SeqCst);
                    respond.send_reset(Reason::REFUSED_STREAM);
                });
            } else {
                tokio::spawn(answer((request, respond)));
            }
            true
        })
    });
    scene.ready(&[upstream.await.address]);
    let response = post(&scene, "said twice").await;
    assert_eq!((response.status, response.text()), (200, "said twice"));
    assert_eq!(refused.load(Ordering::SeqCst), 3);
    scene.until_queue(0, 1).await;
}

#[tokio::test]
async fn a_request_that_is_refused_for_ever_is_a_bad_gateway() {
    let scene = Scene::with(|config, workload| {
        config.connect_retry_timeout = Duration::from_millis(200);
        workload.backend_protocol = Some(BackendProtocol::H2c);
    })
    .await;
    let upstream = Upstream::scripted(|stream, _| {
        serve(stream, async |(_, mut respond): Asked, _| {
            respond.send_reset(Reason::REFUSED_STREAM);
            true
        })
    });
    scene.ready(&[upstream.await.address]);
    assert_eq!(post(&scene, "x").await.status, 502);
    scene.until_queue(0, 1).await;
}

#[tokio::test]
async fn a_connection_that_goes_away_costs_no_request() {
    let scene = scene().await;
    // Every second request is the last one of its connection.
    let upstream = Upstream::scripted(|stream, _| {
        serve(stream, async |asked, number| {
            tokio::spawn(answer(asked));
            number % 2 == 0
        })
    });
    let upstream = upstream.await;
    scene.ready(&[upstream.address]);
    let mut clients = Vec::new();
    for _ in 0..8 {
        clients.push(scene.client().await);
    }
    for round in 0..20 {
        for client in &mut clients {
            client.send(&format!("POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: 2\r\n\r\n{round:02}")).await;
        }
        for client in &mut clients {
            let response = client.response().await;
            assert_eq!((response.status, response.text()), (200, format!("{round:02}").as_str()));
        }
    }
    assert!(upstream.connections.load(Ordering::SeqCst) > 1);
    scene.until_queue(0, 160).await;
}

#[tokio::test]
async fn more_requests_than_a_connection_takes_have_another() {
    let scene = scene().await;
    let upstream = Upstream::scripted(|stream, _| async move {
        let mut builder = h2::server::Builder::new();
        let mut connection = builder.max_concurrent_streams(4).handshake::<_, Bytes>(stream).await.unwrap();
        while let Some(Ok(asked)) = connection.accept().await {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(200)).await;
                answer(asked).await;
            });
        }
    });
    let upstream = upstream.await;
    scene.ready(&[upstream.address]);
    // The first one learns how many there may be.
    assert_eq!(post(&scene, "first").await.text(), "first");
    let mut clients = Vec::new();
    for number in 0..12 {
        let mut client = scene.client().await;
        client.send(&format!("POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: 2\r\n\r\n{number:02}")).await;
        clients.push(client);
    }
    for (number, mut client) in clients.into_iter().enumerate() {
        assert_eq!(client.response().await.text(), format!("{number:02}"));
    }
    assert!(upstream.connections.load(Ordering::SeqCst) > 1);
    scene.until_queue(0, 13).await;
}

#[tokio::test]
async fn a_reset_in_the_middle_reaches_the_client() {
    let scene = scene().await;
    let upstream = Upstream::scripted(|stream, _| {
        serve(stream, async |(_, mut respond): Asked, _| {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            stream.send_data(Bytes::from_static(b"half"), false).unwrap();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                stream.send_reset(Reason::ENHANCE_YOUR_CALM);
            });
            true
        })
    });
    scene.ready(&[upstream.await.address]);
    let mut client = scene.client().await;
    client.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    assert!(client.try_response().await.is_none(), "something is missing");
    // A client of HTTP/2 learns why.
    let stream = TcpStream::connect(scene.proxy).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let (response, _) = sender.send_request(Request::get("http://app.test/").body(()).unwrap(), true).unwrap();
    let mut body = response.await.unwrap().into_body();
    let error = loop {
        match body.data().await.expect("no end without an error") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.reason(), Some(Reason::ENHANCE_YOUR_CALM));
    scene.until_queue(0, 2).await;
}

#[tokio::test]
async fn a_connection_that_grew_old_gets_no_more_requests() {
    let scene = Scene::with(|config, workload| {
        config.proxy_threads = Some(1.try_into().unwrap());
        config.upstream_max_uses = 1;
        workload.backend_protocol = Some(BackendProtocol::H2c);
    })
    .await;
    let upstream = Upstream::behind(Speaks::Http2, None).await;
    scene.ready(&[upstream.address]);
    for _ in 0..3 {
        assert_eq!(scene.get("/").await.status, 200);
    }
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn each_of_many_requests_at_once_may_have_a_connection_to_itself() {
    let scene = Scene::with(|config, workload| {
        config.proxy_threads = Some(1.try_into().unwrap());
        config.upstream_max_age = Duration::ZERO;
        workload.backend_protocol = Some(BackendProtocol::H2c);
    })
    .await;
    let upstream = Upstream::behind(Speaks::Http2, None).await;
    scene.ready(&[upstream.address]);
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = scene.client().await;
        client.send("GET /slow HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
        clients.push(client);
    }
    for client in &mut clients {
        assert_eq!(client.response().await.text(), "slow");
    }
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 8);
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_nobody_else() {
    let scene = scene().await;
    let upstream = Upstream::behind(Speaks::Http2, None).await;
    scene.ready(&[upstream.address]);
    let mut stalled = Vec::new();
    for _ in 0..10 {
        let mut client = scene.client().await;
        client.send("GET /big HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
        client.head().await.unwrap();
        stalled.push(client);
    }
    for _ in 0..10 {
        assert_eq!(scene.get("/").await.text(), "hello");
    }
    assert_eq!(scene.get("/big").await.body.len(), 8 << 20);
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 1);
    drop(stalled);
    scene.until_queue(0, 21).await;
}

/// An endpoint that answers a request when it may, and tells with which code its connection is taken leave of: none where it only ends.
async fn parting(may_answer: Arc<Notify>) -> (Upstream, mpsc::Receiver<Option<u32>>) {
    let (tell, told) = mpsc::channel(1);
    let upstream = Upstream::scripted(move |mut stream, _| {
        let (may_answer, tell) = (may_answer.clone(), tell.clone());
        async move {
            // What every client of HTTP/2 says first.
            stream.read_exact(&mut [0; 24]).await.unwrap();
            let mut frames = Frames { stream };
            frames.send(&frame(SETTINGS, 0, 0, &[])).await;
            let code = loop {
                let Some(heard) = frames.next().await else { break None };
                match heard.kind {
                    SETTINGS if heard.flags == 0 => frames.send(&frame(SETTINGS, 1, 0, &[])).await,
                    HEADERS => {
                        may_answer.notified().await;
                        // 204, by its place in the static table.
                        frames.send(&frame(HEADERS, END_STREAM | END_HEADERS, heard.stream, &[0x89])).await;
                    }
                    GOAWAY => break Some(heard.error()),
                    _ => {}
                }
            };
            tell.send(code).await.unwrap();
        }
    });
    (upstream.await, told)
}

#[tokio::test]
async fn an_interceptor_that_stops_takes_its_leave_of_workloads() {
    let (scene, may_answer) = (scene().await, Arc::new(Notify::new()));
    let (upstream, mut told) = parting(may_answer.clone()).await;
    scene.ready(&[upstream.address]);
    let mut client = scene.client().await;
    client.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    scene.until_queue(1, 1).await;
    let stopped = tokio::spawn(scene.stop());
    may_answer.notify_one();
    assert_eq!(client.response().await.status, 204);
    stopped.await.unwrap().unwrap();
    let code = tokio::time::timeout(SOON, told.recv()).await.expect("the connection ends").unwrap();
    assert_eq!(code, Some(0), "it is told that nothing was wrong");
}

#[tokio::test]
async fn a_host_that_is_none_is_the_clients_fault_and_not_the_endpoints() {
    let scene = Scene::with(|config, workload| {
        // Each request is the first of its connection, whose failures count.
        config.upstream_max_uses = 1;
        workload.rules[0].hosts = vec!["*".to_owned()];
        workload.backend_protocol = Some(BackendProtocol::H2c);
    })
    .await;
    let upstream = Upstream::behind(Speaks::Http2, None).await;
    scene.ready(&[upstream.address]);
    let mut client = scene.client().await;
    client.send("GET / HTTP/1.1\r\nhost: app.test:80:90\r\n\r\n").await;
    let response = client.response().await;
    assert_eq!((response.status, response.text()), (400, "bad request: the Host field is no host\n"));
    let endpoints = scene.page("/endpoints").await;
    assert!(endpoints.text().contains("\"failuresInARow\":0"), "{}", endpoints.text());
    assert_eq!(scene.get("/").await.text(), "hello");
    scene.until_queue(0, 2).await;
}

#[tokio::test]
async fn a_workload_that_speaks_no_http2_is_a_bad_gateway() {
    let scene = scene().await;
    scene.ready(&[Upstream::start().await.address]);
    let statuses: HashSet<u16> = [scene.get("/").await.status, post(&scene, "x").await.status].into();
    assert_eq!(statuses, HashSet::from([502]));
    scene.until_queue(0, 2).await;
}
