//! The access log: one line for each request, whatever becomes of it.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use plimsoll_interceptor::{AccessLogFormat, Config};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use crate::scene::{NoBroker, Scene, until};
use crate::upstream::{Upstream, read_head};

/// What has been written.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// Every line so far; each one must be an object of JSON.
    fn all(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }

    /// Waits until there are so many lines; gives the last one.
    async fn until(&self, count: usize) -> Value {
        until(async || self.all().len() == count, &format!("there are {count} lines")).await;
        self.all().pop().unwrap()
    }
}

async fn logging(adjust: impl FnOnce(&mut Config)) -> (Scene, Lines) {
    let lines = Lines::default();
    let scene = Scene::writing(Arc::new(NoBroker), lines.clone(), |config, _| {
        config.access_log = AccessLogFormat::Json;
        adjust(config);
    });
    (scene.await.unwrap(), lines)
}

#[tokio::test]
async fn a_finished_request_is_one_line_that_says_all() {
    let (scene, lines) = logging(|_| {}).await;
    let upstream = Upstream::start().await.address;
    scene.ready(&[upstream]);
    let mut client = scene.client().await;
    client
        .send(
            "GET /a/b?secret=1 HTTP/1.1\r\nhost: app.test:80\r\nuser-agent: test/1\r\nreferer: http://x/y?token=2\r\n",
        )
        .await;
    client.send("traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n").await;
    assert_eq!(client.response().await.text(), "hello");
    let line = lines.until(1).await;
    for (name, value) in [
        ("client", "127.0.0.1"),
        ("method", "GET"),
        ("host", "app.test:80"),
        ("path", "/a/b"),
        ("protocol", "HTTP/1.1"),
        ("workload", "default/app"),
        ("endpoint", &upstream.to_string()),
        ("user_agent", "test/1"),
        ("referer", "http://x/y"),
        ("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("end", "finished"),
    ] {
        assert_eq!(line[name], value, "{name} in {line}");
    }
    assert_eq!((&line["status"], &line["bytes_out"], &line["attempts"]), (&200.into(), &5.into(), &1.into()));
    assert_eq!((&line["cold_start"], &line["held_ms"]), (&false.into(), &0.0.into()));
    assert!(line["duration_ms"].as_f64().unwrap() > 0.0);
    let time = line["time"].as_str().unwrap();
    assert!(time.len() == "2026-01-01T00:00:00.000Z".len() && time.ends_with('Z'), "{time}");
}

#[tokio::test]
async fn the_query_is_told_where_that_is_wanted() {
    let (scene, lines) = logging(|config| config.access_log_query = true).await;
    scene.ready(&[Upstream::start().await.address]);
    scene.get("/a?b=c").await;
    assert_eq!(lines.until(1).await["path"], "/a?b=c");
}

#[tokio::test]
async fn whatever_a_client_writes_a_line_stays_one_line() {
    let (scene, lines) = logging(|_| {}).await;
    scene.ready(&[Upstream::start().await.address]);
    let mut client = scene.client().await;
    client
        .stream
        .write_all(b"GET /a\"b\\c HTTP/1.1\r\nhost: app.test\r\nuser-agent: \"\xff\t\\n{}\r\n\r\n")
        .await
        .unwrap();
    client.response().await;
    let line = lines.until(1).await;
    assert_eq!(line["path"], "/a\"b\\c");
    assert_eq!(line["user_agent"], "\"\u{fffd}\t\\n{}");
}

#[tokio::test]
async fn each_line_says_why_its_request_ended() {
    let (scene, lines) = logging(|config| config.response_header_timeout = Duration::from_millis(200)).await;
    let mut client = scene.client().await;
    client.send("GET / HTTP/1.1\r\nhost: nobody.test\r\n\r\n").await;
    assert_eq!(client.response().await.status, 404);
    let line = lines.until(1).await;
    assert_eq!((&line["end"], &line["status"], &line["workload"]), (&"refused".into(), &404.into(), &Value::Null));

    let broken = Upstream::scripted(|mut stream, _| async move {
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await.unwrap();
    });
    scene.ready(&[broken.await.address]);
    let mut client = scene.client().await;
    client.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    assert!(client.try_response().await.is_none());
    let line = lines.until(2).await;
    assert_eq!(
        (&line["end"], &line["status"], &line["bytes_out"]),
        (&"upstream failed".into(), &200.into(), &4.into())
    );

    scene.ready(&[Upstream::start().await.address]);
    assert_eq!(scene.get("/never").await.status, 504);
    assert_eq!(lines.until(3).await["end"], "timeout");

    let mut client = scene.client().await;
    client.send("GET /drip HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    client.head().await.unwrap();
    client.leave();
    assert_eq!(lines.until(4).await["end"], "client gone");
}

#[tokio::test]
async fn a_cold_start_and_its_length_are_told() {
    let (scene, lines) = logging(|_| {}).await;
    let mut client = scene.client().await;
    client.send("GET / HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    scene.until_held(1).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    scene.ready(&[Upstream::start().await.address]);
    client.response().await;
    let line = lines.until(1).await;
    assert_eq!(line["cold_start"], true);
    assert!(line["held_ms"].as_f64().unwrap() >= 20.0, "{line}");
}

#[tokio::test]
async fn an_uploads_bytes_are_told() {
    let (scene, lines) = logging(|_| {}).await;
    scene.ready(&[Upstream::start().await.address]);
    let mut client = scene.client().await;
    client.send("POST /echo HTTP/1.1\r\nhost: app.test\r\ncontent-length: 10\r\n\r\n0123456789").await;
    assert_eq!(client.response().await.text(), "0123456789");
    let line = lines.until(1).await;
    assert_eq!((&line["bytes_in"], &line["bytes_out"], &line["method"]), (&10.into(), &10.into(), &"POST".into()));
}

#[tokio::test]
async fn a_tunnels_line_comes_at_its_end_with_its_bytes() {
    let (scene, lines) = logging(|_| {}).await;
    scene.ready(&[Upstream::start().await.address]);
    let mut client = scene.client().await;
    client.send("GET /upgrade HTTP/1.1\r\nhost: app.test\r\nconnection: upgrade\r\nupgrade: test\r\n\r\n").await;
    assert_eq!(client.head().await.unwrap().0, 101);
    client.send("echo").await;
    client.take(4).await.unwrap();
    assert_eq!(lines.all().len(), 0);
    client.stream.shutdown().await.unwrap();
    let line = lines.until(1).await;
    assert_eq!((&line["bytes_in"], &line["bytes_out"], &line["status"]), (&4.into(), &4.into(), &101.into()));
}

#[tokio::test]
async fn the_last_lines_are_written_before_the_interceptor_ends() {
    let (scene, lines) = logging(|_| {}).await;
    scene.ready(&[Upstream::start().await.address]);
    let mut slow = scene.client().await;
    slow.send("GET /slow HTTP/1.1\r\nhost: app.test\r\n\r\n").await;
    scene.until_queue(1, 1).await;
    scene.stop().await.unwrap();
    assert_eq!(lines.all().len(), 1);
}
