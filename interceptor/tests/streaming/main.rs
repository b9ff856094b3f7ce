//! Large bodies go through without being kept: in a process of its own, whose memory no other test uses.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code, reason = "tests")]

#[path = "../proxy/certs.rs"]
mod certs;
#[path = "../proxy/client.rs"]
mod client;
#[path = "../proxy/scene.rs"]
mod scene;
#[path = "../proxy/upstream.rs"]
mod upstream;

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use scene::Scene;
use upstream::{Upstream, read_head};

const MIB: usize = 1 << 20;
/// Each way. An unoptimised build on two busy cores takes seven seconds for each GiB: 10 of them would be too long for every run.
const GIB: usize = 2;
/// Another number of GiB.
const SETTING: &str = "PLIMSOLL_TEST_BODY_GIB";
/// How much the process may grow by: some buffers, and nothing that depends on the body's size.
const GROWTH: usize = 32 * MIB;
const LONG: Duration = Duration::from_secs(300);

/// What the process has in memory, in bytes (proc_pid_statm(5)).
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// A workload that sends back what it gets, and keeps nothing.
async fn echo() -> Upstream {
    Upstream::scripted(|mut stream, _| async move {
        let head = read_head(&mut stream).await.to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().to_owned();
        stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").as_bytes()).await.unwrap();
        let (mut from, mut to) = stream.split();
        tokio::io::copy(&mut from, &mut to).await.unwrap();
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_gibibytes_both_ways_does_not_raise_the_memory() {
    let gib = std::env::var(SETTING).map_or(GIB, |gib| gib.parse().expect("a whole number of GiB"));
    let body = gib * 1024 * MIB;
    let scene = Scene::start().await;
    scene.ready(&[echo().await.address]);
    let mut client = scene.client().await;
    client.send(&format!("POST / HTTP/1.1\r\nhost: app.test\r\ncontent-length: {body}\r\n\r\n")).await;
    let chunk = vec![0; MIB];
    client.stream.write_all(&chunk).await.unwrap();
    assert_eq!(client.head().await.unwrap().0, 200);
    let already = client.take(MIB).await.unwrap().len();
    let before = resident();
    let began = Instant::now();
    let (mut from, mut to) = client.stream.into_split();
    let sending = tokio::spawn(async move {
        for _ in 1..body / MIB {
            to.write_all(&chunk).await.unwrap();
        }
        to
    });
    let (mut read, mut most) = (already, before);
    let mut buffer = vec![0; MIB];
    while read < body {
        let count = tokio::time::timeout(LONG, from.read(&mut buffer)).await.expect("it goes on").unwrap();
        assert!(count > 0, "it ends after {read} bytes");
        read += count;
        most = most.max(resident());
    }
    let _to = sending.await.unwrap();
    assert_eq!(read, body);
    let grown = most.saturating_sub(before) / MIB;
    println!("{} MiB each way in {:?}, grown by {grown} MiB", body / MIB, began.elapsed());
    assert!(most < before + GROWTH, "grown by {grown} MiB");
}
